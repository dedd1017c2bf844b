"""People and programs around the machines: they give inputs, decide on reviews, send signals, cancel and fork.

They ask whichever machine they reach. An answer may never come (the machine died, or froze, or the line broke): then
they ask again, elsewhere, and what they know for sure goes into `said`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.machines import Machine
from tests.simulation.wire import Database
from tests.simulation.world import World

from turnout import App, Judgement, Landed, Run, approve, did_not_happen, edit, landed, reject
from turnout.errors import Conflict, ReviewClosed, StoreError, ThreadBusy, UnknownReview, UsageError
from turnout.ports.rows import ThreadRow
from turnout.runtime.reading import load_view

OVER = ("idle", "finished", "failed", "cancelled")


class NoAnswer(Exception):
    """Nobody knows what became of it."""


@dataclass(frozen=True)
class Order:
    """An input that somebody is going to give. `copies`: so many send it at once."""

    at: float
    graph: str
    case: str
    thread: str | None
    key: str | None
    if_active: Any
    copies: int


@dataclass
class Said:
    """What people were told: the runs of their keys, the decisions and signals and cancels that were accepted."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    decisions: list[tuple[str, str, str]] = field(default_factory=list)  # review, who, decision
    closed: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # review, the first decision
    ends: list[tuple[Run, str]] = field(default_factory=list)  # finished, failed, cancelled, paused
    signals: list[tuple[str, str]] = field(default_factory=list)  # thread, key
    cancels: list[Run] = field(default_factory=list)
    forks: list[Run] = field(default_factory=list)


