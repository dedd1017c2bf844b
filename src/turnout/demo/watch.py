"""How the desk's work stands, read from the store and the ledger while another process does it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from turnout.core.view import ThreadView
from turnout.demo import ledger
from turnout.demo.place import Place
from turnout.errors import TurnoutError
from turnout.service.app import App

LOOK = 0.03
"""Seconds between two looks."""
PATIENCE = 180.0
"""Seconds before a process is taken to hang."""


@dataclass
class Seen:
    """The requests, by how they stand. `in_flight` maps those whose payment was sent and is not known to have
    arrived to what the bank says: was it booked?"""

    paid: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    working: list[str] = field(default_factory=list)
    in_flight: dict[str, bool] = field(default_factory=dict)

    @property
    def taken_in(self) -> int:
        """How many requests were read from the inbox."""
        return sum(map(len, (self.paid, self.rejected, self.failed, self.waiting, self.working)))

    @property
    def worth_killing(self) -> bool:
        """Is it a bad moment to die? Best with one payment booked and unrecorded, and one not booked yet; when
        most are paid, any payment in flight will do."""
        said = set(self.in_flight.values())
        done = len(self.paid)
        return (
            (done >= 3 and said == {True, False})
            or (done >= 6 and True in said)
            or (done >= 8 and bool(said))
        )


async def look(app: App, place: Place) -> Seen:
    """How it stands now."""
    seen = Seen()
    for row in await app.threads():
        view = await app.view(row.thread)
        outcome = view.state.get("outcome")
        if view.run is None and outcome:
            (seen.paid if outcome == "paid" else seen.rejected).append(row.thread)
        elif row.status == "failed":
            seen.failed.append(row.thread)
        elif view.reviews:
            seen.waiting.append(row.thread)
        else:
            seen.working.append(row.thread)
            for key in _sent(view):
                seen.in_flight[row.thread] = ledger.receipt_of(str(place.ledger), key) is not None
    return seen


def _sent(view: ThreadView) -> list[str]:
    """The idempotency keys of writes that are on record as about to be sent, and not as settled."""
    steps = view.run.steps.values() if view.run else ()
    return [x.idempotency_key for step in steps for x in step.effects.values() if x.status == "intended"]


class Work:
    """A process that works on the batch: `turnout.demo.work`."""

    def __init__(self, place: Place, model: str) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed in `end`
        command = [sys.executable, "-m", "turnout.demo.work", place.address, str(place.ledger), model]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, stdout=self._errors, stderr=self._errors
        )
        self.pid = self._process.pid

    async def watch(self, app: App, place: Place, show: Callable[[Seen], None], *, kill: bool) -> Seen:
        """Until the process has ended; with `kill`, until it was killed at a moment worth it. Raises `TurnoutError`."""
        with ledger.kept_open(place.ledger):
            return await self._watch(app, place, show, kill=kill)

    async def _watch(self, app: App, place: Place, show: Callable[[Seen], None], *, kill: bool) -> Seen:
        give_up = time.monotonic() + PATIENCE
        while self._process.poll() is None:
            seen = await look(app, place)
            show(seen)
            if kill and seen.worth_killing and await self._kill_if_still(app, place):
                return await look(app, place)
            if time.monotonic() > give_up:
                raise TurnoutError(self._why(f"has not come to an end in {PATIENCE:g} s"))
            await asyncio.sleep(LOOK)
        if kill or self._process.returncode != 0:
            raise TurnoutError(self._why(f"ended too soon (exit code {self._process.returncode})"))
        return await look(app, place)

    async def _kill_if_still(self, app: App, place: Place) -> bool:
        """Stop the process, look again (what is seen now can't change), and kill it or let it go on."""
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if not (await look(app, place)).worth_killing:
            self._process.send_signal(signal.SIGCONT)
            return False
        self._process.kill()
        return self._process.wait() == -signal.SIGKILL

    def end(self) -> None:
        """See to it that the process is gone."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _why(self, what: str) -> str:
        self._errors.seek(0)
        said = "\n".join(self._errors.read().splitlines()[-15:]) or "nothing"
        return f"the demo broke: the working process {what}; it said:\n{said}"
