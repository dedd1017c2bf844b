"""perform(effect): the one place where a step meets the world.

For each request: what the record has; else call, and record. A write is on record as intended before it is sent and
settled after; when its outcome isn't known it is looked into, never guessed.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.effects import Effect, slot
from turnout.core.failures import kind_of
from turnout.core.reviews import OUTCOME, digest_of
from turnout.core.tool import CANNOT_TELL, DID_NOT_HAPPEN, KEY, Landed, Tool
from turnout.errors import (
    CallTimeout,
    ChildFailed,
    Conflict,
    DidNotHappen,
    EffectError,
    InputInvalid,
    ModelFailed,
    ReplayError,
    StoreError,
    ToolFailed,
    UnknownModel,
)
from turnout.ports.clock import Chance, Clock
from turnout.ports.model import Model, Retriever
from turnout.runtime.journal import Journal
from turnout.runtime.model_calls import answer
from turnout.runtime.step import Ask, Halt, Paused, Scope, info_of
from turnout.runtime.threads import in_thread

LOOKS = 6
"""How often a write's unknown outcome is looked into, or sent again with its key, before a person is asked."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
"""Seconds between those."""


@dataclass(frozen=True)
class World:
    """What steps can reach: models and retrieval sources by name, time, chance, and child threads."""

    clock: Clock
    chance: Chance
    models: Mapping[str, Model] = field(default_factory=dict)
    retrievers: Mapping[str, Retriever] = field(default_factory=dict)
    start_child: Callable[[str, str, dict[str, Any], str, str], Awaitable[None]] | None = None
    cancel_child: Callable[[str, str], Awaitable[None]] | None = None
    going_on: set[str] = field(default_factory=set)  # idempotency keys of sync writes whose thread runs still


