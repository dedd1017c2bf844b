"""Real processes without the price of an import: a parent that has everything loaded and forks on demand.

Run as `python -m tests.crash.spawner`. It has one thread and no event loop, so forking it is safe. It reads requests,
one JSON object a line, and answers each with one: `start` (module, args, out) gives a pid, `wait` (pid) the status.
A child is a process in its own right: it is killed, stopped and continued by signals like any other.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def child(module: str, args: list[str], out: str) -> None:
    """In the forked process: run `module.main(args)`, its output going to a file."""
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    status = 1
    try:
        importlib.import_module(module).main(args)
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve() -> None:
    """The parent's loop. A child that nobody waited for dies with its spawner's session, not here."""
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            importlib.import_module(request["module"])
            pid = os.fork()
            if pid == 0:
                child(request["module"], request["args"], request["out"])
            answer: Any = pid
        else:
            found, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if found else None
        print(json.dumps(answer), flush=True)


@dataclass
class Child:
    """A started process. `out` is the file with what it printed."""

    spawner: Spawner
    pid: int
    out: Path
    code: int | None = None

    def wait(self, seconds: float = 20.0) -> int:
        """Its exit code (negative: the signal that ended it). Kills it, and fails, when it takes longer."""
        end = time.monotonic() + seconds
        while self.code is None and time.monotonic() < end:
            self.code = self.spawner.ask({"do": "wait", "pid": self.pid})
            if self.code is None:
                time.sleep(0.005)
        if self.code is None:
            os.kill(self.pid, 9)
            raise AssertionError(f"process {self.pid} hung for {seconds:g} s; it said:\n{self.said}")
        return self.code

    def signal(self, number: int) -> None:
        if self.code is None:
            os.kill(self.pid, number)

    @property
    def said(self) -> str:
        return self.out.read_text() if self.out.exists() else ""

    @property
    def result(self) -> Any:
        """The last line that it printed, as JSON."""
        lines = [line for line in self.said.splitlines() if line.startswith("{")]
        assert lines, f"process {self.pid} (exit {self.code}) gave no result; it said:\n{self.said}"
        return json.loads(lines[-1])


class Spawner:
    """Starts processes that run `module.main(args)`; used as a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.spawner"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        self._children: list[Child] = []
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def start(self, module: str, *args: object, out: Path) -> Child:
        request = {"do": "start", "module": module, "args": [str(arg) for arg in args], "out": str(out)}
        found = Child(self, self.ask(request), out)
        self._children.append(found)
        return found

    def close(self) -> None:
        for found in self._children:
            if found.code is None and self.ask({"do": "wait", "pid": found.pid}) is None:
                os.kill(found.pid, 9)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


if __name__ == "__main__":
    serve()
