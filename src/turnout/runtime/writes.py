"""Writes: on record as intended before they are sent, settled after, and looked into when nobody knows.

What became of a write is never guessed: its tool's `reconcile` says so, or it is sent again with its key, or a person
decides. What a fork's parent has sent is never sent again by the fork.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from turnout.core import entries as e
from turnout.core.amounts import NOTHING, Amount
from turnout.core.compensation import found_out
from turnout.core.effects import Effect, slot
from turnout.core.reviews import OUTCOME, digest_of
from turnout.core.tool import CANNOT_TELL, DID_NOT_HAPPEN, KEY, Landed, Tool
from turnout.errors import BudgetExceeded, CallTimeout, DidNotHappen, GuardBlocked, InputInvalid, ToolFailed
from turnout.ports.clock import since
from turnout.runtime.calls import function_of, invoke, raised
from turnout.runtime.compensating import undo_named
from turnout.runtime.gate import Gate
from turnout.runtime.spending import estimate
from turnout.runtime.staging import Staging, idempotency_key, review_id
from turnout.runtime.step import Ask, Paused, Scope, info_of
from turnout.runtime.transactions import Transactions
from turnout.runtime.world import Hold, World

LOOKS = 6
"""How often a write's unknown outcome is looked into, or sent again with its key, before a person is asked."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
"""Seconds between those."""
_UNANSWERED = {
    False: "the process stopped before the answer was recorded",
    True: "this thread was forked before the answer was recorded",
}


