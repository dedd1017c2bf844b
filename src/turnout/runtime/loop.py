"""drive(): the one loop. Decide, run the steps it names, append, apply, until the thread parks.

Nothing is decided here. The loop has no modes: a replay or a what-if hands in another `perform` or another store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.decide import RUNNING, Advance, Due, Fail, Finish, Park, Resume, Start, decide, due
from turnout.core.graph import Graph, Retry
from turnout.core.taint import Exposure, union
from turnout.core.tool import DID_NOT_HAPPEN, Landed
from turnout.core.view import StepView, ThreadView
from turnout.core.watching import watched
from turnout.errors import (
    BudgetExceeded,
    CallRefused,
    EffectError,
    EffectRefused,
    RunError,
    StateInvalid,
    StateMutated,
    StepTimeout,
)
from turnout.ports.clock import Clock
from turnout.runtime.compensating import LEFT, node_of
from turnout.runtime.context import Context, SyncContext
from turnout.runtime.journal import Journal
from turnout.runtime.perform import Performer
from turnout.runtime.step import (
    Cancelled,
    Failed,
    Finished,
    Halt,
    Halted,
    Lost,
    Outcome,
    Parted,
    Perform,
    Scope,
    execute,
    info_of,
)
from turnout.runtime.whereabouts import Whereabouts, here


@dataclass(frozen=True)
class Limits:
    """How steps are run. `grace` (seconds) is how long a node may clean up; `strict` catches nodes that change state."""

    grace: float = 10.0
    strict: bool = False


@dataclass
class Driver:
    """Drives one thread from where it is to where it parks."""

    journal: Journal
    graph: Graph
    perform: Perform
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    emit: Callable[[Any], None] = lambda event: None
    watch: Callable[[Driver], Any] | None = None

    def __post_init__(self) -> None:
        self._event = asyncio.Event()
        self.journal.on_news = self._event.set
        self._poked = False
        self.draining = False
        self.given_back = False
        """Whether it ended because it was drained, with more to do."""
        self._patience = self.limits.grace
        self._scopes: dict[str, tuple[Scope, asyncio.Task[Outcome]]] = {}
        self._done: list[str] = []
        self._held: dict[str, int] = {}
        self._tried: dict[str, Due] = {}
        self.wake_at: e.Micros | None = (
            None  # when the thread parked: the time until which it can be left alone
        )

    def poke(self) -> None:
        """Something was appended from outside, or a child ended: look."""
        self._poked = True
        self._event.set()

    def drain(self) -> None:
        """Finish the steps that run now, then give the thread back."""
        self.draining = True
        self._event.set()

    def cut(self, seconds: float) -> None:
        """When it is cancelled now, steps that run get no longer than this to clean up."""
        self._patience = seconds

    async def drive(self) -> None:
        """The loop. Raises `StaleWriter` when the thread was taken over; whatever happens, no step is left running."""
        try:
            if self.watch is not None:
                await self.watch(self)
            while await self._turn():
                pass
        finally:
            await self._abandon()

    async def _turn(self) -> bool:
        journal, clock = self.journal, self.clock
        now = clock.now()
        plan = decide(self.graph, journal.view, now, self._held, journal.memory, self._tried)
        if isinstance(plan, Start | Advance | Finish | Fail):
            journal.stage(plan.drafts, now)
            return True
        wake_at = plan.wake_at
        if isinstance(plan, Park) and not self._scopes:
            self.wake_at = wake_at
            return not await journal.commit(wake=wake_at, release=True)
        if self.draining and not self._scopes:
            self.given_back = await journal.commit(wake=clock.now(), release=True)
            return not self.given_back
        generation = journal.generation
        await journal.commit()
        if journal.generation != generation:  # somebody was quicker: decide again on what is there now
            return True
        if isinstance(plan, Resume):
            if plan.ending and await self._stop_unrun(plan.steps):
                return True
            if plan.ending:
                self._tell_ending()
            if not self.draining:
                for step in plan.steps:
                    self._spawn(step, plan.ending)
        await self._wait(wake_at)
        return True

    async def _wait(self, wake_at: e.Micros | None) -> None:
        """Until a step is done, something arrives, or it is `wake_at`; then stage what the steps did."""
        if not self._event.is_set():
            timer = self.clock.call_at(wake_at, self._event.set) if wake_at is not None else None
            await self._event.wait()
            if timer is not None:
                timer.cancel()
        self._event.clear()
        if self._poked:
            self._poked = False
            await self.journal.refresh()
            if self.watch is not None:
                await self.watch(self)
        done, self._done = self._done, []
        for step_id in done:
            scope, task = self._scopes.pop(step_id)
            await self._ended(scope, task.result() if task.done() else left_behind(scope))

    # --- steps -------------------------------------------------------------------------------------------------

    def _spawn(self, step: StepView, ending: bool) -> None:
        run = self.journal.view.run
        assert run is not None
        node = node_of(self.graph, step)
        exposure = exposure_of(self.graph, self.journal.view, step)
        scope = Scope(run.number, step, node, self.perform, self.emit, run.by, exposure)
        scope.ending = scope.told = ending
        self._held[step.id] = RUNNING
        self._tried[step.id] = due(step, self.clock.now())
        task = asyncio.ensure_future(self._run(scope))
        self._scopes[step.id] = (scope, task)
        task.add_done_callback(lambda done: self._arrived(step.id, done))
        if ending:
            self._give_up_later(scope, task)

    def _arrived(self, step_id: str, task: asyncio.Task[Outcome]) -> None:
        held = self._scopes.get(step_id)
        if held is not None and held[1] is task and step_id not in self._done:
            self._done.append(step_id)
            self._event.set()

    async def _run(self, scope: Scope) -> Outcome:
        here.set(Whereabouts(self.journal.view.thread, scope.run, scope.step.id))
        outcome = await self._execute(scope)
        task = asyncio.current_task()
        if task is not None:  # the task's own notice would come a turn of the event loop later
            self._arrived(scope.step.id, task)
        return outcome

    async def _execute(self, scope: Scope) -> Outcome:
        view, node = self.journal.view, scope.node
        if scope.step.undoes is not None:
            return await execute(scope, None, scope)
        try:
            state = self.journal.memory.model(node.schema, scope.step.branch, view.doc(scope.step.branch))
        except StateInvalid as error:
            return Failed(error, info_of(error), (*union(scope.exposure.fields),))
        state = watched(state, scope.exposure)
        context: Any = Context(scope, self.graph, view.thread)
        if not node.is_async:
            context = SyncContext(context, asyncio.get_running_loop())
        if node.time_limit is None:
            return await execute(scope, state, context, self.limits.strict)
        task = asyncio.current_task()
        assert task is not None

        def late() -> None:
            scope.timed_out = True
            task.cancel()
            self._leave_later(scope, task)

        timer = self.clock.call_at(self.clock.now() + int(node.time_limit * 1_000_000), late)
        try:
            return await execute(scope, state, context, self.limits.strict)
        finally:
            timer.cancel()

    async def _stop_unrun(self, steps: list[StepView]) -> bool:
        """Stop, without running them: steps that have asked for nothing yet (there is nothing to clean up), and the
        steps of a run whose record this code doesn't fit (it can't be trusted to clean up)."""
        run = self.journal.view.run
        if run is None:
            return False
        strange = run.divergence is not None
        stopped = [step for step in steps if step.id not in self._scopes and (strange or not step.effects)]
        for step in stopped:
            await self._wind_up(step)
            self.journal.stage([e.Draft(run.number, step.id, e.StepCancelled())])
        return bool(stopped)

    def _tell_ending(self) -> None:
        """The run is being cancelled or has failed: steps in flight get a CancelledError where they are."""
        for scope, task in self._scopes.values():
            if not scope.told and not task.done():
                if not scope.cancelled:  # else a write of its own has told it already
                    task.cancel()
                scope.told = scope.ending = scope.cancelled = True
                self._give_up_later(scope, task)

    def _give_up_later(self, scope: Scope, task: asyncio.Task[Outcome]) -> None:
        def give_up() -> None:
            if not task.done():
                scope.stop(Halt(f"step {scope.step.id} was still cleaning up after {self.limits.grace:g} s"))
                task.cancel()
                self._leave_later(scope, task)

        timer = self.clock.call_at(self.clock.now() + int(self.limits.grace * 1_000_000), give_up)
        task.add_done_callback(lambda _: timer.cancel())

    def _leave_later(self, scope: Scope, task: asyncio.Task[Outcome]) -> None:
        """A node that swallows its cancellation must not hold the run: after another `grace` it is left behind."""
        after = self.clock.now() + int(self.limits.grace * 1_000_000)
        timer = self.clock.call_at(after, lambda: self._arrived(scope.step.id, task))
        task.add_done_callback(lambda _: timer.cancel())

    async def _ended(self, scope: Scope, outcome: Outcome) -> None:
        """Stage what a step's execution came to."""
        run = self.journal.view.run
        step_id = scope.step.id
        if isinstance(scope.halt, Lost):
            raise scope.halt.error
        scope.stop(Halt(f"step {step_id} is over"))  # a thread that was left behind gets no more answers
        scope.over = True  # and what its calls come to goes on no record
        if run is None or step_id not in run.steps:
            return
        step = run.steps[step_id]
        self._held[step_id] = scope.progress
        if step.undoes is not None and not isinstance(outcome, Halted):
            body: e.Body = undone_body(outcome)
        elif isinstance(outcome, Finished):
            body = self._finished(step, outcome)
        elif isinstance(outcome, Failed):
            body = self._failed(scope, step, outcome)
        elif isinstance(outcome, Cancelled):
            body = e.StepCancelled(error=outcome.error)
        elif isinstance(outcome.halt, Parted) and not scope.ending:
            divergence = outcome.halt.divergence
            body = e.RunDiverged(divergence=divergence, fingerprint=self.graph.fingerprint)
            if isinstance(self.perform, Performer):
                body = await self.perform.gate.as_recorded(body)
            if run.divergence is not None:
                return
        elif scope.ending:
            body = e.StepCancelled()
        else:
            return  # paused: its request is on record
        if isinstance(body, e.StepCancelled | e.StepFailed):
            await self._wind_up(step, last=not isinstance(body, e.StepFailed) or body.retry_at is None)
        if not isinstance(body, e.RunDiverged):
            self._held.pop(step_id, None)
        self.journal.stage([e.Draft(scope.run, step_id if not isinstance(body, e.RunDiverged) else "", body)])

    def _finished(self, step: StepView, outcome: Finished) -> e.Body:
        return finished_body(self.graph, self.journal.view.doc(step.branch), step, outcome)

    def _failed(self, scope: Scope, step: StepView, outcome: Failed) -> e.Body:
        retry = scope.node.retry
        retry_at = None
        run = self.journal.view.run
        if (
            step.attempt < retry.attempts
            and retryable(outcome.error, retry)
            and run is not None
            and not run.failing
            and not run.cancel
        ):
            retry_at = self.clock.now() + int(retry.delay(step.attempt) * 1_000_000)
            retry_at = max(
                retry_at, *(x.due_at or 0 for x in step.effects.values() if x.status == "failed"), 0
            )
        return e.StepFailed(
            error=outcome.info, attempt=step.attempt, retry_at=retry_at, taint=sorted(outcome.taint)
        )

    async def _wind_up(self, step: StepView, last: bool = True) -> None:
        """A step that is over leaves no child at work, and if it is not tried again (`last`) no write unlooked at."""
        if isinstance(self.perform, Performer):
            await self.perform.end_children(step)
        if last:
            await self._look_into_writes(step)

    async def _look_into_writes(self, step: StepView) -> None:
        """Say of a write that was cut off what can be known: ask its tool's `reconcile`, once."""
        run = self.journal.view.run
        if not isinstance(self.perform, Performer) or run is None:
            return
        for effect in list(step.effects.values()):
            tool = self.graph.tools.get(effect.name) if effect.write else None
            if effect.status not in ("intended", "unknown") or tool is None or tool.reconcile is None:
                continue
            try:
                async with asyncio.timeout(self.limits.grace):
                    said = await self.perform.writes.look_into(tool, effect)
            except TimeoutError:
                continue
            result, outcome = None, "did_not_happen" if said is DID_NOT_HAPPEN else "unknown"
            error = effect.error
            if isinstance(said, Landed):
                result, problem = await self.perform.gate.left(step, effect, tool, tool.dump(said.result))
                outcome, error = "landed", problem or error
            body = e.EffectSettled(
                key=effect.key,
                n=effect.n,
                outcome=outcome,
                how="reconcile",
                result=result,
                error=error,
            )
            self.journal.stage([e.Draft(run.number, step.id, body)])

    async def _abandon(self) -> None:
        """The loop ends while steps run (the thread is another's now, or the store is gone): stop them."""
        tasks = [task for _, task in self._scopes.values()]
        for scope, task in self._scopes.values():
            scope.stop(Halt("this worker doesn't hold the thread any more"))
            task.cancel()
        self._scopes.clear()
        if tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(tasks, timeout=self._patience)


