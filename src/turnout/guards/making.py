"""From what is said of a guardrail, in turnout.toml or in Python, to the guardrail."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from turnout.errors import InputInvalid, SettingsInvalid
from turnout.guards.schema import Guardrail
from turnout.ports.guard import Check, Guard
from turnout.settings_file import nearest

ABOUT = {
    "secrets": "secrets", "personal": "personal data", "instructions": "the language of instructions",
}  # fmt: skip


def Options(**said: Any) -> Guardrail:  # noqa: N802 - it stands for the class
    """What is said in Python. Raises `InputInvalid`."""
    try:
        return Guardrail.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        raise InputInvalid(f"guard({said.get('name')!r}): {where + ': ' if where else ''}{problem}") from None


def made(said: Guardrail, own: Check | None = None) -> Guard:
    """The guardrail; `own` is its check when that is a function. Raises `InputInvalid`, `SettingsInvalid`."""
    check, about = (own, "a function") if own is not None else _check(said)
    pointless = said.check in ("length", "schema")
    if said.action == "redact" and pointless:
        raise SettingsInvalid(
            f"guardrail {said.name!r}: {said.check} finds nothing that could be cut out; use block, review or flag"
        )
    secret = (
        said.secret if said.secret is not None else said.check not in ("instructions", "length", "schema")
    )
    return Guard(
        said.name, check, said.action, about, frozenset(said.where), frozenset(said.kinds), tuple(said.names),
        tuple(said.graphs), tuple(said.nodes), tuple(said.roles), secret,
        quick=said.check != "function", errors=said.check != "schema",  # an error never has the form of an answer
    )  # fmt: skip


def all_of(said: Iterable[Guardrail]) -> list[Guard]:
    """The guardrails of a file, in its order. Raises `SettingsInvalid`."""
    found = []
    for one in said:
        try:
            found.append(made(one))
        except InputInvalid as error:
            raise SettingsInvalid(f"guardrail {one.name!r}: {error}") from None
    return found


def _check(said: Guardrail) -> tuple[Check, str]:
    # Imported when they are asked for: their expressions take a while to be made.
    if said.check in ("secrets", "personal", "instructions"):
        kind = importlib.import_module(f"turnout.guards.{said.check}")
        for label in said.only:
            if label not in kind.LABELS:
                raise SettingsInvalid(
                    f"guardrail {said.name!r}: only: {label!r}; {nearest(label, kind.LABELS)}"
                )
        only = f" ({', '.join(said.only)})" if said.only else ""
        return getattr(kind, said.check)(said.only), ABOUT[said.check] + only
    only = f" ({', '.join(said.only)})" if said.only else ""
    match said.check:
        case "pattern":
            from turnout.guards.patterns import patterns

            found = patterns(said.name, said.patterns, ignore_case=said.ignore_case)
            return found, f"{len(said.patterns)} pattern{'s' if len(said.patterns) > 1 else ''}"
        case "length":
            from turnout.guards.shapes import length

            return length(said.longest or 0), f"more than {said.longest} characters"
        case "schema":
            from turnout.guards.shapes import schema

            return schema(said.form()), "what doesn't fit a JSON schema"
        case "presidio":
            from turnout.guards.presidio import presidio

            return presidio(
                said.only, said.language, said.model, said.score
            ), f"personal data, by Presidio{only}"
        case _:
            from turnout.guards.own import Own

            return Own(
                said.name, _function(said), said.whole, said.time_limit
            ), f"the function {said.function}"


def _function(said: Guardrail) -> Any:
    """The function that the file names as module:function."""
    module, _, name = said.function.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsInvalid(
            f"guardrail {said.name!r}: function {said.function!r} can't be had: {error}"
        ) from None
    if not callable(found):
        raise SettingsInvalid(f"guardrail {said.name!r}: {said.function!r} is no function")
    return found