class Performer:
    """Performs the effects of one thread's steps, live."""

    def __init__(self, journal: Journal, world: World) -> None:
        self.journal = journal
        self.world = world

    async def __call__(self, scope: Scope, ask: Ask) -> Any:
        effect = ask.effect
        if effect is None:
            if scope.ending and ask.request.kind in ("review", "sleep", "signal", "child"):
                raise asyncio.CancelledError("the run is ending; a step that cleans up can't wait")
            scope.cancel_once()
            return await _LIVE[ask.request.kind](self, scope, ask)
        if effect.status == "done" and effect.error is None:
            return effect.result
        if effect.status in ("done", "failed"):
            raise raised(effect.kind, effect.name, effect.error)
        if effect.status == "waiting":
            if scope.ending and effect.kind == "child" and self.world.cancel_child is not None:
                await self.world.cancel_child(effect.child, "its parent is ending")
            scope.cancel_once()
            if scope.ending:
                raise asyncio.CancelledError("the run is ending")
            if effect.kind == "child":
                await self._start_child(effect, scope)
            raise scope.stop(Paused())
        if effect.status == "absent":
            scope.cancel_once()
            return await self._send(scope, ask, "call")
        return await self._resolve(scope, ask, effect)

    # --- recording ---------------------------------------------------------------------------------------------

    def _stage(self, scope: Scope, body: e.Body) -> None:
        self.journal.stage([e.Draft(scope.run, scope.step.id, body)])

    async def _commit(self, scope: Scope) -> None:
        """Make what is on record durable. A step that is cancelled meanwhile hears of it when the commit is through:
        what is half committed could neither be kept nor taken back. When the store refuses, the step halts; the loop,
        which has the same to commit, says why."""
        task = asyncio.ensure_future(self._durable())
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await asyncio.shield(task)
                break
            except asyncio.CancelledError as error:
                if task.cancelled():
                    raise
                cancelled = error
            except (StoreError, Conflict) as error:
                raise scope.stop(Halt(str(error))) from error
        if cancelled is not None:
            raise cancelled

    async def _durable(self) -> None:
        while (
            not await self.journal.commit()
        ):  # somebody from outside was quicker: what is staged was put behind it
            pass

    async def _recorded(
        self, scope: Scope, ask: Ask, call: Awaitable[Any], *, durable: bool, failed: type[EffectError]
    ) -> Any:
        """Make a call that changes nothing, and put the answer, or the error, on record."""
        request, begun = ask.request, self.world.clock.now()
        result, error = None, None
        try:
            result = canon.plain(await call, f"{request.kind} {request.name}: the result")
        except (ReplayError, asyncio.CancelledError):
            raise
        except Exception as problem:
            error = problem
        body = e.EffectRecorded(
            effect=request.kind, name=request.name, key=ask.key, n=ask.n, args=request.args or None, result=result,
            error=info_of(error) if error else None, ms=(self.world.clock.now() - begun) // 1000,
        )  # fmt: skip
        self._stage(scope, body)
        if durable:
            await self._commit(scope)
        if error is not None:
            raise raised(request.kind, request.name, body.error, failed) from error
        return result

    # --- calls that change nothing -----------------------------------------------------------------------------

    async def _tool(self, scope: Scope, ask: Ask) -> Any:
        tool: Tool[Any, Any] = ask.subject
        if tool.effect == "write":
            return await self._send(scope, ask, "call")

        async def call() -> Any:
            return tool.dump(await invoke(tool.fn, tool.typed(ask.request.args), tool.time_limit))

        return await self._recorded(scope, ask, call(), durable=tool.effect == "read", failed=ToolFailed)

    async def _model(self, scope: Scope, ask: Ask) -> Any:
        model = self.world.models.get(ask.request.name)

        async def call() -> Any:
            if model is None:
                raise UnknownModel(_unknown("model", ask.request.name, self.world.models))
            return await answer(model, scope, ask, self.journal, self._commit)

        return await self._recorded(scope, ask, call(), durable=True, failed=ModelFailed)

    async def _retrieve(self, scope: Scope, ask: Ask) -> Any:
        source = self.world.retrievers.get(ask.request.name)

        async def call() -> Any:
            if source is None:
                raise UnknownModel(_unknown("retrieval source", ask.request.name, self.world.retrievers))
            return await source(ask.request.args["query"], ask.request.args["k"])

        return await self._recorded(scope, ask, call(), durable=True, failed=ToolFailed)

    async def _once(self, scope: Scope, ask: Ask) -> Any:
        fn, args = ask.subject
        return await self._recorded(scope, ask, invoke(fn, args, None), durable=True, failed=ToolFailed)

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
        self._stage(
            scope, e.EffectRecorded(effect=ask.request.kind, name="", key=ask.key, n=ask.n, result=value)
        )
        return value

    # --- waits -------------------------------------------------------------------------------------------------

    async def _sleep(self, scope: Scope, ask: Ask) -> Any:
        args = ask.request.args
        due = args["until"] if "until" in args else self.world.clock.now() + args["for"]
        self._stage(scope, e.TimerSet(key=ask.key, n=ask.n, due_at=due))
        raise scope.stop(Paused())

    async def _signal(self, scope: Scope, ask: Ask) -> Any:
        self._stage(scope, e.SignalAwaited(name=ask.request.name, key=ask.key, n=ask.n))
        effect = self._effect(scope, ask)
        if effect.status == "done":  # it was there already
            return effect.result
        raise scope.stop(Paused())

    async def _review(self, scope: Scope, ask: Ask) -> Any:
        terms = ask.subject
        due = terms.due if terms.due_in is None else self.world.clock.now() + terms.due_in
        body = e.ReviewRequested(
            review=review_id(self.journal.view.thread, scope, ask), name=ask.request.name, key=ask.key, n=ask.n,
            payload=terms.payload, allowed=terms.allowed, roles=terms.roles, quorum=terms.quorum,
            separate=terms.separate, requester=scope.requester, due_at=due, on_due=terms.on_due,
            escalate_to=terms.escalate_to, shown=digest_of(ask.request.name, terms.payload, "ask", slot(ask.key, ask.n)),
        )  # fmt: skip
        self._stage(scope, body)
        raise scope.stop(Paused())

    async def _child(self, scope: Scope, ask: Ask) -> Any:
        child = f"{self.journal.view.thread}/{scope.run}.{scope.step.id}.{ask.key[:12]}{ask.n or ''}"
        self._stage(
            scope,
            e.ChildStarted(child=child, graph=ask.request.name, input=ask.request.args, key=ask.key, n=ask.n),
        )
        await self._commit(scope)
        await self._start_child(self._effect(scope, ask), scope)
        raise scope.stop(Paused())

    async def _start_child(self, effect: Effect, scope: Scope) -> None:
        """Give the child its input. Done again on every look, harmlessly: a crash may have come in between."""
        if self.world.start_child is not None:
            await self.world.start_child(
                effect.child, effect.name, effect.args, self.journal.view.thread, scope.requester
            )

    # --- writes ------------------------------------------------------------------------------------------------

    async def _send(self, scope: Scope, ask: Ask, how: str) -> Any:
        """Send a write: on record before, settled after."""
        tool: Tool[Any, Any] = ask.subject
        args = tool.typed(ask.request.args)
        # An earlier sending may have landed: what this one comes to says nothing of that.
        doubtful = ask.effect is not None and ask.effect.status in ("intended", "unknown")
        key = (
            ask.effect.idempotency_key
            if ask.effect
            else idempotency_key(self.journal.view.thread, scope, ask)
        )
        self._stage(
            scope,
            e.EffectIntended(
                effect="tool",
                name=tool.name,
                key=ask.key,
                n=ask.n,
                args=ask.request.args,
                idempotency_key=key,
            ),
        )
        try:
            await self._commit(scope)
            run = self.journal.view.run
            if (
                run is not None and run.cancel is not None
            ):  # it came in before our commit; the loop hasn't said so yet
                scope.ending = True
            scope.cancel_once()
        except asyncio.CancelledError:
            not_sent = e.ErrorInfo("Cancelled", "not sent: the run was cancelled before")
            self._settle(
                scope, ask, "unknown" if doubtful else "did_not_happen", how if doubtful else "call", error=not_sent
            )  # fmt: skip
            raise
        if tool.takes_key:
            args[KEY] = key
        begun = self.world.clock.now()
        try:
            given = await invoke(self._followed(tool.fn, key), args, tool.time_limit)
        except asyncio.CancelledError:
            self._settle(
                scope,
                ask,
                "unknown",
                how,
                error=e.ErrorInfo("Cancelled", "cut off while it was in flight"),
                begun=begun,
            )
            raise
        except Exception as problem:
            proof = isinstance(problem, (DidNotHappen, *tool.did_not_happen))
            if proof and not doubtful and not isinstance(problem, CallTimeout):
                info = info_of(problem)
                self._settle(scope, ask, "did_not_happen", "call", error=info, begun=begun)
                await self._commit(scope)
                raise raised("tool", tool.name, info, ToolFailed) from problem
            self._settle(scope, ask, "unknown", how, error=info_of(problem), begun=begun)
            await self._commit(scope)
            return await self._resolve(scope, ask, self._effect(scope, ask), fresh=True)
        try:
            result = tool.dump(given)
        except InputInvalid as problem:  # it landed all the same: it must never be sent again for this
            info = info_of(problem)
            self._settle(scope, ask, "landed", how, error=info, begun=begun)
            await self._commit(scope)
            raise raised("tool", tool.name, info, ToolFailed) from problem
        self._settle(scope, ask, "landed", how, result=result, begun=begun)
        await self._commit(scope)
        return result

    def _followed(self, fn: Callable[..., Any], key: str) -> Callable[..., Any]:
        """A sync write can be left behind but not stopped: as long as its thread goes on, it may yet land."""
        if inspect.iscoroutinefunction(fn):
            return fn
        going_on = self.world.going_on
        going_on.add(key)

        @functools.wraps(fn)
        def followed(*args: Any, **kwargs: Any) -> Any:
            try:
                return fn(*args, **kwargs)
            finally:
                going_on.discard(key)

        return followed

    def _settle(
        self, scope: Scope, ask: Ask, outcome: str, how: str, *, result: Any = None, error: e.ErrorInfo | None = None,
        retry_at: e.Micros | None = None, begun: e.Micros | None = None,
    ) -> None:  # fmt: skip
        ms = (self.world.clock.now() - begun) // 1000 if begun else 0
        self._stage(
            scope,
            e.EffectSettled(
                key=ask.key,
                n=ask.n,
                outcome=outcome,
                how=how,
                result=result,
                error=error,
                retry_at=retry_at,
                ms=ms,
            ),
        )

    async def _resolve(self, scope: Scope, ask: Ask, effect: Effect, *, fresh: bool = False) -> Any:
        """Find out what became of a write. `fresh`: it failed just now, so wait a little before looking."""
        tool: Tool[Any, Any] = ask.subject
        now = self.world.clock.now()
        if effect.review or (effect.due_at is not None and effect.due_at > now):
            scope.cancel_once()
            raise scope.stop(Paused())
        if effect.tries >= LOOKS or not (tool.reconcile or tool.takes_key):
            return self._ask_person(scope, ask, effect)
        if tool.reconcile is None:
            if fresh:
                retry_at = now + _wait(effect.tries)
                self._settle(scope, ask, "unknown", "resend", error=effect.error, retry_at=retry_at)
                raise scope.stop(Paused())
            scope.cancel_once()
            return await self._send(scope, _with(ask, effect), "resend")
        said = await self.look_into(tool, effect)
        if isinstance(said, Landed):
            result = tool.dump(said.result)
            self._settle(scope, ask, "landed", "reconcile", result=result)
            await self._commit(scope)
            return result
        if said is DID_NOT_HAPPEN:
            self._settle(scope, ask, "did_not_happen", "reconcile")
            await self._commit(scope)
            scope.cancel_once()
            return await self._send(scope, _with(ask, self._effect(scope, ask)), "resend")
        if said is CANNOT_TELL:
            retry_at = now + _wait(effect.tries)
            self._settle(scope, ask, "unknown", "reconcile", error=effect.error, retry_at=retry_at)
            scope.cancel_once()
            raise scope.stop(Paused())
        return self._ask_person(scope, ask, effect, said)

    async def look_into(self, tool: Tool[Any, Any], effect: Effect) -> Any:
        """Ask the tool's `reconcile`. An error of its own, or a word it doesn't have, is returned as ErrorInfo."""
        assert tool.reconcile is not None
        try:
            args = tool.typed(effect.args)
            if KEY in inspect.signature(tool.reconcile).parameters:
                args[KEY] = effect.idempotency_key
            said = await invoke(tool.reconcile, args, tool.time_limit)
        except Exception as problem:
            return info_of(problem)
        if said is DID_NOT_HAPPEN and effect.idempotency_key in self.world.going_on:
            return CANNOT_TELL
        if isinstance(said, Landed):
            try:
                tool.dump(said.result)
            except InputInvalid as problem:
                return info_of(problem)
        if isinstance(said, Landed) or said is DID_NOT_HAPPEN or said is CANNOT_TELL:
            return said
        return e.ErrorInfo("TypeError", "reconcile must return Landed(result), DID_NOT_HAPPEN or CANNOT_TELL")

    def _ask_person(self, scope: Scope, ask: Ask, effect: Effect, why: Any = None) -> Any:
        """A person says what became of the write."""
        scope.cancel_once()
        payload = {
            "tool": effect.name, "arguments": effect.args, "idempotency_key": effect.idempotency_key,
            "what is known": _said(effect.error) if effect.error else "the process stopped before the answer was recorded",
            "reconcile": _said(why) if isinstance(why, e.ErrorInfo) else "",
        }  # fmt: skip
        question = f"Did this write happen? {effect.name}"
        body = e.ReviewRequested(
            review=review_id(self.journal.view.thread, scope, ask, f"{effect.seq}.{effect.tries}"), name=question, key=ask.key, n=ask.n,
            purpose="outcome", payload=payload, allowed=list(OUTCOME), requester=scope.requester,
            shown=digest_of(question, payload, "outcome", slot(ask.key, ask.n)),
        )  # fmt: skip
        self._stage(scope, body)
        raise scope.stop(Paused())

    def _effect(self, scope: Scope, ask: Ask) -> Effect:
        run = self.journal.view.run
        assert run is not None
        return run.steps[scope.step.id].effects[slot(ask.key, ask.n)]


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