def left_behind(scope: Scope) -> Outcome:
    """What a step came to whose node didn't stop when it was told to."""
    if scope.timed_out:
        late = StepTimeout(
            f"step {scope.step.id} took longer than its {scope.node.time_limit:g} s, and didn't stop then"
        )
        return Failed(late, info_of(late), scope.taint)
    return Cancelled(e.ErrorInfo("Cancelled", f"step {scope.step.id} didn't stop when it was told to"))


def exposure_of(graph: Graph, view: ThreadView, step: StepView) -> Exposure:
    """What a step can meet: the labels of the state that it sees, of its item, and of what its graph doesn't trust."""
    return Exposure(view.labels_of(step.branch), step.taint, graph.untrusted, graph.tainted_writes)


def undone_body(outcome: Outcome) -> e.CompensationEnded:
    """The entry for a compensation that is over."""
    if isinstance(outcome, Finished):
        return e.CompensationEnded(outcome=outcome.update)
    error = outcome.info if isinstance(outcome, Failed) else None
    return e.CompensationEnded(outcome=LEFT, error=error)


def finished_body(graph: Graph, doc: Mapping[str, Any], step: StepView, outcome: Finished) -> e.Body:
    """The entry for a step that returned: its update checked and made a delta, or why it can't be."""
    where = f"node {step.node!r}"
    try:
        delta = graph.schema.delta(dict(doc), outcome.update, where, alone=not step.branch)
        fan = None
        if outcome.fan_out is not None:
            if step.fanned:
                raise RunError(
                    f"{where} is itself a step of a fan-out and can't fan out; use ctx.run for its parts"
                )
            items = canon.plain(list(outcome.fan_out.items), f"{where}: the items of its fan-out")
            fan = e.FanOut(graph.resolve_fan_out(step.node, outcome.fan_out.node), items)
        # Only now: making the delta and the items may have read the state.
        return e.StepFinished(delta=delta, fan_out=fan, taint=sorted(outcome.taint))
    except Exception as error:  # also what a user's iterator of items raises
        return e.StepFailed(error=info_of(error), attempt=step.attempt, taint=sorted(outcome.taint))


def retryable(error: BaseException, retry: Retry) -> bool:
    """May a step that raised `error` be tried again? An effect's error counts as the error behind it, too."""
    if (
        isinstance(error, StateMutated | BudgetExceeded)
        or getattr(error, "cause", "") == BudgetExceeded.__name__
    ):
        return False
    if isinstance(error, CallRefused) and not {CallRefused, EffectRefused} & {*retry.on}:  # a no stays a no
        return False
    if isinstance(error, BaseExceptionGroup):  # of a gather or a task group: all of it has to be retryable
        return all(retryable(inner, retry) for inner in error.exceptions)
    if isinstance(error, retry.on) or (isinstance(error, StepTimeout) and TimeoutError in retry.on):
        return True
    return isinstance(error, EffectError) and any(_named(error.cause, kind) for kind in retry.on)


def _named(cause: str, kind: type[BaseException]) -> bool:
    return cause == kind.__name__ or any(cause == sub.__name__ for sub in kind.__subclasses__())
