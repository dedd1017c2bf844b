"""Guardrails from Python: a function of the user's, or one of the checks by its name."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal

from turnout.core.redaction import Hit, texts
from turnout.errors import InputInvalid
from turnout.guards.making import Options, made
from turnout.ports.guard import KINDS, Action, Guard

Fn = Callable[..., Any]


def guard(
    name: str,
    check: Fn | str,
    *,
    on: Literal["input", "output", "both"] = "both",
    action: Action = "block",
    kinds: Sequence[str] = KINDS,
    names: Sequence[str] = (),
    graphs: Sequence[str] = (),
    nodes: Sequence[str] = (),
    roles: Sequence[str] = (),
    whole: bool = False,
    secret: bool | None = None,
    time_limit: float = 5.0,
    **options: Any,
) -> Guard:
    """A guardrail for `open_app(guards=[...])`.

    `check` is the name of one of Turnout's own (`secrets`, `personal`, `pattern`, `length`, `instructions`, `schema`,
    `presidio`; `options` are the keys that turnout.toml has for it), or a function `(text) -> found`, async or not: None
    or False when there is nothing, True when the text as a whole is meant, or the parts (from, to) of it. It is called
    for each text of a request or an answer; with `whole` once, with all of it as plain JSON data. One that raises, or
    takes longer than `time_limit` seconds, has found something. Raises `InputInvalid`, `SettingsInvalid`.
    """
    where = ("input", "output") if on == "both" else (on,)
    if isinstance(check, str):
        said = Options(name=name, check=check, action=action, where=where, kinds=kinds, names=names, graphs=graphs,
                       nodes=nodes, roles=roles, secret=secret, **options)  # fmt: skip
        return made(said)
    if options:
        raise InputInvalid(f"guard({name!r}): a function takes no {', '.join(options)}")
    said = Options(name=name, check="function", action=action, where=where, kinds=kinds, names=names, graphs=graphs,
                   nodes=nodes, roles=roles, secret=secret)  # fmt: skip
    return made(said, Own(name, check, whole, time_limit))


class Own:
    """A check that asks a function."""

    def __init__(self, name: str, fn: Fn, whole: bool, time_limit: float) -> None:
        self.label, self._fn, self._whole, self._limit = name, fn, whole, time_limit

    async def __call__(self, value: Any, /) -> Sequence[Hit]:
        found: list[Hit] = []
        async with asyncio.timeout(self._limit):
            if self._whole:
                found += self._hits(await self._ask(value), (), 0, False)
                return found
            for text in texts(value):
                said = await self._ask(text.text)
                found += self._hits(said, text.path, len(text.text), text.key)
        return found

    async def _ask(self, given: Any) -> Any:
        if inspect.iscoroutinefunction(self._fn):
            return await self._fn(given)
        said = await asyncio.to_thread(self._fn, given)
        return await said if isinstance(said, Awaitable) else said

    def _hits(self, said: Any, path: Any, length: int, key: bool) -> list[Hit]:
        if said is None or said is False:
            return []
        if said is True or isinstance(said, str):
            return [Hit(self.label, path, 0, length, key)]
        if isinstance(said, Iterable):
            return [Hit(self.label, path, int(a), int(b) - int(a), key) for a, b in said if b > a]
        raise InputInvalid(
            f"guard {self.label!r} returned {type(said).__name__}, not None, a bool or parts (from, to)"
        )
