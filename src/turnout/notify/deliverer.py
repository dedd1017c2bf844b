"""The deliverer: claims notices that are due, sends them, and writes what became of them.

Any number of processes do this on one store. A notice is claimed before it is sent and marked after, so one whose
process dies in between is sent again: at least once, and with the same id. A channel that stalls holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from turnout.core.aside import elsewhere
from turnout.core.notices import ESCALATED, REMINDER, REQUESTED
from turnout.errors import NoticeNotSent, StoreError
from turnout.notify.channels import Channel
from turnout.ports.clock import Chance, Clock
from turnout.ports.rows import OutboxRow
from turnout.ports.store import Store

log = logging.getLogger("turnout.notify")
AT_ONCE = 8
"""Notices that are on their way to one channel at a time, from this process."""
LONGEST = 3600.0
"""Seconds between two attempts, at most, unless the receiver asks for more."""
DAY = 86_400.0
"""Seconds: a receiver isn't listened to that asks for more."""
KEPT = 7 * DAY
"""Seconds for which what was sent or withdrawn can be looked up."""
ENDING = 5.0
"""Seconds that sending may go on when the process is to end: what is due, and what is on its way."""
TIDY = 600.0
"""Seconds between two looks for what can be forgotten."""
SPARE = 5.0
"""Seconds by which a claim outlasts its attempt at least, besides the lease."""


class Deliverer:
    """Sends what is due to these channels. `lease` and `sweep` are as in the settings (seconds)."""

    def __init__(
        self,
        store: Store,
        channels: Sequence[Channel],
        clock: Clock,
        chance: Chance,
        listen: Callable[[Callable[[str], None]], Callable[[], None]],
        *,
        name: str,
        lease: float = 15.0,
        sweep: float = 1.0,
    ) -> None:
        self._store = store
        self._channels = channels
        self._clock = clock
        self._chance = chance
        self._listen = listen
        self._name = name
        self._lease = lease
        self._sweep = sweep
        self._sending: dict[str, set[asyncio.Task[None]]] = {channel.name: set() for channel in channels}
        self._stir = asyncio.Event()
        self.trouble: Exception | None = None
        """Why the outbox can't be read now."""

    async def run(self) -> None:
        """Send until cancelled; then what is due at that moment, for a short while."""
        stop = self._listen(lambda thread: self._stir.set())
        tidy = asyncio.ensure_future(self._tidy())
        looking: asyncio.Future[None] | None = None
        try:
            while True:
                self._stir.clear()
                looking = asyncio.ensure_future(self._look())
                await asyncio.shield(looking)  # what is just being claimed is sent, too
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._sweep):
                        await self._stir.wait()
        finally:
            stop()
            tidy.cancel()
            await self._end(looking)

    async def _look(self) -> None:
        """Begin to send what is due, as far as there is room."""
        try:
            await self._begin()
            self.trouble = None
        except StoreError as error:
            if self.trouble is None:
                log.warning("can't read the outbox, and go on trying: %s", error)
            self.trouble = error
        except Exception as error:  # whatever it is, sending must not end with it
            log.exception("looking for notices broke; it goes on")
            self.trouble = error

    async def _begin(self) -> None:
        for channel in self._channels:
            sending = self._sending[channel.name]
            free = AT_ONCE - len(sending)
            if free <= 0:
                continue
            now = self._clock.now()
            hold = channel.timeout + SPARE + self._lease
            until = now + int(hold * 1_000_000)
            for row in await self._store.claim_outbox(self._name, channel.name, now, until, free):
                task = asyncio.ensure_future(self._deliver(channel, row))
                sending.add(task)
                task.add_done_callback(sending.discard)
                task.add_done_callback(lambda _: self._stir.set())

    async def _deliver(self, channel: Channel, row: OutboxRow) -> None:
        """One attempt, and what became of it."""
        try:
            if await self._is_moot(row):
                await self._settle(replace(row, status="withdrawn", settled_at=self._clock.now()))
                return
            try:
                async with asyncio.timeout(channel.timeout + SPARE):
                    await channel.send(row.notice, self._clock)
            except TimeoutError:
                row = self._failed(channel, row, NoticeNotSent(f"no answer within {channel.timeout:g} s"))
            except NoticeNotSent as error:
                row = self._failed(channel, row, error)
            else:
                row = replace(row, status="sent", settled_at=self._clock.now(), error="")
            await self._settle(row)
        except StoreError as error:  # held until its time is over: then it is sent again
            log.warning("notice %s to %s: %s", row.notice.id, channel.name, error)
        except Exception:
            log.exception("sending notice %s to %s broke", row.notice.id, channel.name)
            with contextlib.suppress(StoreError):
                await self._settle(
                    self._failed(channel, row, NoticeNotSent("sending broke; the log says where"))
                )

    async def _is_moot(self, row: OutboxRow) -> bool:
        """Does it ask for a decision that nobody can make any more? A process that knows of no channels may have closed the
        review. What somebody has had sent again is sent; a reminder isn't, also when its thread has moved to another store."""
        reminds = row.notice.event == REMINDER
        if not reminds and (row.notice.event not in (REQUESTED, ESCALATED) or row.resent):
            return False
        found = await self._store.reviews(review=row.notice.review)
        if found and found[0].status != "open":
            return True
        thread = await self._store.thread(row.notice.thread) if reminds else None
        return thread is not None and elsewhere(thread.aside)

    def _failed(self, channel: Channel, row: OutboxRow, error: NoticeNotSent) -> OutboxRow:
        now = self._clock.now()
        if error.final or row.attempts >= channel.attempts:
            log.error(
                "notice %s to %s is dead after %d attempts: %s (`turnout outbox --dead`)",
                row.notice.id, channel.name, row.attempts, error,
            )  # fmt: skip
            return replace(row, status="dead", settled_at=now, error=str(error))
        wait = pause(channel.backoff, row.attempts, self._chance.random(), error.wait)
        log.warning("notice %s to %s is tried again in %.0f s: %s", row.notice.id, channel.name, wait, error)
        return replace(row, due_at=now + int(wait * 1_000_000), error=str(error))

    async def _settle(self, row: OutboxRow) -> None:
        if not await self._store.settle_outbox(row, self._name):
            log.info("notice %s was taken over or withdrawn meanwhile", row.notice.id)

    async def _tidy(self) -> None:
        while True:
            try:
                await self._store.forget_outbox(self._clock.now() - int(KEPT * 1_000_000))
            except StoreError:
                pass  # the next time
            except Exception:
                log.exception("forgetting notices broke; it goes on")
            await asyncio.sleep(TIDY)

    async def _end(self, looking: asyncio.Future[None] | None) -> None:
        """Send what is due and wait for what is on its way, for `ENDING` seconds at most. The rest is sent by others, when
        its claims have run out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDING):
                if looking is not None:
                    await asyncio.wait([looking])
                while True:
                    self._stir.clear()
                    await self._look()
                    tasks = [task for sending in self._sending.values() for task in sending]
                    if not tasks or self.trouble is not None:
                        break
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        left = [task for sending in self._sending.values() for task in sending]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for channel in self._channels:
            await channel.close()


def pause(backoff: float, attempts: int, chance: float, asked: float | None) -> float:
    """Seconds until the next attempt: twice as long after each, a half of it by chance, and no less than was asked."""
    wait: float = min(LONGEST, backoff * 2.0 ** min(attempts - 1, 40))
    wait *= 0.5 + 0.5 * chance
    return max(wait, min(asked, DAY)) if asked is not None else wait
