"""Calling a function of the user's, and the error that a node gets when it fails."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from turnout.core import entries as e
from turnout.core.failures import kind_of
from turnout.core.tool import Tool
from turnout.errors import (
    BudgetExceeded,
    CallRefused,
    CallTimeout,
    ChildFailed,
    EffectError,
    EffectRefused,
    GuardBlocked,
    ToolFailed,
    ToolQuarantined,
    UnknownModel,
)
from turnout.runtime.threads import in_thread
from turnout.runtime.world import World

_REFUSALS = {kind.__name__: kind for kind in (EffectRefused, CallRefused, GuardBlocked, ToolQuarantined)}

GRACE = 1.0
"""Seconds for a call to stop that was told to."""


def function_of(tool: Tool[Any, Any], world: World, graph: str, node: str) -> Callable[..., Any]:
    """What is called for a tool of a node: its function, or its server."""
    if not tool.server:
        return tool.fn
    if world.servers is None:
        raise EffectRefused(
            f"this app has no server {tool.server!r}; say how it is reached: [mcp.{tool.server}] in turnout.toml"
        )
    return functools.partial(world.servers.call, tool, graph, node)


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


async def within(call: Awaitable[Any], limit: float) -> Any:
    """Wait for a call that is to stop by itself after `limit` seconds. One that doesn't is left behind."""
    task = asyncio.ensure_future(call)
    task.add_done_callback(
        lambda done: done.cancelled() or done.exception()
    )  # nobody may be there to ask for it
    try:
        await asyncio.wait({task}, timeout=limit + GRACE)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=GRACE)
        raise
    if not task.done():
        task.cancel()
        raise CallTimeout(f"it took longer than its {limit:g} s, and didn't stop then")
    return task.result()


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
    error: EffectError
    if kind != "child" and info.type == BudgetExceeded.__name__:
        error = BudgetExceeded(info.message)
    elif kind != "child" and info.type in _REFUSALS:  # a word of ours: its type says nothing more
        error = _REFUSALS[info.type](f"{kind} {name}: {info.message}")
    else:
        error = (failed or kinds.get(kind, ToolFailed))(f"{kind} {name}: {info.type}: {info.message}")
    error.cause = info.type
    return error
