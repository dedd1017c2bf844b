"""What all contenders share: the workload's message, how a measurement is asked for and answered, and sizes on disk.

A contender is a script: it is given one measurement as JSON on its command line, runs it in this process alone, and
prints the figures as one line of JSON. bench/run.py starts it, each time anew.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = 5
"""Model calls in one activation of the agent node."""
SMALL_CALL = "the answer of the model, some sixty characters of it in all"


def message(i: int) -> str:
    """The workload's message: 220 bytes, each one different."""
    return f"{i:06d} " + "x" * 213


def size(folder: Path, name: str) -> int:
    """Bytes of a SQLite database and its write-ahead log. The -shm file is memory, and left out."""
    return sum(f.stat().st_size for f in (folder / name, folder / f"{name}-wal") if f.exists())


def percentile(values: list[float], part: float) -> float:
    """The value that `part` of them don't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def resident() -> int:
    """Bytes of this process in memory now (0 where the system doesn't say)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class PaidCalls:
    """Model calls that cost money: each leaves a line in a file. After `kill_after` of them the process is killed."""

    def __init__(self, file: Path, kill_after: int | None) -> None:
        self.file = file
        self.kill_after = kill_after

    def pay(self, number: int) -> str:
        with self.file.open("a") as out:
            out.write(f"{number}\n")
            out.flush()
            os.fsync(out.fileno())
        return f"{SMALL_CALL} {number}"

    def moment(self, done: int) -> None:
        """Between two calls: `done` have been answered."""
        if done == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)


def answer(measures: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Run the measurement that the command line asks for."""
    asked = json.loads(sys.argv[1])
    measure = measures[asked.pop("measure")]
    print(json.dumps(measure(folder=Path(asked.pop("folder")), **asked)))
