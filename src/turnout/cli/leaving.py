"""How a worker leaves: the first signal has it give its threads back, within a bound; a second one ends it at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

import click

from turnout.runtime.worker import Drained

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CLOSING = 0.5
"""Seconds of the bound that are kept for closing the store."""
ECHO = 0.5
"""Seconds within which a second signal is the first one once more: who stops a group of processes (GNU timeout does, and
whatever hands Ctrl-C on) often sends it to the group and to the process."""
SHOWN = 5
"""So many threads are named."""


class Leaving:
    """A `with` block around all that a worker does; `ready` is called on its event loop, and `asked` awaited there.

    The signals are taken by Python itself and not by the event loop: a node that holds the loop up must not keep its
    worker from ending. For the same reason there is a clock beside it: `seconds` after the first signal the process
    ends, whatever it does at that moment.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = asyncio.Event()
        self.back = False
        """Whether all threads were given back: then an end by the clock is as good as any."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clock: threading.Timer | None = None
        self._first = 0.0  # when the first signal came
        self._before: dict[signal.Signals, Any] = {}

    @property
    def grace(self) -> float:
        """Seconds that there are for the threads."""
        return max(self.seconds - CLOSING, self.seconds / 2)

    def __enter__(self) -> Leaving:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._clock is not None:
            self._clock.cancel()
        for number, before in self._before.items():
            signal.signal(number, before)

    def ready(self) -> None:
        """From here on a signal sets `asked`; one that came before has set it now."""
        self._loop = asyncio.get_running_loop()
        if self._clock is not None:
            self.asked.set()

    def _signal(self, number: int, frame: FrameType | None) -> None:
        if self._clock is not None:
            if time.monotonic() - self._first < ECHO:
                return
            _say("ended at once; what was held is taken over when its leases run out")
            os._exit(128 + number)
        self._first = time.monotonic()
        self._clock = threading.Timer(self.seconds, self._late)
        self._clock.daemon = True
        self._clock.start()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it is about to end anyway
                self._loop.call_soon_threadsafe(self.asked.set)

    def _late(self) -> None:
        if not self.back:
            _say(f"not done within {self.seconds:g} s; what is held is taken over when its leases run out")
        os._exit(0 if self.back else 1)


def _say(text: str) -> None:
    """From a signal's handler or another thread: one write, whatever else is just being written."""
    os.write(2, f"{text}\n".encode())


def tell(found: Drained) -> None:
    """Say what became of the threads that were held."""
    said = [
        _some(found.back, "given back after a step"),
        _some(found.cut, "given back in the middle of a step"),
        _some(found.kept, "not given back, others take it when the lease runs out"),
    ]
    click.echo("stopped: " + ("; ".join(part for part in said if part) or "nothing to give back"))


def _some(threads: tuple[str, ...], what: str) -> str:
    if not threads:
        return ""
    more = f" and {len(threads) - SHOWN} more" if len(threads) > SHOWN else ""
    return f"{len(threads)} {what} ({', '.join(threads[:SHOWN])}{more})"
