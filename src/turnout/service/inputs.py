"""What a caller hands in, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from turnout.core import canon
from turnout.core.graph import Graph
from turnout.core.reviews import edited
from turnout.core.schema import nearest
from turnout.core.state import first_problem
from turnout.core.view import ReviewView
from turnout.errors import InputInvalid, KeyReused, UnknownRun
from turnout.ports.rows import KeyRow
from turnout.service.outcome import Run

PRIORITIES = range(-100, 101)
KINDS = ("graph", "tenant")
"""What a limit may be of."""


def check_name(name: object, what: str = "a thread's name", longest: int = 200) -> None:
    """Refuse what can't be the name of a thread, or of `what`."""
    if (
        not isinstance(name, str)
        or not name
        or len(name) > longest
        or any(c.isspace() or not c.isprintable() for c in name)
    ):
        raise InputInvalid(f"{name!r} can't be {what}: 1 to {longest} printable characters without spaces")


def check_new_name(name: object, what: str = "a thread's name", longest: int = 200) -> None:
    """Refuse what can't be the name of a new thread, or of a new `what`. (What has such a name already keeps it.)"""
    check_name(name, what, longest)
    if isinstance(name, str) and not name.strip("."):
        raise InputInvalid(
            f"{name!r} can't be {what}: in an address dots alone mean another place; add a letter"
        )


def check_text(text: object, what: str) -> str:
    """Refuse what is no text that can be stored. Returns it."""
    if not isinstance(text, str):
        raise InputInvalid(f"{what} has to be text, not {text!r}")
    plain: str = canon.plain(text, what)
    if "\0" in plain:
        raise InputInvalid(f"{what} holds a NUL character, which a store can't keep; leave it out")
    return plain


def check_order(tenant: object, priority: object) -> None:
    """Refuse what can't be a tenant (or none, "") or a priority."""
    if tenant != "":
        check_name(tenant, "a tenant")
    if not isinstance(priority, int) or isinstance(priority, bool) or priority not in PRIORITIES:
        raise InputInvalid(
            f"{priority!r} can't be a priority: a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}, 0 is usual and "
            f"more is sooner"
        )


def check_limit(kind: str, name: object, at_once: object) -> None:
    """Refuse what can't be a limit."""
    if kind not in KINDS:
        raise InputInvalid(f"a limit is of a graph or of a tenant, not of {kind!r}")
    check_name(name, f"a {kind}'s name")
    whole = isinstance(at_once, int) and not isinstance(at_once, bool) and 0 <= at_once < 1 << 31
    if at_once is not None and not whole:
        raise InputInvalid(f"{at_once!r} can't be a limit: a whole number, 0 or more")


def parse_run(run: Run | str) -> Run:
    """A run as it is given: itself, or "thread/1". Raises `UnknownRun`."""
    if isinstance(run, Run):
        return run
    thread, _, number = run.rpartition("/")
    if not thread or not number.isdigit():
        raise UnknownRun(f"{run!r} is not a run; it looks like thread/1")
    return Run(thread, int(number))


def check_status(status: str, known: Sequence[str], what: str) -> None:
    """What a list is narrowed to; "" is nothing. Raises `InputInvalid` for what no `what` can have, instead of none."""
    if status and status not in known:
        hint = nearest(str(status), known) or f"; there are {', '.join(known)}"
        raise InputInvalid(f"there is no status {status!r} of a {what}{hint}")


def same_input(found: KeyRow, digest: str, key: str | None) -> Run:
    """The run of an idempotency key that was used before. Raises `KeyReused` when it was for another input."""
    if found.digest != digest:
        raise KeyReused(
            f"the idempotency key {key!r} was used for {found.thread}/{found.run}, which was asked for "
            "differently; send the same again, or use a new key"
        )
    return Run(found.thread, found.run, new=False)


def check_result(graphs: Mapping[str, Graph], graph: str, review: ReviewView, result: Any) -> None:
    """What a person says that a write returned must be what its tool returns, as far as the code is at hand."""
    asked = review.payload if isinstance(review.payload, dict) else {}
    tool = graphs[graph].tools.get(asked.get("tool", "")) if graph in graphs else None
    if tool is None or "landed" not in review.allowed:
        return
    try:
        tool.load(result)
    except ValidationError as error:
        raise InputInvalid(
            f"review {review.id}: the result isn't what tool {tool.name} returns: {first_problem(error)}; "
            f"say what it returned with landed(result, ...) or --result"
        ) from None


def check_edit(graphs: Mapping[str, Graph], graph: str, review: ReviewView, change: Any) -> None:
    """What a person changes in the arguments of a call must be what its tool takes, as far as the code is at hand."""
    binds = review.binds
    tool = graphs[graph].tools.get(binds.name) if binds is not None and graph in graphs else None
    if binds is None or binds.effect != "tool" or tool is None or "edit" not in review.allowed:
        return
    tool.check(edited(review, change))
