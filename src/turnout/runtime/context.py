"""What a node receives: the only way by which a step touches the world.

`Context` is for async nodes, `SyncContext` has the same calls for sync nodes (which run on a thread).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import uuid as uuids
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from turnout.core import canon
from turnout.core.effects import Request
from turnout.core.graph import Graph
from turnout.core.messages import Message, ModelReply, ModelRequest, recorded
from turnout.core.output import Misfit, fit, repair
from turnout.core.reviews import ASK
from turnout.core.state import first_problem
from turnout.core.tool import Tool
from turnout.errors import EffectRefused, InputInvalid, OutputInvalid, UnknownTool
from turnout.ports.clock import at, micros
from turnout.runtime.step import Scope

T = TypeVar("T")
LONGEST = 1_000 * 365.25 * 86_400
"""Seconds: a wait that ends within what a datetime and the store can hold."""


@dataclass(frozen=True)
class Review:
    """The outcome of `ctx.review`. `decision` is approve, edit, reject or respond.

    `payload` is what was shown, or what it was edited to; `by` who decided; `comment` their words.
    """

    decision: str
    by: tuple[str, ...]
    payload: Any
    comment: str = ""

    @property
    def approved(self) -> bool:
        """May it go ahead (as asked or as edited)?"""
        return self.decision in ("approve", "edit")

    @property
    def summary(self) -> str:
        """One line for a log or a state field: who decided what, and their words."""
        word = {
            "approve": "approved",
            "edit": "edited and approved",
            "reject": "rejected",
            "respond": "answered",
        }[self.decision]
        who = " and ".join(self.by) or "the due time"
        return f"{word} by {who}" + (f": {self.comment}" if self.comment else "")


@dataclass(frozen=True)
class ReviewTerms:
    """Who may decide on a review, how, and until when."""

    payload: Any
    allowed: list[str]
    roles: list[str]
    quorum: int
    separate: bool
    due: int | None
    due_in: int | None
    on_due: str
    escalate_to: list[str]
    purpose: str = "ask"


class Context:
    """The effects of one step. Every call is recorded, and answered from the record when the step is run again."""

    def __init__(self, scope: Scope, graph: Graph, thread: str) -> None:
        self._scope = scope
        self._graph = graph
        self.thread = thread

    @property
    def run_number(self) -> int:
        """Which run of the thread this is, from 1."""
        return self._scope.run

    @property
    def step(self) -> str:
        """The step's id, e.g. `pay.1`."""
        return self._scope.step.id

    @property
    def attempt(self) -> int:
        """1 on the first try, 2 on the first retry."""
        return self._scope.step.attempt

    @property
    def item(self) -> Any:
        """In a step of a fan-out: its item, as plain JSON data."""
        self._scope.exposure.read_item()
        return canon.copy(self._scope.step.item)

    async def call(self, tool: Tool[Any, T] | str, /, **args: Any) -> Any:
        """Call a declared tool. Returns its result as the tool's return type.

        Raises `ToolFailed` (what the tool raised), `EffectRefused` (this node may not call it) or `InputInvalid`.
        """
        found = self._tool(tool)
        plain = found.check(args)
        request = Request("tool", found.name, plain, write=found.effect == "write")
        return found.load(await self._scope.ask(request, found))

    async def model(
        self,
        alias: str,
        *,
        messages: Sequence[Message | Mapping[str, Any]] | str,
        output: type[Any] | None = None,
        tools: Iterable[Tool[Any, Any] | str] = (),
        repairs: int = 2,
        **options: Any,
    ) -> ModelReply:
        """Ask a model. `messages` may be a plain string (one user message). With `output`, `reply.output` is that type.

        An answer that doesn't fit `output` is sent back with what is wrong with it, up to `repairs` times; each such
        turn is a call of its own on record. Raises `ModelFailed` (or one of the errors below it: `OutputInvalid` when
        the last answer doesn't fit either) or `UnknownModel`.
        """
        if isinstance(messages, str):
            messages = [Message(role="user", content=messages)]
        adapter = TypeAdapter(output) if output is not None else None
        wanted = ModelRequest(
            alias=alias,
            messages=tuple(m if isinstance(m, Message) else Message.model_validate(m) for m in messages),
            tools=tuple(self._tool(t).schema() for t in tools),
            output=adapter.json_schema() if adapter else None,
            options=canon.plain(options, "the model options"),
        )
        reply = await self._ask_model(wanted)
        if adapter is None or reply.tool_calls:
            return reply
        found = fit(adapter, reply)
        for _ in range(repairs):
            if not isinstance(found, Misfit):
                break
            wanted = repair(wanted, reply, found)
            reply = await self._ask_model(wanted)
            found = fit(adapter, reply)
        if isinstance(found, Misfit):
            raise OutputInvalid(
                f"model {alias}: the output doesn't fit {getattr(output, '__name__', output)}: {found.short}; "
                "allow more repairs, or loosen the type"
            )
        return reply.model_copy(update={"output": found})

    async def _ask_model(self, wanted: ModelRequest) -> ModelReply:
        args = wanted.model_dump(mode="json", exclude={"alias"}, exclude_defaults=True)
        reply = await self._scope.ask(Request("model", wanted.alias, args), wanted)
        with recorded():
            return ModelReply.model_validate(reply)

    async def retrieve(self, source: str, query: str, *, k: int = 5) -> list[Any]:
        """Ask a retrieval source for up to `k` documents (plain JSON data). Raises `UnknownModel` or `ToolFailed`."""
        found: list[Any] = await self._scope.ask(Request("retrieve", source, {"query": query, "k": k}))
        return found

    async def once(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        """Call any function once and keep its result (plain JSON data). It may look at the world, not change it."""
        plain = canon.plain(list(args), f"once {name!r}: the arguments")
        return await self._scope.ask(Request("once", name, {"args": plain} if plain else {}), (fn, args))

    async def now(self) -> datetime:
        """The time, as an aware datetime (UTC)."""
        return at(await self._scope.ask(Request("now", "", {})))

    async def random(self) -> float:
        """A random number from 0 up to 1."""
        return float(await self._scope.ask(Request("random", "", {})))

    async def uuid(self) -> uuids.UUID:
        """A random UUID (version 4)."""
        return uuids.UUID(await self._scope.ask(Request("uuid", "", {})))

    async def sleep(self, until: datetime | timedelta | float) -> None:
        """Wait until a time, or for a timedelta or a number of seconds. Holds nothing; months are fine."""
        if isinstance(until, datetime):
            args: dict[str, Any] = {"until": _moment("ctx.sleep", until)}
        else:
            seconds: Any = until.total_seconds() if isinstance(until, timedelta) else until
            if not isinstance(seconds, int | float) or not math.isfinite(seconds):
                raise InputInvalid(
                    f"ctx.sleep wants a time, a timedelta or a number of seconds, not {until!r}"
                )
            args = {"for": _span("ctx.sleep", seconds)}
        await self._scope.ask(Request("sleep", "", args))

    async def signal(self, name: str) -> Any:
        """Wait for a signal of that name (see `app.signal`); returns its payload. One that came before is taken."""
        return await self._scope.ask(Request("signal", name, {}))

    async def review(
        self,
        question: str,
        *,
        payload: Any = None,
        allowed: Sequence[str] = ("approve", "reject"),
        roles: Sequence[str] = (),
        quorum: int = 1,
        separate: bool = False,
        due: datetime | timedelta | None = None,
        on_due: str = "reject",
        escalate_to: Sequence[str] = (),
    ) -> Review:
        """Ask a person, and wait as long as it takes.

        `allowed` is out of approve, edit, reject, respond. `quorum` different people must agree; one reject is
        enough. With `separate` whoever started the run can't decide. At `due`, `on_due` happens: reject, approve, or
        escalate (the review then is for `escalate_to`).
        """
        wrong = [word for word in allowed if word not in ASK]
        if wrong or not allowed:
            raise InputInvalid(f"ctx.review: allowed={list(allowed)} must be some of {', '.join(ASK)}")
        if on_due not in ("reject", "approve", "escalate") or (on_due == "escalate" and not escalate_to):
            raise InputInvalid(
                "ctx.review: on_due is 'reject', 'approve', or 'escalate' with escalate_to=[roles]"
            )
        if quorum < 1:
            raise InputInvalid("ctx.review: quorum is the number of people who must agree, 1 or more")
        if isinstance(roles, str) or isinstance(escalate_to, str):
            raise InputInvalid("ctx.review: roles and escalate_to are lists of names, e.g. roles=['finance']")
        if any("," in role or not role.strip() for role in (*roles, *escalate_to)):
            raise InputInvalid("ctx.review: a role is a name without a comma, e.g. roles=['finance', 'risk']")
        if due is not None and not isinstance(due, datetime | timedelta):
            raise InputInvalid(f"ctx.review: due is an aware datetime or a timedelta, not {due!r}")
        plain = canon.plain(payload, "the review's payload")
        terms = ReviewTerms(
            payload=plain, allowed=list(allowed), roles=list(roles), quorum=quorum, separate=separate,
            due=_moment("ctx.review", due) if isinstance(due, datetime) else None,
            due_in=_span("ctx.review", due.total_seconds()) if isinstance(due, timedelta) else None,
            on_due=on_due if due is not None else "", escalate_to=list(escalate_to) if due is not None else [],
        )  # fmt: skip
        found = await self._scope.ask(Request("review", question, {"payload": plain}), terms)
        result = found["payload"]
        if isinstance(payload, BaseModel):
            try:
                result = type(payload).model_validate(result)
            except ValidationError as error:
                raise InputInvalid(
                    f"review {question!r}: what the payload was edited to doesn't fit {type(payload).__name__}: "
                    f"{first_problem(error)}; catch this and ask again"
                ) from None
        return Review(found["decision"], tuple(found["by"]), result, found.get("comment", ""))

    async def run(self, graph: Graph | str, input: Mapping[str, Any]) -> dict[str, Any]:
        """Run a graph as a child thread with its own journal, and wait for its end. Returns its final state.

        Raises `ChildFailed`. A cancel of this run reaches the child.
        """
        name = graph.name if isinstance(graph, Graph) else graph
        plain = canon.plain(dict(input), f"the input of child {name!r}")
        found: dict[str, Any] = await self._scope.ask(Request("child", name, plain))
        return found

    def emit(self, event: Any) -> None:
        """Show something to whoever streams this thread. Not recorded."""
        self._scope.emit(event)

    def _tool(self, tool: Tool[Any, Any] | str) -> Tool[Any, Any]:
        name = tool if isinstance(tool, str) else tool.name
        found = self._graph.tools.get(name)
        if found is None:
            raise UnknownTool(
                f"graph {self._graph.name!r} doesn't declare tool {name!r}; add it: Graph(..., tools=[{name}])"
            )
        if name not in self._scope.node.tools:
            may = ", ".join(sorted(self._scope.node.tools)) or "no tool"
            raise EffectRefused(f"node {self._scope.node.name!r} may not call {name!r}; it may call {may}")
        return found


def _moment(what: str, moment: datetime) -> int:
    if moment.tzinfo is None:
        raise InputInvalid(f"{what} wants an aware datetime; e.g. (await ctx.now()) + timedelta(days=1)")
    return micros(moment)


def _span(what: str, seconds: float) -> int:
    if abs(seconds) > LONGEST:
        raise InputInvalid(
            f"{what}: {seconds:g} s is more than a thousand years; to wait for ever, wait for a signal"
        )
    return int(seconds * 1_000_000)


class SyncContext:
    """The same calls for sync nodes: each waits for its answer."""

    def __init__(self, context: Context, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._context, name)
        if name == "emit":  # those who listen are on the event loop
            return lambda event: self._loop.call_soon_threadsafe(inner, event)
        if not asyncio.iscoroutinefunction(inner):
            return inner

        def wait(*args: Any, **kwargs: Any) -> Any:
            try:
                return asyncio.run_coroutine_threadsafe(inner(*args, **kwargs), self._loop).result()
            except concurrent.futures.CancelledError:
                raise asyncio.CancelledError("the run is ending") from None

        return wait