class People:
    """All of them. `over`: they go home."""

    def __init__(
        self, machines: list[Machine], database: Database, world: World, chance: random.Random,
        note: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self.said = Said()
        self.over = False
        self.busy = 0
        self._machines = machines
        self._database = database
        self._world = world
        self._chance = chance
        self._note = note

    async def ask(
        self, who: str, what: str, call: Callable[[App], Coroutine[Any, Any, Any]], patience: float = 15.0
    ) -> Any:
        """Have some machine answer. Raises what it raises, or `NoAnswer`."""
        up = [machine.life for machine in self._machines if machine.life is not None]
        if not up:
            raise NoAnswer
        life = self._chance.choice(up)
        loop = self._database.loop
        task = loop.create_task(call(life.app), context=life.process.context.copy())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({task}, timeout=patience)
        lost = not self._database.calm and self._chance.random() < 0.05
        if not task.done() or task.cancelled() or lost:
            self._note(who, f"asks {life.process.name} to {what or 'list reviews'}: no answer")
            raise NoAnswer
        if task.exception() is not None:
            self._note(
                who,
                f"asks {life.process.name} to {what or 'list reviews'}: {type(task.exception()).__name__}",
            )
        elif what:
            self._note(who, f"asks {life.process.name} to {what}: done")
        return task.result()

    async def insist(
        self, who: str, what: str, call: Callable[[App], Coroutine[Any, Any, Any]], times: int = 200
    ) -> Any:
        """The same, until somebody answers."""
        for _ in range(times):
            try:
                return await self.ask(who, what, call)
            except (NoAnswer, StoreError):
                await asyncio.sleep(self._chance.uniform(0.1, 4))
        raise NoAnswer

    # --- inputs --------------------------------------------------------------------------------------------------

    async def order(self, order: Order) -> None:
        """Give an input, until it is known to be taken. Without a key it is given once, for better or worse."""
        self.busy += 1
        await asyncio.sleep(order.at)
        await asyncio.gather(*(self._give(order) for _ in range(order.copies)))
        self.busy -= 1

    async def _give(self, order: Order) -> None:
        def start(app: App) -> Coroutine[Any, Any, Run]:
            return app.start(
                order.graph, {"case": order.case}, thread=order.thread, idempotency_key=order.key, by="ann",
                if_active=order.if_active,
            )  # fmt: skip

        try:
            run = await self.insist("ann", f"start {order.case}", start, 200 if order.key else 1)
        except (ThreadBusy, NoAnswer):
            return
        self.said.runs.setdefault(order.key or order.case, []).append(run)
        if self._chance.random() < 0.3:
            await self._wait(run)

    async def _wait(self, run: Run) -> None:
        """Be told how the run ends, if that doesn't take too long."""
        patience = self._chance.choice([5.0, 60.0])
        try:
            ended = await self.ask(
                "ann", f"wait for {run}", lambda app: app.wait(run, timeout=patience), patience * 2
            )
        except (NoAnswer, StoreError, TimeoutError):
            return
        self.said.ends.append((run, type(ended).__name__.lower()))

    # --- reviews -------------------------------------------------------------------------------------------------

    async def review(self, who: str) -> None:
        """Decide on what is open, again and again."""
        while not self.over:
            await asyncio.sleep(self._chance.uniform(0.5, 5))
            try:
                found = await self.ask(who, "", lambda app: app.reviews())
                if found:
                    await self._decide(who, self._chance.choice(found))
            except (NoAnswer, StoreError, UnknownReview):
                pass
            except ReviewClosed as error:
                if error.first:
                    self.said.closed.append((error.first["review"], error.first))
            except Conflict:  # content that was edited meanwhile, or one's second word on a review for two
                pass

    async def _decide(self, who: str, review: Any) -> None:
        judgement = self._judge(who, review)
        await asyncio.sleep(self._chance.choice([0, 0, 1.5]))
        await self.ask(who, f"{judgement.decision} {review.id}", lambda app: app.resolve(review, judgement))
        self.said.decisions.append((review.id, who, judgement.decision))

    def _judge(self, who: str, review: Any) -> Judgement:
        if review.purpose == "outcome":  # a person who looks into the ledger
            found = self._world.settle(review.payload["arguments"]["what"])
            return landed(found.result, by=who) if isinstance(found, Landed) else did_not_happen(by=who)
        word = self._chance.choice(["approve", "approve", "reject", "edit"])
        if word == "edit" and "edit" in review.allowed and review.quorum == 1:
            return edit({"of": f"{who} says"}, by=who)
        return reject(by=who) if word == "reject" else approve(by=who)

    # --- signals, cancels, forks ---------------------------------------------------------------------------------

    async def signal(self) -> None:
        """Send every signal that some step waits for; and have threads looked at again that were set aside."""
        while not self.over:
            await asyncio.sleep(self._chance.uniform(1, 6))
            for row in await self._rows():
                if row.aside:
                    await self._database.inner.take_back([row.thread], row.updated_at)
                view = (await load_view(self._database.inner, row.thread)).view
                for step in view.run.steps.values() if view.run else ():
                    for at, effect in step.effects.items():
                        if effect.kind == "signal" and effect.status == "waiting":
                            key = f"{view.run.number if view.run else 0} {step.id} {at}"
                            await self._send(row.thread, effect.name, key)

    async def _send(self, thread: str, name: str, key: str) -> None:
        try:
            await self.insist(
                "bob", f"signal {name} to {thread}",
                lambda app: app.signal(thread, name, "yes", idempotency_key=key), 3,
            )  # fmt: skip
        except NoAnswer:
            return
        self.said.signals.append((thread, key))

    async def early_signal(self, at: float) -> None:
        """A signal that nobody waits for yet."""
        await asyncio.sleep(at)
        for row in (await self._rows())[:1]:
            await self._send(row.thread, self._chance.choice(["s0", "s1"]), "early")

    async def cancel(self, at: float) -> None:
        """Cancel whatever thread comes to hand."""
        await asyncio.sleep(at)
        rows = await self._rows()
        if rows:
            await self.cancel_thread(self._chance.choice(rows).thread)

    async def cancel_thread(self, thread: str) -> None:
        try:
            run = await self.insist(
                "eve", f"cancel {thread}", lambda app: app.cancel(thread, by="eve", reason="enough")
            )
        except (UsageError, NoAnswer):
            return
        self.said.cancels.append(run)

    async def fork(self, at: float, name: str) -> None:
        """Fork a thread at some entry, with or without an edit."""
        self.busy += 1
        await asyncio.sleep(at)
        rows = [row for row in await self._database.inner.threads(limit=1000) if "/" not in row.thread]
        if rows:
            row = self._chance.choice(rows)
            seq = self._chance.randint(1, row.head)
            update = self._chance.choice([None, None, {"log": ["forked"]}])
            try:
                run = await self.insist(
                    "flo", f"fork {row.thread} at {seq} as {name}",
                    lambda app: app.fork(row.thread, at=seq, update=update, name=name, by="flo"),
                )  # fmt: skip
                self.said.forks.append(run)
            except (Conflict, UsageError, NoAnswer):
                pass
        self.busy -= 1

    async def _rows(self) -> list[ThreadRow]:
        """The threads that aren't over, as somebody knows who sees everything."""
        return [row for row in await self._database.inner.threads(limit=1000) if row.status not in OVER]
