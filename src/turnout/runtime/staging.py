"""What a step puts on record: staged at once, durable when it is committed."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TypeVar

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.effects import Effect, slot
from turnout.core.view import StepView, ThreadView
from turnout.errors import Conflict, StoreError
from turnout.runtime.journal import Journal
from turnout.runtime.step import Ask, Halt, Scope

T = TypeVar("T")


class Staging:
    """One thread's journal, as the effects of its steps write it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    @property
    def thread(self) -> str:
        return self.journal.view.thread

    def step(self, scope: Scope) -> StepView | None:
        """The step as it is now. None: it is over, or goes on without this execution of it, which was left behind."""
        run = self.journal.view.run
        if scope.over or run is None or run.number != scope.run:
            return None
        return run.steps.get(scope.step.id)

    def open_step(self, scope: Scope) -> StepView:
        """The same for who has something to say of it. Raises the halt of an execution that nobody waits for."""
        step = self.step(scope)
        if step is None:
            raise scope.stop(Halt(f"step {scope.step.id} is over"))
        return step

    def put(self, scope: Scope, body: e.Body) -> None:
        """Stage one entry of the step. What a call comes to that was left behind goes on no record: by then another
        execution of the step, or the same step of another run, may have asked for the same."""
        self.open_step(scope)
        self.journal.stage([e.Draft(scope.run, scope.step.id, body)])

    async def commit(self, scope: Scope) -> None:
        """Make what is on record durable. A step that is cancelled meanwhile hears of it when the commit is through:
        what is half committed could neither be kept nor taken back. When the store refuses, the step halts; the loop,
        which has the same to commit, says why."""
        try:
            await to_its_end(asyncio.ensure_future(self._durable()))
        except (StoreError, Conflict) as error:
            raise scope.stop(Halt(str(error))) from error

    async def _durable(self) -> None:
        while (
            not await self.journal.commit()
        ):  # somebody from outside was quicker: what is staged was put behind it
            pass

    def effect(self, scope: Scope, ask: Ask) -> Effect:
        """The effect as it is on record now."""
        return self.open_step(scope).effects[slot(ask.key, ask.n)]


async def to_its_end(task: asyncio.Task[T]) -> T:
    """Wait for `task`, whose result it gives. Who is cancelled meanwhile hears of it when the task is through."""
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            await asyncio.shield(task)
            break
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


def idempotency_key(thread: str, scope: Scope, ask: Ask) -> str:
    """Stable for this one write, for ever: 32 hex characters."""
    text = canon.encode([thread, scope.run, scope.step.id, ask.key, ask.n])
    return hashlib.sha256(b"write" + text).hexdigest()[:32]


def child_thread(view: ThreadView, scope: Scope, ask: Ask) -> str:
    """The parent's name, where in it the child is asked for, and 12 characters. A step that is tried again or migrated
    asks for another child: the one before has ended, or did something else."""
    assert view.run is not None
    text = canon.encode([view.run.fingerprint, scope.step.attempt, ask.key, ask.n])
    return f"{view.thread}/{scope.run}.{scope.step.id}.{hashlib.sha256(b'child' + text).hexdigest()[:12]}"


def child_input(view: ThreadView, effect: Effect) -> e.InputReceived:
    """The input of the child that this effect is, as far as it is the same for ever: by this its parent knows it."""
    return e.InputReceived(graph=effect.name, input=effect.args, parent=view.thread, tenant=view.tenant)


def review_id(thread: str, scope: Scope, ask: Ask, more: str = "") -> str:
    """`rev-` and 12 characters."""
    text = canon.encode(
        [thread, scope.run, scope.step.id, scope.step.seq, scope.step.attempt, ask.key, ask.n, more]
    )
    return "rev-" + hashlib.sha256(b"review" + text).hexdigest()[:12]
