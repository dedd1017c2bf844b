"""The floor: one insert and one commit a step, nothing else."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from common import answer, message, size


def step(folder: Path, n: int) -> dict[str, Any]:
    db = sqlite3.connect(folder / "raw.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(
        "CREATE TABLE entries (thread INTEGER, seq INTEGER, body TEXT, PRIMARY KEY (thread, seq)) WITHOUT ROWID"
    )
    for i in range(10):
        db.execute("INSERT INTO entries VALUES (0, ?, ?)", (i, message(i)))
    started = time.perf_counter()
    for i in range(n):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO entries VALUES (1, ?, ?)", (i, message(i)))
        db.execute("COMMIT")
    seconds = time.perf_counter() - started
    opened = size(folder, "raw.db")
    db.close()
    return {"us": seconds / n * 1e6, "bytes_open": opened / n, "bytes": size(folder, "raw.db") / n}


if __name__ == "__main__":
    answer({"step": step})
