"""The gateway: a model for each alias of turnout.toml. It sends, waits and notes; what to do next is decided in `route`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from turnout.core import canon
from turnout.core.amounts import Estimate
from turnout.core.attempts import Attempt
from turnout.core.entries import Micros
from turnout.core.failures import kind_of
from turnout.core.messages import ModelReply, ModelRequest, Usage
from turnout.errors import (
    AnswerBroken,
    InputInvalid,
    ModelFailed,
    ModelRequestRefused,
    ModelTimeout,
    ModelUnavailable,
    TurnoutError,
)
from turnout.models import bounds, prices
from turnout.models.cache import Answers, key_of
from turnout.models.health import Health, estimate
from turnout.models.route import Hold, Send, Stop, next_move, not_before
from turnout.models.schema import Alias, Deployment, ModelSettings, answer_bound
from turnout.ports.clock import Chance, Clock, since
from turnout.ports.model import Call, Emit, Model

CACHE = "cache"


class Upstream(Model, Protocol):
    """A provider's model, with connections that are opened before the first request, and can be closed."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...


Connect = Callable[[str, Deployment], Upstream]
"""Makes the upstream of a deployment. Called when it is first needed: that is when its SDK is imported."""


@dataclass
class Gateways:
    """What the aliases share: terms, connections, and how the deployments are doing."""

    settings: ModelSettings
    clock: Clock
    chance: Chance
    connect: Connect
    upstreams: dict[str, Upstream] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.health = Health(self.settings.deployments)

    def models(self) -> dict[str, Gateway]:
        """The model of each alias."""
        return {name: Gateway(name, self) for name in self.settings.models}

    def upstream(self, deployment: str) -> Upstream:
        """The connection to a deployment. Raises `SettingsInvalid` when a key or an SDK is missing."""
        if deployment not in self.upstreams:
            self.upstreams[deployment] = self.connect(deployment, self.settings.deployments[deployment])
        return self.upstreams[deployment]

    async def close(self) -> None:
        """Close all connections."""
        open_ones, self.upstreams = self.upstreams, {}
        for upstream in open_ones.values():
            await upstream.close()


class Unrecorded:
    """A call outside of any thread: its attempts are kept in memory."""

    def __init__(self) -> None:
        self.made: list[Attempt] = []

    def note(self, attempt: Attempt) -> None:
        self.made.append(attempt)

    async def reserve(self, estimate: Callable[[], Estimate]) -> None:
        """No budget counts it."""

    async def keep(self) -> None:
        """There is nothing to make durable."""

    async def tenant(self) -> str:
        return ""


