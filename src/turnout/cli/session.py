"""An app for one command: opened, used, closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypeVar

import click

from turnout.cli.load import Code
from turnout.errors import UnknownThread
from turnout.service.app import App
from turnout.settings import from_environment
from turnout.wiring import open_app

T = TypeVar("T")
GRACE = 5.0
"""Seconds that steps may take to end when a command is interrupted."""


def with_app(
    store: str,
    job: Callable[[App], Awaitable[T]],
    *,
    code: Code | None = None,
    work: bool = False,
    create: bool = False,
    **changes: Any,
) -> T:
    """Do `job` with an app on the store. Nothing is created, and no thread is driven, unless asked for.

    `changes` are settings that differ from the usual ones.
    """
    code = code or Code()
    _, settings = from_environment()

    async def session() -> T:
        app = open_app(
            store, graphs=code.graphs, models=code.models, retrievers=code.retrievers, guards=code.guards,
            settings=replace(settings, **{"grace": GRACE, **changes}), work=work, create=create,
        )  # fmt: skip
        async with app:
            try:
                return await job(app)
            except UnknownThread as error:
                raise UnknownThread(f"{error}{await _near(app)}") from None

    return asyncio.run(session())


async def _near(app: App) -> str:
    """A thread with a name like the one that was typed."""
    typed = click.get_current_context().params.get("thread")
    if not isinstance(typed, str):
        return ""
    thread, slash, run = typed.rpartition("/")
    if slash and run.isdecimal() and await app.store.thread(thread) is not None:
        return f"; {typed} is run {run} of the thread {thread!r}: name the thread"
    names = [row.thread for row in await app.threads(search=typed[:4], limit=1000)]
    names = names or [row.thread for row in await app.threads(limit=1000)]
    near = get_close_matches(typed, names, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def named_store(context: click.Context, own: str) -> str:
    """The store that was named, before the word `set` or behind it."""
    above = context.parent
    given = context.get_parameter_source("store") is click.core.ParameterSource.COMMANDLINE
    return own if given or above is None else str(above.params["store"])