class Writes:
    """Sends the writes of one thread's steps, and finds out what became of them."""

    def __init__(self, staging: Staging, world: World, hold: Hold, gate: Gate) -> None:
        self.staging = staging
        self.world = world
        self.spending = gate.spending
        self.hold = hold
        self.gate = gate
        self.transactions = Transactions(staging, world, gate)

    async def send(self, scope: Scope, ask: Ask, how: str) -> Any:
        """Send a write: on record before, settled after."""
        tool: Tool[Any, Any] = ask.subject
        if tool.transactional:
            return await self.transactions.send(scope, ask)
        args = tool.typed(ask.args)
        # An earlier sending may have landed: what this one comes to says nothing of that.
        doubtful = ask.effect is not None and ask.effect.status in ("intended", "unknown")
        key = ask.effect.idempotency_key if ask.effect else idempotency_key(self.staging.thread, scope, ask)
        intended = e.EffectIntended(
            effect="tool",
            name=tool.name,
            key=ask.key,
            n=ask.n,
            args=ask.args,
            idempotency_key=key,
            undo=undo_named(scope, ask),
        )
        try:
            await self.spending.reserve(scope, ask, lambda: estimate(tool.time_limit), write=intended)
            run = self.staging.journal.view.run
            if (
                run is not None and run.cancel is not None and scope.step.undoes is None
            ):  # it came in before our commit: the loop may not know yet
                scope.ending = True
            scope.cancel_once()
            await self.hold()
        except asyncio.CancelledError:
            not_sent = e.ErrorInfo("Cancelled", "not sent: the run was cancelled before")
            if self._intended(scope, ask):
                self._settle(
                    scope, ask, "unknown" if doubtful else "did_not_happen", how if doubtful else "call", error=not_sent,
                    sent=False,
                )  # fmt: skip
            raise
        except BudgetExceeded as problem:
            if doubtful and ask.effect is not None:
                return await self._ask_person(scope, ask, ask.effect, info_of(problem))
            await self.spending.refused(scope, ask, info_of(problem))
            raise
        if tool.takes_key:
            args[KEY] = key
        begun = self.world.clock.now()
        try:
            fn = function_of(tool, self.world, self.staging.journal.view.graph, scope.node.name)
            given = await invoke(self._followed(fn, key), args, tool.time_limit)
        except asyncio.CancelledError:
            cut_off = e.ErrorInfo("Cancelled", "cut off while it was in flight")
            self._settle(scope, ask, "unknown", how, error=cut_off, begun=begun)
            raise
        except Exception as problem:
            proof = isinstance(problem, (DidNotHappen, *tool.did_not_happen))
            if proof and not doubtful and not isinstance(problem, CallTimeout):
                settle = functools.partial(self._settled, scope, ask, "did_not_happen", "call", begun)
                info = await self.gate.recorded(scope, ask, problem, settle)
                await self.staging.commit(scope)
                raise raised("tool", tool.name, info, ToolFailed) from problem
            settle = functools.partial(self._settled, scope, ask, "unknown", how, begun)
            await self.gate.recorded(scope, ask, problem, settle)
            await self.staging.commit(scope)
            return await self.resolve(scope, ask, self.staging.effect(scope, ask), fresh=True)
        return await self._landed(scope, ask, how, given, begun)

    async def _landed(
        self, scope: Scope, ask: Ask, how: str, given: Any, begun: e.Micros | None = None
    ) -> Any:
        """A write has landed, with this result: settle it, whatever is wrong with the result. It must never be sent
        again for that."""
        tool: Tool[Any, Any] = ask.subject
        try:
            result = await self.gate.taken_in(scope, ask, tool.dump(given))
        except (InputInvalid, GuardBlocked) as problem:
            settle = functools.partial(self._settled, scope, ask, "landed", how, begun)
            info = await self.gate.recorded(scope, ask, problem, settle)
            await self.staging.commit(scope)
            raise raised("tool", tool.name, info, ToolFailed) from problem
        except asyncio.CancelledError:
            unseen = e.ErrorInfo("Cancelled", "cut off while its result was looked at")
            self._settle(scope, ask, "landed", how, error=unseen, begun=begun)
            raise
        self._settle(scope, ask, "landed", how, result=result, begun=begun)
        held = self.gate.hold(scope, ask)
        await self.staging.commit(scope)
        if held:
            raise scope.stop(Paused())
        return result

    def _intended(self, scope: Scope, ask: Ask) -> bool:
        """Does the record say that it is about to be sent?"""
        step = self.staging.step(scope)
        found = step.effects.get(slot(ask.key, ask.n)) if step is not None else None
        return found is not None and found.status == "intended"

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
        retry_at: e.Micros | None = None, begun: e.Micros | None = None, sent: bool = True,
    ) -> None:  # fmt: skip
        ms = since(self.world.clock, begun) if begun else 0
        spent = None
        if outcome != "unknown" or not sent:
            known = NOTHING if not sent else (Amount(calls=1, ms=ms) if begun else None)
            spent = self.spending.settled(scope, ask, known)
        settled = e.EffectSettled(
            key=ask.key,
            n=ask.n,
            outcome=outcome,
            how=how,
            result=result,
            error=error,
            retry_at=retry_at,
            ms=ms,
            spent=spent,
        )
        self.staging.put(scope, settled)

    def _settled(
        self, scope: Scope, ask: Ask, outcome: str, how: str, begun: e.Micros | None, error: e.ErrorInfo
    ) -> None:
        self._settle(scope, ask, outcome, how, error=error, begun=begun)

    async def resolve(self, scope: Scope, ask: Ask, effect: Effect, *, fresh: bool = False) -> Any:
        """Find out what became of a write. `fresh`: it failed just now, so wait a little before looking."""
        tool: Tool[Any, Any] = ask.subject
        now = self.world.clock.now()
        if effect.review or (effect.due_at is not None and effect.due_at > now):
            scope.cancel_once()
            raise scope.stop(Paused())
        # Of a transactional write something is unknown only if another version made it, in the usual way.
        again = tool.takes_key and not effect.of_parent
        if tool.transactional or effect.tries >= LOOKS or not (tool.reconcile or again):
            return await self._ask_person(scope, ask, effect)
        if tool.reconcile is None:
            if fresh:
                retry_at = now + _wait(effect.tries)
                self._settle(scope, ask, "unknown", "resend", error=effect.error, retry_at=retry_at)
                raise scope.stop(Paused())
            scope.cancel_once()
            return await self.send(scope, _with(ask, effect), "resend")
        said = await self.look_into(tool, effect)
        if isinstance(said, Landed):
            return await self._landed(scope, ask, "reconcile", said.result)
        if said is DID_NOT_HAPPEN:
            self._settle(scope, ask, "did_not_happen", "reconcile")
            await self.staging.commit(scope)
            scope.cancel_once()
            if effect.of_parent:  # the step asks once more, and then for a write of the fork's own
                raise scope.stop(Paused())
            return await self.send(scope, _with(ask, self.staging.effect(scope, ask)), "resend")
        if said is CANNOT_TELL:
            retry_at = now + _wait(effect.tries)
            self._settle(scope, ask, "unknown", "reconcile", error=effect.error, retry_at=retry_at)
            scope.cancel_once()
            raise scope.stop(Paused())
        return await self._ask_person(scope, ask, effect, said)

    async def find_out(self, scope: Scope, ask: Ask, effect: Effect) -> dict[str, Any]:
        """What became of a write whose step is over: it is looked into, but never sent again."""
        known = found_out(effect)
        if known is not None:
            return known
        tool: Tool[Any, Any] | None = ask.subject
        now = self.world.clock.now()
        if effect.review or (effect.due_at is not None and effect.due_at > now):
            raise scope.stop(Paused())
        if tool is None or tool.reconcile is None or effect.tries >= LOOKS:
            return await self._ask_person(scope, ask, effect)
        await self.hold()
        said = await self.look_into(tool, effect)
        if said is CANNOT_TELL:
            self._settle(
                scope, ask, "unknown", "reconcile", error=effect.error, retry_at=now + _wait(effect.tries)
            )
            raise scope.stop(Paused())
        if not isinstance(said, Landed) and said is not DID_NOT_HAPPEN:
            return await self._ask_person(scope, ask, effect, said)
        if isinstance(said, Landed):
            result, problem = await self.gate.left(scope.step, effect, tool, tool.dump(said.result))
            self._settle(scope, ask, "landed", "reconcile", result=result, error=problem)
        else:
            self._settle(scope, ask, "did_not_happen", "reconcile")
        await self.staging.commit(scope)
        return found_out(self.staging.effect(scope, ask)) or {}

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

    async def _ask_person(self, scope: Scope, ask: Ask, effect: Effect, why: Any = None) -> NoReturn:
        """A person says what became of the write."""
        scope.cancel_once()
        payload = {
            "tool": effect.name, "arguments": effect.args, "idempotency_key": effect.idempotency_key,
            "what is known": _said(effect.error) if effect.error else _UNANSWERED[effect.of_parent],
            "reconcile": await self.gate.cleaned(scope, ask, _said(why)) if isinstance(why, e.ErrorInfo) else "",
        }  # fmt: skip
        question = f"Did this write happen? {effect.name}"
        body = e.ReviewRequested(
            review=review_id(self.staging.thread, scope, ask, f"{effect.seq}.{effect.tries}"), name=question, key=ask.key, n=ask.n,
            purpose="outcome", payload=payload, allowed=list(OUTCOME), requester=scope.requester,
            shown=digest_of(question, payload, "outcome", slot(ask.key, ask.n)),
        )  # fmt: skip
        self.staging.put(scope, body)
        raise scope.stop(Paused())


def as_sent(ask: Ask, effect: Effect) -> Ask:
    """The request with the arguments that it was sent with: they may not be those that the node asked with."""
    return ask if effect.args == ask.args else replace(ask, changed=effect.args)


def _with(ask: Ask, effect: Effect) -> Ask:
    return replace(ask, effect=effect)


def _wait(tries: int) -> e.Micros:
    return int(min(FIRST_WAIT * 2**tries, LONGEST_WAIT) * 1_000_000)


def _said(info: e.ErrorInfo) -> str:
    return f"{info.type}: {info.message}"
