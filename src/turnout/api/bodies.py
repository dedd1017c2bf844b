"""What requests say in their bodies."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

NAME = 200
"""Characters of a name: a thread's, a graph's, a person's."""
TEXT = 10_000
"""Characters of what people say: comments and reasons."""


_DAY = re.compile(r"\d{4}-\d\d-\d\d[Tt ]", re.ASCII)


def _text(value: Any) -> Any:
    if not isinstance(value, str) or not _DAY.match(value):
        raise ValueError("a moment is written as text, with its time zone: 2026-11-26T09:00:00Z")
    return value


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text)]
"""A moment with its time zone."""


class Body(BaseModel):
    """A request's body. A field that isn't known is an error, not a wish, and a number in quotes is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Start(Body):
    """A run to start. Without `thread` a new one is made. `by` counts only where nobody has to sign in."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"graph": "refunds", "input": {"order": "A-17"}, "thread": "case-17"}]
        },
    )
    graph: str = Field(max_length=NAME)
    input: dict[str, Any]
    thread: str | None = Field(None, max_length=NAME)
    if_active: Literal["queue", "refuse", "replace"] = "queue"
    tenant: str = Field("", max_length=NAME)
    priority: int = Field(0, ge=-100, le=100)
    at: Moment | None = None
    by: str = Field("", max_length=NAME)


class Decide(Body):
    """A decision on a review. `payload` is what an edit changes, or the result of a write that landed; a response is
    said in `comment`. `roles` are those of your review roles that you decide in: all, if you don't say."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"decision": "approve", "comment": "as agreed on the phone"}]},
    )
    decision: Literal["approve", "edit", "reject", "respond", "landed", "did_not_happen"]
    payload: Any = None
    comment: str = Field("", max_length=TEXT)
    roles: list[str] | None = Field(None, max_length=50)
    shown: str | None = Field(None, max_length=NAME)
    by: str = Field("", max_length=NAME)


class SendSignal(Body):
    """A signal to a thread."""

    name: str = Field(min_length=1, max_length=NAME)
    payload: Any = None
    by: str = Field("", max_length=NAME)


class Cancel(Body):
    """A run to stop: the active one, if none is named."""

    run: int | None = Field(None, ge=1, le=2**53)
    reason: str = Field("", max_length=TEXT)
    by: str = Field("", max_length=NAME)


class SetAside(Body):
    """Why no worker shall take the thread any more."""

    reason: str = Field(min_length=1, max_length=TEXT)
    by: str = Field("", max_length=NAME)


class Fork(Body):
    """A fork at entry `at` (the last one, if none is named), with `update` to its state."""

    at: int | None = Field(None, ge=1, le=2**53)
    update: dict[str, Any] | None = None
    name: str | None = Field(None, max_length=NAME)
    by: str = Field("", max_length=NAME)


class SetLimit(Body):
    """At most so many threads are held at once; 0 takes none."""

    at_once: int = Field(ge=0, lt=2**31)


class SetBudget(Body):
    """A budget. At least one of `micros` (millionths of a US dollar), `tokens`, `calls` and `ms` (time of calls) is capped."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"per": "tenant", "day": True, "micros": 5_000_000}]}
    )  # fmt: skip
    per: Literal["run", "thread", "graph", "tenant", "all"]
    day: bool = False
    graph: str = Field("", max_length=NAME)
    tenant: str = Field("", max_length=NAME)
    micros: int | None = Field(None, ge=0, le=2**53)
    tokens: int | None = Field(None, ge=0, le=2**53)
    calls: int | None = Field(None, ge=0, le=2**53)
    ms: int | None = Field(None, ge=0, le=2**53)
    at_cap: Literal["fail", "review"] = "fail"
    roles: list[str] = Field([], max_length=50)


class Rules(Body):
    """Rules of a policy: their texts by the names of their files."""

    model_config = ConfigDict(
        extra="forbid", strict=True,
        json_schema_extra={"examples": [{"files": {"candidate.cedar": "permit (principal, action, resource);"}}]},
    )  # fmt: skip
    files: dict[str, str] = Field(min_length=1, max_length=200)


class Candidate(Rules):
    """Rules to decide calls by again: those that were made since then (or ever), of one graph (or of all)."""

    since: Moment | None = None
    graph: str = Field("", max_length=NAME)


class Declare(Body):
    """A schedule: at the times of `cron` (five fields, in `timezone`), or once `at`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"graph": "refunds", "input": {"order": "A-17"}, "cron": "0 2 * * *"}]
        },
    )
    graph: str = Field(max_length=NAME)
    input: dict[str, Any]
    cron: str | None = Field(None, max_length=NAME)
    at: Moment | None = None
    timezone: str = Field("UTC", max_length=NAME)
    missed: Literal["skip", "once", "all"] = "once"
    overlap: Literal["allow", "skip", "wait", "cancel"] = "skip"
    tenant: str = Field("", max_length=NAME)
    priority: int = Field(0, ge=-100, le=100)
    by: str = Field("", max_length=NAME)


class MakeToken(Body):
    """An API token to make. `tenant` null: it opens the threads of all tenants."""

    who: str = Field(max_length=NAME)
    roles: list[str] = Field(min_length=1, max_length=10)
    review_roles: list[str] = Field([], max_length=50)
    tenant: str | None = Field(None, max_length=NAME)
    expires_at: Moment | None = None


class SignIn(Body):
    """A token to sign in with: an API token, or one of the OIDC provider's."""

    token: str = Field(min_length=1, max_length=20_000)
