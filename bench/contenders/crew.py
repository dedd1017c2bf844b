"""Processes that a contender starts beside itself: of the same script, each with a measurement of its own.

They talk in lines: the other process says `ready`, waits for a line on its standard input, and says what it has to.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


class Mate:
    """Another process of this script, with the measurement `asked`. It is killed at the end of the `with`."""

    def __init__(self, **asked: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, sys.argv[0], json.dumps(asked, default=str)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Mate:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def line(self) -> str:
        """What it says next. Ends this process too if it has ended."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if not said:
            sys.exit(f"a process beside this one ended: {self._process.wait()}")
        return said

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()


def ready() -> None:
    """(in the other process) Say that it can begin, and wait for the word."""
    print("ready", flush=True)
    sys.stdin.readline()


def shared_out(asked: list[dict[str, Any]]) -> float:
    """Several processes, each of which does its share: seconds from the word to all of them to the end of the last."""
    with contextlib.ExitStack() as stack:
        mates = [stack.enter_context(Mate(**each)) for each in asked]
        for mate in mates:
            mate.line()
        started = time.perf_counter()
        for mate in mates:
            mate.go()
        for mate in mates:
            mate.line()
        return time.perf_counter() - started


async def wakes(mate: Mate, decide: list[Callable[[], Any]]) -> dict[str, Any]:
    """How long the other process takes to act on each of these decisions, in ms.

    Each is made some 20 to 60 ms after the last was acted on, at random, so that nobody's polling is met in step.
    """
    pauses = random.Random(7)
    taken = []
    for one in decide:
        await asyncio.sleep(pauses.uniform(0.02, 0.06))
        started = time.perf_counter()
        made = one()
        if inspect.isawaitable(made):
            await made
        taken.append((float(await asyncio.to_thread(mate.line)) - started) * 1e3)
    return spread(taken)


def spread(taken: list[float]) -> dict[str, Any]:
    """The median and the 99th percentile, and how many there were."""
    ordered = sorted(taken)
    return {
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "samples": len(ordered),
    }
