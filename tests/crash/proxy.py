"""A line between a program and its Postgres that a test can cut exactly where it likes.

It listens on a socket of its own and passes on what it gets, until it meets a message that the test waits for. Then
the line is cut: before the server has got it ("request"), or after it has answered and before the answer is through
("answer"); or the program is cut off at once, and the server gets the message only when the test says so ("late").
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@dataclass
class Cut:
    """Where a line is to be cut: at the first message that has `at` in it. `happened` is set when it is."""

    at: bytes
    how: str
    happened: threading.Event = field(default_factory=threading.Event)
    delivered: threading.Event = field(default_factory=threading.Event)
    """(late:) the test sets it, and the server gets the message."""
    answered: threading.Event = field(default_factory=threading.Event)
    """(late:) the server has answered."""


class Proxy:
    """Listens in `folder`, for a server on a Unix socket; `url` is what a program connects to."""

    def __init__(self, server: str, folder: Path) -> None:
        """`server`: the address of a database behind a Unix socket, as tests/postgres.py gives it."""
        parts = urlsplit(server)
        where = parse_qs(parts.query)
        self._target = f"{where['host'][0]}/.s.PGSQL.{where.get('port', ['5432'])[0]}"
        self._cuts: list[Cut] = []
        self._lines: list[tuple[socket.socket, socket.socket]] = []
        self._open = True
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen(64)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}?host={folder}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, at: bytes, how: str) -> Cut:
        """Cut the first line on which the program sends `at`."""
        found = Cut(at, how)
        self._cuts.append(found)
        return found

    def cut_all(self) -> None:
        """Cut every line there is; new ones may come."""
        for pair in self._lines:
            close(*pair)

    def close(self) -> None:
        self._open = False
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        while self._open:
            with contextlib.suppress(OSError):
                program, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._target)
                except OSError:  # it is down: so is this line
                    close(program, server)
                    continue
                self._lines.append((program, server))
                threading.Thread(target=self._pass_on, args=(program, server), daemon=True).start()

    def _pass_on(self, program: socket.socket, server: socket.socket) -> None:
        try:
            while True:
                ready, _, _ = select.select([program, server], [], [], 60)
                if server in ready:
                    data = server.recv(65_536)
                    program.sendall(data)
                else:
                    data = program.recv(65_536)
                    cut = next((cut for cut in self._cuts if cut.at in data), None)
                    if cut is not None:
                        self._cuts.remove(cut)
                        return self._cut(cut, data, program, server)
                    server.sendall(data)
                if not data:
                    return None
        except (OSError, ValueError):
            return None
        finally:
            close(program, server)

    def _cut(self, cut: Cut, data: bytes, program: socket.socket, server: socket.socket) -> None:
        if cut.how == "answer":
            server.sendall(data)
            server.recv(1)
        cut.happened.set()
        close(program)
        if cut.how == "late":
            cut.delivered.wait(30)
            server.sendall(data)
            server.recv(1)
            cut.answered.set()


def close(*lines: socket.socket) -> None:
    for line in lines:
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
        line.close()