class Gateway:
    """The model of one alias."""

    def __init__(self, alias: str, shared: Gateways) -> None:
        self.alias = alias
        self._shared = shared
        self._terms: Alias = shared.settings.models[alias]
        self._answers = Answers(self._terms.cache) if self._terms.cache is not None else None

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        return await self.attempt(request, emit, Unrecorded())

    async def attempt(self, request: ModelRequest, emit: Emit, call: Call) -> ModelReply:
        try:
            answer_bound(request.options)
        except ValueError as problem:  # no upstream takes it, and no budget could reserve it
            raise ModelRequestRefused(str(problem)) from None
        key = await self._key(request, call)
        reply = self._known(key, emit, call)
        if reply is not None:
            return reply
        reply = await self._ask(request, emit, call)
        spent = sum(attempt.cost_micros or 0 for attempt in call.made)
        reply = reply.model_copy(update={"cost_micros": spent})
        if self._answers is not None:
            self._answers.put(key, reply, self._shared.clock.now())
        return reply

    # --- the loop ----------------------------------------------------------------------------------------------

    async def _ask(self, request: ModelRequest, emit: Emit, call: Call) -> ModelReply:
        """Attempt after attempt, until one is answered. Raises `ModelFailed`."""
        shared, tokens = self._shared, estimate(request)
        for attempt in call.made:  # of a process that died: what an upstream told it holds for this one too
            shared.health.on_record(attempt.deployment, attempt.error, attempt.again_at)
        begun = call.made[0].at if call.made else shared.clock.now()
        until = begun + int(self._terms.deadline * 1_000_000)
        failure: TurnoutError | None = None
        while True:
            now, past = shared.clock.now(), call.made
            blocked = shared.health.blocked(tokens, now)
            move = next_move(
                shared.settings.models, self.alias, past, blocked, now, until, shared.chance.random()
            )
            if isinstance(move, Stop):
                raise failure or _given_up(self.alias, past, move, now)
            if past:
                await call.keep()
            if isinstance(move, Hold):
                await _sleep(shared.clock, move.until)
                continue
            answer = await self._send(request, emit, call, move, tokens, until)
            if isinstance(answer, ModelReply):
                return answer
            failure = answer

    async def _send(
        self, request: ModelRequest, emit: Emit, call: Call, move: Send, tokens: int, until: Micros
    ) -> ModelReply | TurnoutError:
        """One attempt, noted: the reply, or the failure."""
        shared, terms = self._shared, self._shared.settings.deployments[move.deployment]
        await call.reserve(
            lambda: bounds.most(_with_options(request, terms), move, terms, shared.clock.now())
        )
        past, begun, asked = list(call.made), shared.clock.now(), False
        sent = shared.health.sending(move.deployment, tokens, begun)
        shown = _Shown(emit)
        try:
            upstream = shared.upstream(move.deployment)
            await upstream.open()
            begun, asked = shared.clock.now(), True
            work = upstream.complete(_with_options(request, terms), shown.emit)
            reply = await _within(min(terms.timeout, (until - begun) / 1e6), work)
        except asyncio.CancelledError:
            if asked:
                self._note(call, move, begun, error="Cancelled", message="cut off: the step was told to stop")
            raise
        except TurnoutError as problem:
            failure: TurnoutError = problem
        else:
            usage = reply.usage if reply.usage.input_tokens or reply.usage.output_tokens else None
            if usage is not None:
                sent.tokens = usage.input_tokens + usage.output_tokens
            self._note(
                call,
                move,
                begun,
                usage=usage,
                model=reply.model,
                finish=reply.finish,
                request_id=reply.request_id,
            )
            shared.health.ended(move.deployment, "", shared.clock.now(), None)
            return reply
        found = failure if isinstance(failure, ModelFailed) else ModelFailed(str(failure))
        error = type(failure).__name__
        self._note(
            call, move, begun, past=past, error=error, message=canon.text(str(failure)),
            usage=found.usage if found.usage is not None and found.usage.possible else None, finish=found.finish, request_id=found.request_id, retry_after=found.retry_after,
        )  # fmt: skip
        shared.health.ended(move.deployment, error, shared.clock.now(), call.made[-1].again_at)
        shown.void(error)
        return failure

    def _note(
        self,
        call: Call,
        move: Send,
        begun: Micros,
        *,
        past: Sequence[Attempt] = (),
        usage: Usage | None = None,
        retry_after: float | None = None,
        model: str = "",
        **more: Any,
    ) -> None:
        shared, terms = self._shared, self._shared.settings.deployments[move.deployment]
        priced = prices.cost(terms, model, usage, begun) if usage is not None else None
        attempt = Attempt(
            alias=move.alias, deployment=move.deployment, why=move.why, at=begun,
            ms=since(shared.clock, begun), model=model or terms.model,
            usage=usage.model_dump(exclude_defaults=True) if usage is not None else None,
            price=priced[0] if priced else None, cost_micros=priced[1] if priced else None, **more,
        )  # fmt: skip
        if attempt.error:
            alias = shared.settings.models[move.alias]
            again_at = not_before(alias, attempt, past, retry_after, shared.chance.random())
            attempt = msgspec.structs.replace(attempt, again_at=again_at)
        call.note(attempt)

    # --- the cache ---------------------------------------------------------------------------------------------

    async def _key(self, request: ModelRequest, call: Call) -> str:
        if self._answers is None:
            return ""
        deployments = list(self._shared.settings.deployments.values())
        return key_of(request, await call.tenant(), self._terms, deployments)

    def _known(self, key: str, emit: Emit, call: Call) -> ModelReply | None:
        """The answer that an equal request had, noted as an attempt that cost nothing."""
        now = self._shared.clock.now()
        found = self._answers.get(key, now) if self._answers is not None else None
        if found is None:
            return None
        call.note(
            Attempt(
                alias=self.alias, deployment=CACHE, why=CACHE, at=now, model=found.model, finish=found.finish,
                usage={}, cost_micros=0,
            )
        )  # fmt: skip
        if found.text:
            emit({"text": found.text})
        return found.model_copy(update={"cost_micros": 0, "usage": Usage(), "request_id": ""})


class _Shown:
    """What of an attempt's answer was shown already."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._any = False

    def emit(self, event: Any) -> None:
        self._any = True
        self._emit(event)

    def void(self, error: str) -> None:
        """Tell whoever streams that what they saw of this attempt is void."""
        if self._any:
            self._emit({"void": error})


async def _within(seconds: float, work: Awaitable[ModelReply]) -> ModelReply:
    """The reply, if it comes in time and can be stored. Raises `ModelTimeout`, `AnswerBroken`."""
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            reply = await work
    except TimeoutError:
        if not timer.expired():
            raise
        raise ModelTimeout(f"no answer within {seconds:g} s") from None
    try:
        canon.plain(reply.model_dump(), "the answer")
    except InputInvalid as problem:
        raise AnswerBroken(str(problem)) from None
    if not reply.usage.possible:
        raise AnswerBroken(f"the tokens that it says it used can't be: {reply.usage!r}")
    return reply


async def _sleep(clock: Clock, until: Micros) -> None:
    over = asyncio.Event()
    timer = clock.call_at(until, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


def _with_options(request: ModelRequest, terms: Deployment) -> ModelRequest:
    return request.model_copy(update={"options": {**terms.options, **request.options}})


def _given_up(alias: str, past: Sequence[Attempt], stop: Stop, now: Micros) -> ModelFailed:
    """The error of a call that ends without an attempt of this process."""
    if past:
        return kind_of(past[-1].error)(past[-1].message)
    wait = (stop.until - now) / 1e6 if stop.until is not None else None
    before = f" before {wait:.0f} s have passed" if wait is not None else ""
    found = ModelUnavailable(
        f"no deployment of {alias!r} may be asked{before}: they cool down after failures, or their limits are used up"
    )
    found.retry_after = wait
    return found
