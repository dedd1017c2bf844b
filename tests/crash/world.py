"""The world outside of the store: an append-only file that outlives every process, and tells what was done to it.

Each line is one event, written with O_APPEND and synced before the caller goes on. What a test compares is what
stands here, never what a process says it has done.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any


class Oracle:
    """The file of one test. `kind` is write, model or read; `what` says which one."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def note(self, kind: str, what: str, key: str = "", *, once: bool = False) -> None:
        """Write a line; with `once` only if there is no write with this key yet, whoever else is here at this moment."""
        line = json.dumps({"kind": kind, "what": what, "key": key, "pid": os.getpid()}) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if once:
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not once or not self._writes(key):
                os.write(handle, line.encode())
                os.fsync(handle)
        finally:
            os.close(handle)

    def lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def done(self, what: str) -> bool:
        """Has this write happened?"""
        return any(line["what"] == what for line in self._writes(what))

    def _writes(self, text: str) -> list[dict[str, Any]]:
        """The writes whose lines have `text` in them. (Only those are decoded: the file grows long.)"""
        if not self.path.exists():
            return []
        mark = json.dumps(text)
        found = [json.loads(line) for line in self.path.read_text().splitlines() if mark in line]
        return [line for line in found if line["kind"] == "write"]

    def count(self, kind: str) -> Counter[str]:
        """How often each thing of this kind happened."""
        return Counter(line["what"] for line in self.lines() if line["kind"] == kind)

    def keys(self) -> dict[str, set[str]]:
        """The idempotency keys that each write was ever asked with ("ask" lines of writes that take one)."""
        found: dict[str, set[str]] = {}
        for line in self.lines():
            if line["kind"] == "ask":
                found.setdefault(line["what"], set()).add(line["key"])
        return found
