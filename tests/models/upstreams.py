"""Upstreams that nobody here wrote, each a process on the loopback, driven and read over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STARTS = 150.0
"""Seconds an upstream may take to come up on a busy machine."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A process that serves HTTP, and its control API."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        ready: str,
        log: Path,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
            )
        try:
            self._wait(ready)
        except BaseException:
            self.stop()
            raise

    def _wait(self, ready: str) -> None:
        end = time.monotonic() + STARTS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                self.get(ready)
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"it didn't come up:\n{self._log.read_text()[-4000:]}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any = None) -> Any:
        data = json.dumps(body or {}).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


class LLMock(Server):
    """`llmock` (PyPI): breaks what it is told to break, and grades its client."""

    def __init__(self, log: Path) -> None:
        port = free_port()
        program = str(Path(sys.executable).with_name("llmock"))
        super().__init__(
            [program, "serve", "--port", str(port), "--log-level", "warning"], port, "/_llmock/requests", log
        )

    def play(self, *behaviors: dict[str, Any]) -> None:
        """Forget everything, and do this to the next requests."""
        self.post("/_llmock/reset")
        if behaviors:
            self.post("/_llmock/scenario", {"behaviors": list(behaviors)})

    def requests(self) -> list[dict[str, Any]]:
        """Every request since, as the upstream saw it."""
        found: list[dict[str, Any]] = self.get("/_llmock/requests")["requests"]
        return found

    def complaints(self) -> list[str]:
        """What the upstream has to say about its client."""
        return [one["code"] for one in self.get("/_llmock/verdict")["findings"]]


class AIMock(Server):
    """`@copilotkit/aimock` (npm): answers by fixtures, and keeps a journal."""

    def __init__(self, log: Path) -> None:
        port = free_port()
        program = HERE / "node_modules/@copilotkit/aimock/dist/cli.js"
        empty = log.with_suffix(".fixtures.json")
        empty.write_text(
            json.dumps(
                {"fixtures": [{"match": {"userMessage": "are you there"}, "response": {"content": "yes"}}]}
            )
        )
        node = shutil.which("node") or "node"
        command = [
            node,
            str(program),
            "-p",
            str(port),
            "-f",
            str(empty),
            "--log-level",
            "warn",
            "--journal-max",
            "0",
        ]
        super().__init__(command, port, "/__aimock/journal", log)

    def play(self, *fixtures: dict[str, Any]) -> None:
        """Forget everything, and answer by these fixtures."""
        self.post("/__aimock/reset")
        if fixtures:
            self.post("/__aimock/fixtures", {"fixtures": list(fixtures)})

    def requests(self) -> list[dict[str, Any]]:
        """The journal."""
        found: list[dict[str, Any]] = self.get("/__aimock/journal")
        return found


@contextmanager
def serving(kind: type[Server], folder: Path, *args: Any) -> Iterator[Any]:
    """A server for as long as the block lasts."""
    server = kind(folder / f"{kind.__name__}.log", *args)  # type: ignore[call-arg, arg-type]
    try:
        yield server
    finally:
        server.stop()
