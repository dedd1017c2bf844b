"""The servers that are measured: `turnout serve`, and a bare endpoint; each in a process and a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import HERE, Broken
from places import Place

CONTENDERS = HERE / "contenders"
TURNOUT = str(Path(sys.executable).parent / "turnout")
BARE, TOGETHER, APART = "a bare insert", "Turnout", "Turnout, API alone"
TABLES = "[serve]\nrate = 1000000.0\nburst = 1000000\n"
"""Nobody is refused for being quick: how quick is what is measured."""


@dataclass
class Served:
    """A server that answers. `rss` and `rest` are what `watch` saw: (seconds, bytes in memory)."""

    url: str
    token: str
    folder: Path
    pid: int
    rss: list[tuple[float, int]] = field(default_factory=list)

    def ask(self, measure: str, **asked: Any) -> dict[str, Any]:
        """One measurement by clients in a process of their own; with what a request took the server of a core.

        Raises `Broken`.
        """
        said = {"measure": measure, "folder": str(self.folder), "url": self.url, "token": self.token, **asked}
        before = cpu_of(self.pid)
        done = subprocess.run(
            [sys.executable, str(CONTENDERS / "clients.py"), json.dumps(said)], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Broken(f"{measure} {asked}: exit {done.returncode}\n{done.stderr[-2000:]}{self.said()}")
        found = dict(json.loads(done.stdout.splitlines()[-1]))
        if asked := found.pop("asked", 0):
            found["cpu_ms"] = (cpu_of(self.pid) - before) / asked * 1e3
        return found

    @contextlib.contextmanager
    def heard(self, **asked: Any) -> Iterator[dict[str, Any]]:
        """Streams of events are open meanwhile; their figures are in the dictionary afterwards. Raises `Broken`."""
        found: dict[str, Any] = {}
        listeners = subprocess.Popen(
            [
                sys.executable,
                str(CONTENDERS / "listeners.py"),
                json.dumps({"url": self.url, "token": self.token, **asked}),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert listeners.stdout is not None
            if listeners.stdout.readline() != "ready\n":
                raise Broken(
                    f"the streams can't be opened: {listeners.communicate()[1][-2000:]}{self.said()}"
                )
            yield found
            said, wrong = listeners.communicate("")
            if listeners.returncode != 0:
                raise Broken(f"the streams broke: {wrong[-2000:]}{self.said()}")
            found.update(json.loads(said))
        finally:
            listeners.kill()
            listeners.wait()

    @contextlib.contextmanager
    def unread(self) -> Iterator[None]:
        """Somebody asks for the events of all threads meanwhile, and reads nothing. The kernel has room for some of
        them, some megabytes; then the server is stuck with the rest."""
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            stuck.connect(("127.0.0.1", int(self.url.rpartition(":")[2])))
            asked = f"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\n\r\n"
            stuck.sendall(asked.encode())
            yield

    @contextlib.contextmanager
    def weighed(self, every: float) -> Iterator[None]:
        """The server's memory is looked at meanwhile, every so many seconds."""
        over, begun = threading.Event(), time.monotonic()

        def look() -> None:
            while not over.wait(every):
                self.rss.append((time.monotonic() - begun, resident_of(self.pid)))

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            yield
        finally:
            over.set()
            looking.join()

    def said(self) -> str:
        """What the server has said last."""
        return "\nthe server said: " + (self.folder / "log.txt").read_text()[-2000:]


def cpu_of(pid: int) -> float:
    """Seconds that a process has kept a core busy."""
    said = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")


def resident_of(pid: int) -> int:
    """Bytes of a process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def served(place: Place, contender: str, store: str = "", profile: Path | None = None) -> Iterator[Served]:
    """A new server over a new store. With `profile` it runs under Python's profiler. Raises `Broken`."""
    folder = Path(tempfile.mkdtemp(prefix="turnout-bench-", dir=place.folder))
    (folder / "turnout.toml").write_text(TABLES)
    env = {**os.environ, "PYTHONPATH": str(CONTENDERS), "PYTHONUNBUFFERED": "1"}
    store = store or f"sqlite:///{folder / 'turnout.db'}"
    port = free_port()
    try:
        token = "" if contender == BARE else made_token(folder, store, env)
        program = [sys.executable, str(CONTENDERS / "profiled.py"), str(profile)] if profile else [TURNOUT]
        words = [*program, "serve", "turnout_api:graphs", "--store", store, "--port", str(port)]
        if contender == APART:
            words.append("--no-worker")
        if contender == BARE:
            words = [sys.executable, str(CONTENDERS / "bare_api.py"), str(port)]
        with (folder / "log.txt").open("w") as log:
            process = subprocess.Popen(words, cwd=folder, env=env, stdout=log, stderr=log)
        try:
            found = Served(f"http://127.0.0.1:{port}", token, folder, process.pid)
            wait_for(found, process, port)
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def made_token(folder: Path, store: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [TURNOUT, "token", "create", "bench", "--role", "admin", "--store", store, "--json"],
        cwd=folder, env=env, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise Broken(f"no token could be made: {done.stderr[-2000:]}")
    return str(json.loads(done.stdout)["secret"])


def wait_for(found: Served, process: subprocess.Popen[bytes], port: int) -> None:
    """Until the server answers. Raises `Broken`."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            if found.token == "" or re.search("Turnout is at", (found.folder / "log.txt").read_text()):
                return
        time.sleep(0.05)
    raise Broken(f"the server doesn't answer{found.said()}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
