"""perform(effect): the one place where a step meets the world.

For each request: what the record has; else call, and record. What changes the world goes through `writes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any

import msgspec

from turnout.core import canon, tracing
from turnout.core import entries as e
from turnout.core.effects import Effect, slot
from turnout.core.reviews import digest_of
from turnout.core.tool import Tool
from turnout.core.view import StepView, ThreadView, root_of
from turnout.errors import EffectError, ModelFailed, ReplayError, ToolFailed, UnknownModel
from turnout.ports.clock import since
from turnout.runtime.calls import function_of, invoke, raised
from turnout.runtime.gate import Gate
from turnout.runtime.journal import Journal
from turnout.runtime.model_calls import answer
from turnout.runtime.spending import estimate
from turnout.runtime.staging import Staging, child_input, child_thread, review_id, to_its_end
from turnout.runtime.step import Ask, Paused, Scope
from turnout.runtime.world import Hold, World, always
from turnout.runtime.writes import Writes, as_sent


class Performer:
    """Performs the effects of one thread's steps, live.

    `hold` is awaited directly before the world is asked for anything, and raises `StaleWriter` when the thread is
    another's by then: a process that was stopped for a while goes on as if nothing had happened.
    """

    def __init__(self, journal: Journal, world: World, hold: Hold = always) -> None:
        self.world = world
        self.hold = hold
        self.staging = Staging(journal)
        self.gate = Gate(self.staging, world)
        self.spending = self.gate.spending
        self.writes = Writes(self.staging, world, hold, self.gate)

    async def __call__(self, scope: Scope, ask: Ask) -> Any:
        effect = ask.effect
        if (
            effect is not None and effect.of_parent and effect.status == "absent"
        ):  # a fork makes one of its own
            ask, effect = replace(ask, effect=None), None
        if effect is None:
            if scope.ending and ask.request.kind in ("review", "sleep", "signal", "child"):
                raise asyncio.CancelledError("the run is ending; a step that cleans up can't wait")
            scope.cancel_once()
            if ask.request.kind in _OUTSIDE:
                await self.hold()
                ask = await self.gate.admit(scope, ask)
            return await _LIVE[ask.request.kind](self, scope, ask)
        if effect.kind == "outcome":
            return await self.writes.find_out(scope, ask, effect)
        self.spending.known(scope, ask, effect)
        if effect.status == "done" and effect.error is None:
            return effect.result
        if effect.status in ("done", "failed"):
            raise raised(effect.kind, effect.name, effect.error)
        if effect.status in ("waiting", "held"):
            if scope.ending and effect.kind == "child":
                await self._cancel_child(effect)
            scope.cancel_once()
            if scope.ending:
                raise asyncio.CancelledError("the run is ending")
            if effect.kind == "child":
                await self._start_child(effect, scope)
            if effect.status == "held":
                self.gate.hold_again(scope, ask, effect)
            raise scope.stop(Paused())
        if effect.write:  # what was sent once is what is asked about, and sent again
            ask = as_sent(ask, effect)
        if effect.status == "absent":
            scope.cancel_once()
            return await self.writes.send(scope, ask, "call")
        return await self.writes.resolve(scope, ask, effect)

    # --- recording ---------------------------------------------------------------------------------------------

    async def _recorded(
        self, scope: Scope, ask: Ask, call: Awaitable[Any], *, durable: bool, failed: type[EffectError]
    ) -> Any:
        """Make a call that changes nothing, and put the answer, or the error, on record."""
        request, begun = ask.request, self.world.clock.now()
        given, result, error = None, None, None
        try:
            given = canon.plain(await call, f"{request.kind} {request.name}: the result")
            result = await self.gate.taken_in(scope, ask, given)
        except (ReplayError, asyncio.CancelledError):
            raise
        except Exception as problem:
            error = problem
        ms = since(self.world.clock, begun)
        info = await self.gate.info_of(scope, ask, error) if error else None
        body = e.EffectRecorded(
            effect=request.kind, name=request.name, key=ask.key, n=ask.n, args=ask.args or None, result=result,
            error=info, ms=ms,
            spent=self.spending.answered(scope, ask, given, error, ms),
        )  # fmt: skip
        self.staging.put(scope, body)
        held = self.gate.hold(scope, ask)
        if durable:
            await self.staging.commit(scope)
        if held:
            raise scope.stop(Paused())
        if error is not None:
            raise raised(request.kind, request.name, body.error, failed) from error
        return result

    # --- calls that change nothing -----------------------------------------------------------------------------

    async def _tool(self, scope: Scope, ask: Ask) -> Any:
        tool: Tool[Any, Any] = ask.subject
        if tool.effect == "write":
            return await self.writes.send(scope, ask, "call")

        async def call() -> Any:
            fn = function_of(tool, self.world, self.staging.journal.view.graph, scope.node.name)
            if tool.effect != "pure":
                await self.spending.reserve(scope, ask, lambda: estimate(tool.time_limit))
            return tool.dump(await invoke(fn, tool.typed(ask.args), tool.time_limit))

        return await self._recorded(scope, ask, call(), durable=tool.effect == "read", failed=ToolFailed)

    async def _model(self, scope: Scope, ask: Ask) -> Any:
        model = self.world.models.get(ask.request.name)

        async def call() -> Any:
            if model is None:
                raise UnknownModel(_unknown("model", ask.request.name, self.world.models))
            return await answer(model, scope, ask, self.staging, self.gate)

        return await self._recorded(scope, ask, call(), durable=True, failed=ModelFailed)

    async def _retrieve(self, scope: Scope, ask: Ask) -> Any:
        source = self.world.retrievers.get(ask.request.name)

        async def call() -> Any:
            if source is None:
                raise UnknownModel(_unknown("retrieval source", ask.request.name, self.world.retrievers))
            await self.spending.reserve(scope, ask, estimate)
            return await source(ask.args["query"], ask.args["k"])

        return await self._recorded(scope, ask, call(), durable=True, failed=ToolFailed)

    async def _once(self, scope: Scope, ask: Ask) -> Any:
        fn, args = ask.subject

        async def call() -> Any:
            await self.spending.reserve(scope, ask, estimate)
            return await invoke(fn, args, None)

        return await self._recorded(scope, ask, call(), durable=True, failed=ToolFailed)

    async def _now(self, scope: Scope, ask: Ask) -> Any:
        return await self._cheap(scope, ask, self.world.clock.now())

    async def _random(self, scope: Scope, ask: Ask) -> Any:
        return await self._cheap(scope, ask, self.world.chance.random())

    async def _uuid(self, scope: Scope, ask: Ask) -> Any:
        digits = self.world.chance.hex(32)
        return await self._cheap(
            scope, ask, f"{digits[:12]}4{digits[13:16]}{'89ab'[int(digits[16], 16) % 4]}{digits[17:]}"
        )

    async def _cheap(self, scope: Scope, ask: Ask, value: Any) -> Any:
        self.staging.put(
            scope, e.EffectRecorded(effect=ask.request.kind, name="", key=ask.key, n=ask.n, result=value)
        )
        return value

    # --- waits -------------------------------------------------------------------------------------------------

    async def _sleep(self, scope: Scope, ask: Ask) -> Any:
        args = ask.request.args
        due = args["until"] if "until" in args else self.world.clock.now() + args["for"]
        self.staging.put(scope, e.TimerSet(key=ask.key, n=ask.n, due_at=due))
        raise scope.stop(Paused())

    async def _signal(self, scope: Scope, ask: Ask) -> Any:
        self.staging.put(scope, e.SignalAwaited(name=ask.request.name, key=ask.key, n=ask.n))
        effect = self.staging.effect(scope, ask)
        if effect.status == "done":  # it was there already
            return effect.result
        raise scope.stop(Paused())

    async def _review(self, scope: Scope, ask: Ask) -> Any:
        terms = ask.subject
        due = terms.due if terms.due_in is None else self.world.clock.now() + terms.due_in
        body = e.ReviewRequested(
            review=review_id(self.staging.thread, scope, ask), name=ask.request.name, key=ask.key, n=ask.n,
            purpose=terms.purpose, payload=terms.payload, allowed=terms.allowed, roles=terms.roles, quorum=terms.quorum,
            separate=terms.separate, requester=scope.requester, due_at=due, on_due=terms.on_due,
            escalate_to=terms.escalate_to, shown=digest_of(ask.request.name, terms.payload, terms.purpose, slot(ask.key, ask.n)),
        )  # fmt: skip
        self.staging.put(scope, body)
        raise scope.stop(Paused())

    async def _child(self, scope: Scope, ask: Ask) -> Any:
        child = child_thread(self.staging.journal.view, scope, ask)
        self.staging.put(
            scope,
            e.ChildStarted(child=child, graph=ask.request.name, input=ask.request.args, key=ask.key, n=ask.n),
        )
        await self.staging.commit(scope)
        await self._start_child(self.staging.effect(scope, ask), scope)
        raise scope.stop(Paused())

    async def _start_child(self, effect: Effect, scope: Scope) -> None:
        """Give the child its input. Done again on every look, harmlessly: a crash may have come in between.

        A step that is cancelled meanwhile hears of it when the child has its input: then it can be cancelled, too."""
        if self.world.start_child is None:
            return
        view = self.staging.journal.view
        given = msgspec.structs.replace(
            child_input(view, effect), by=scope.requester, priority=view.priority, taint=sorted(scope.taint),
            root=root_of(view), traceparent=_traceparent(view, scope),
        )  # fmt: skip
        error = await to_its_end(asyncio.ensure_future(self.world.start_child(effect.child, given)))
        if error is not None:
            self.staging.put(scope, e.ChildEnded(child=effect.child, status="failed", error=error))

    async def end_children(self, step: StepView) -> None:
        """Ask the children of a step that is over to stop. It may have been cut off while it started one."""
        for effect in step.effects.values():
            if effect.kind == "child" and effect.status == "waiting":
                await self._cancel_child(effect)

    async def _cancel_child(self, effect: Effect) -> None:
        if self.world.cancel_child is not None:
            given = child_input(self.staging.journal.view, effect)
            await self.world.cancel_child(effect.child, given, "its parent is ending")


_LIVE: dict[str, Callable[[Performer, Scope, Ask], Awaitable[Any]]] = {
    "tool": Performer._tool,
    "model": Performer._model,
    "retrieve": Performer._retrieve,
    "once": Performer._once,
    "now": Performer._now,
    "random": Performer._random,
    "uuid": Performer._uuid,
    "sleep": Performer._sleep,
    "signal": Performer._signal,
    "review": Performer._review,
    "child": Performer._child,
}
_OUTSIDE = ("tool", "model", "retrieve", "once")
"""What asks the world; a write is looked at once more when it is on record."""


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    has = ", ".join(sorted(known)) or "none"
    where = "turnout.toml or open_app(...)" if what == "model" else "open_app(...)"
    return f"there is no {what} {name!r} in this app (it has: {has}); give it to {where}"


def _traceparent(view: ThreadView, scope: Scope) -> str:
    """The place in the trace of a child's run: below the step that started it, where the run came with a trace."""
    run = view.run
    if run is None or not run.traceparent:
        return ""
    of_run = tracing.of_run(run.traceparent, view.thread, run.number, run.started_at)
    return tracing.below(of_run, scope.step.id).header
