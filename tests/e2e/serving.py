"""A `turnout serve` in a process of its own, which can be killed and started again at its address."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAM = str(Path(sys.executable).parent / "turnout")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """`said` is what it prints, to both."""

    def __init__(self, folder: Path, *words: str, port: int | None = None) -> None:
        self.folder = folder
        self.words = words
        self.port = port if port is not None else free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.said = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it says its address."""
        self._process = subprocess.Popen(
            [PROGRAM, "serve", *self.words, "--port", str(self.port)],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self._process, ready), daemon=True).start()
        assert ready.wait(60), self.said
        assert "Turnout is at" in self.said, self.said

    def _read(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said += line
            if re.search("Turnout is at", line):
                ready.set()
        ready.set()
        process.stdout.close()

    def end(self, number: int = signal.SIGTERM, patience: float = 30) -> int:
        """Send it a signal; its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(patience)
        time.sleep(0.05)  # what it said last is read by another thread
        return code

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


@contextlib.contextmanager
def serving(folder: Path, *words: str) -> Iterator[Server]:
    """A server that has said its address."""
    server = Server(folder, *words)
    try:
        server.start()
        yield server
    finally:
        server.close()