async def invoke(
    fn: Callable[..., Any], args: Mapping[str, Any] | tuple[Any, ...], limit: float | None
) -> Any:
    """Call a function, async or sync (then on a thread), within `limit` seconds."""

    bound = functools.partial(fn, **args) if isinstance(args, Mapping) else functools.partial(fn, *args)

    async def call() -> Any:
        name = getattr(fn, "__name__", "call")
        try:
            if inspect.iscoroutinefunction(fn):
                return await bound()
            value = await in_thread(bound, name)
            return await value if inspect.isawaitable(value) else value
        except SystemExit as problem:  # it would end the worker, and the next one that takes the thread over
            raise RuntimeError(f"{name} called sys.exit({problem.code!r})") from problem

    if limit is None:
        return await call()
    timer = asyncio.timeout(limit)
    try:
        async with timer:
            return await call()
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise CallTimeout(f"it took longer than its {limit:g} s") from error


def raised(
    kind: str, name: str, info: e.ErrorInfo | None, failed: type[EffectError] | None = None
) -> EffectError | UnknownModel:
    """The error that a node gets for an effect that failed: the same when it happens and when it is replayed."""
    kinds: dict[str, type[EffectError]] = {"child": ChildFailed}
    info = info or e.ErrorInfo("Error", "unknown")
    if kind in ("model", "retrieve") and info.type == UnknownModel.__name__:
        return UnknownModel(info.message)
    if kind == "model":
        failed = kind_of(info.type)
    error = (failed or kinds.get(kind, ToolFailed))(f"{kind} {name}: {info.type}: {info.message}")
    error.cause = info.type
    return error


def idempotency_key(thread: str, scope: Scope, ask: Ask) -> str:
    """Stable for this one write, for ever: 32 hex characters."""
    text = canon.encode([thread, scope.run, scope.step.id, ask.key, ask.n])
    return hashlib.sha256(b"write" + text).hexdigest()[:32]


def review_id(thread: str, scope: Scope, ask: Ask, more: str = "") -> str:
    """`rev-` and 12 characters."""
    text = canon.encode(
        [thread, scope.run, scope.step.id, scope.step.seq, scope.step.attempt, ask.key, ask.n, more]
    )
    return "rev-" + hashlib.sha256(b"review" + text).hexdigest()[:12]


def _with(ask: Ask, effect: Effect) -> Ask:
    return Ask(ask.request, ask.key, ask.n, effect, ask.subject)


def _wait(tries: int) -> e.Micros:
    return int(min(FIRST_WAIT * 2**tries, LONGEST_WAIT) * 1_000_000)


def _said(info: e.ErrorInfo) -> str:
    return f"{info.type}: {info.message}"


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    has = ", ".join(sorted(known)) or "none"
    where = "turnout.toml or open_app(...)" if what == "model" else "open_app(...)"
    return f"there is no {what} {name!r} in this app (it has: {has}); give it to {where}"
