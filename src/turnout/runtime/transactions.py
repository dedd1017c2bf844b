"""Transactional writes: made in the store's own transaction, together with the entries that say so.

So the outcome is always known: the write has landed exactly when its entries are on record. If the function raises, or
is cut off, all is undone, which proves that it did not happen. If the process dies before the commit, nothing is there
and the write is simply asked for again; if it dies after, the entries are.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from turnout.core import entries as e
from turnout.core.amounts import NOTHING, Amount
from turnout.core.tool import KEY, TRANSACTION, Tool
from turnout.errors import BudgetExceeded, Conflict, InputInvalid, StoreError, ToolFailed
from turnout.ports.clock import since
from turnout.runtime.calls import invoke, raised, within
from turnout.runtime.compensating import undo_named
from turnout.runtime.gate import Gate
from turnout.runtime.spending import estimate
from turnout.runtime.staging import Staging, idempotency_key
from turnout.runtime.step import Ask, Paused, Scope
from turnout.runtime.world import World

NOT_SENT = e.ErrorInfo("Cancelled", "not sent: the run was cancelled before")
CUT_OFF = e.ErrorInfo("Cancelled", "cut off while it was in flight, and undone")


class Transactions:
    """Makes the transactional writes of one thread's steps."""

    def __init__(self, staging: Staging, world: World, gate: Gate) -> None:
        self.staging = staging
        self.world = world
        self.gate = gate
        self.spending = gate.spending

    async def send(self, scope: Scope, ask: Ask) -> Any:
        """Make a write, and say what became of it. Raises `ToolFailed`, or `StoreError` when only the next load of the
        journal can tell."""
        try:
            limit = ask.subject.time_limit or self.world.transaction
            await self.spending.reserve(scope, ask, lambda: estimate(limit))
        except BudgetExceeded as problem:
            await self.spending.refused(scope, ask, await self.gate.info_of(scope, ask, problem))
            raise
        write = Write(self.staging, self.world, self.gate, scope, ask)
        task = asyncio.ensure_future(self.staging.journal.transact(write.do, write.make))
        try:
            await self._to_its_end(task, write)
        except asyncio.CancelledError:
            if task.cancelled() and write.stands:
                write.record(CUT_OFF if write.begun else NOT_SENT)
            raise
        except (StoreError, Conflict):
            raise
        except Exception as problem:
            info = await self.gate.recorded(scope, ask, problem, write.record)
            await self.staging.commit(scope)
            raise raised("tool", ask.request.name, info, ToolFailed) from problem
        if write.review is not None:
            raise scope.stop(Paused())
        return write.result

    async def _to_its_end(self, task: asyncio.Task[None], write: Write) -> None:
        """Who is cancelled while the function runs has it cut off; while the commit is under way, hears of it after."""
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled, write.stopped = error, True
                if not write.committing:
                    task.cancel()
        task.result()
        if cancelled is not None:
            raise cancelled


class Write:
    """One transactional write on its way: what it does in the transaction, and what is put on record of it."""

    def __init__(self, staging: Staging, world: World, gate: Gate, scope: Scope, ask: Ask) -> None:
        self.tool: Tool[Any, Any] = ask.subject
        self.result: Any = None
        self.review: e.ReviewRequested | None = None
        """Asked for with it, when a person has to let the result through."""
        self._gate = gate
        self.begun: e.Micros = 0
        self.stopped = False
        self.committing = False
        self._staging, self._world, self._scope, self._ask = staging, world, scope, ask
        self._spending = gate.spending
        self._key = ask.effect.idempotency_key if ask.effect else idempotency_key(staging.thread, scope, ask)
        self._told = scope.cancelled  # what a node does after it was told of a cancel is its cleaning up

    async def do(self, connection: Any) -> None:
        """Call the function, within its time limit."""
        self._go_on()
        tool, self.begun = self.tool, self._world.clock.now()
        if not inspect.iscoroutinefunction(tool.fn) and inspect.iscoroutinefunction(
            getattr(connection, "execute", None)
        ):  # what it writes would never be awaited, and so never be written
            raise InputInvalid(
                f"tool {tool.name} is a plain function, and the transaction of this store has to be awaited; make it "
                f"`async def`, and `await transaction.execute(...)`"
            )
        args = {**tool.typed(self._ask.args), TRANSACTION: connection}
        if tool.takes_key:
            args[KEY] = self._key
        limit = self._world.transaction if tool.time_limit is None else tool.time_limit
        try:
            given = tool.dump(await within(invoke(tool.fn, args, limit), limit))
        except (StoreError, Conflict) as problem:  # not our store's word, but the function's
            raise ToolFailed(f"{type(problem).__name__}: {problem}") from problem
        self.result = await self._gate.taken_in(self._scope, self._ask, given)
        self.review = self._gate.held(self._scope, self._ask)

    def make(self) -> list[e.Draft]:
        """The entries that are committed with it."""
        self._go_on()
        self.committing = True
        return self._entries("landed", self.result, None)

    def record(self, error: e.ErrorInfo) -> None:
        """Put on record that nothing is left of it."""
        for draft in self._entries("did_not_happen", None, error):
            self._staging.put(self._scope, draft.body)

    def _entries(self, outcome: str, result: Any, error: e.ErrorInfo | None) -> list[e.Draft]:
        ask = self._ask
        intended = e.EffectIntended(
            effect="tool",
            name=self.tool.name,
            key=ask.key,
            n=ask.n,
            args=ask.args,
            idempotency_key=self._key,
            undo=undo_named(self._scope, ask),
        )
        ms = since(self._world.clock, self.begun) if self.begun else 0
        cost = Amount(calls=1, ms=ms) if self.begun else NOTHING
        settled = e.EffectSettled(
            key=ask.key, n=ask.n, outcome=outcome, how="transaction", result=result, error=error, ms=ms,
            spent=self._spending.settled(self._scope, ask, cost),
        )  # fmt: skip
        bodies: list[e.Body] = [intended, settled]
        if self.review is not None and outcome == "landed":
            bodies.append(self.review)
        return [e.Draft(self._scope.run, self._scope.step.id, body) for body in bodies]

    @property
    def stands(self) -> bool:
        """Is the step that asks for it still open, and this execution of it not given up?"""
        halt = self._scope.halt
        if halt is not None and not isinstance(halt, Paused):
            return False
        return self._staging.step(self._scope) is not None

    def _go_on(self) -> None:
        """Nothing is made for a run that was cancelled before, or for a step that is over or was told to stop."""
        scope, run = self._scope, self._staging.journal.view.run
        if self.stopped or not self.stands:
            raise asyncio.CancelledError("the step is over")
        if (
            run is not None and run.cancel is not None and scope.step.undoes is None
        ):  # the loop may not have looked since it came in
            scope.ending = True
        if scope.ending and not self._told:
            scope.cancelled = True
            raise asyncio.CancelledError("the run is ending")
