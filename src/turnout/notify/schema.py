"""What turnout.toml may say of notices: `[notify]`, and a table `[notify.NAME]` for each channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from turnout.core.notices import USUAL, Rules, Terms
from turnout.settings_file import Section

Event = Literal[
    "review.requested", "review.reminder", "review.escalated", "review.closed", "run.failed", "run.finished",
    "run.cancelled", "thread.set_aside",
]  # fmt: skip
Moment = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_HINT = 'secrets don\'t belong in the file: put it into an environment variable and name that: {} = "..."'


def _address(value: str, what: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in ("https", "http") or not parts.hostname):
        raise ValueError(f"{what} is an address like https://turnout.example.com")
    if parts.username or parts.password:
        raise ValueError(f"{what} holds a name or a password; secrets don't belong in the file")
    return value


class Channel(Section):
    """One way out. Either `webhook`, to which notices are posted, signed with the secret that is in the environment
    variable `secret_env`; or `apprise_env`, which names the environment variable with the URL of somebody's channel.

    The next lines say what it is told of. `priority` is the least that a run must have; `roles` is about reviews, of
    which those come that anybody may decide, too. `remind_after` a review was asked and `remind_before` it is due
    (seconds) reminders come, until it is closed. An attempt may take `timeout`; after `attempts` of them a notice is
    dead. `backoff` is the wait after the first one, twice that after the next, and so on, up to an hour.
    """

    hints: ClassVar[Mapping[str, str]] = {
        "secret": _HINT.format("secret_env"), "apprise": _HINT.format("apprise_env"), "url": "a webhook's address is its `webhook`",
    }  # fmt: skip

    webhook: str = ""
    secret_env: str = ""
    apprise_env: str = ""
    events: tuple[Event, ...] = USUAL  # type: ignore[assignment]
    graphs: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    priority: int = Field(-100, ge=-100, le=100)
    remind_after: tuple[Moment, ...] = ()
    remind_before: tuple[Moment, ...] = ()
    timeout: Seconds = 10.0
    attempts: int = Field(12, ge=1, le=100)
    backoff: Seconds = 5.0

    @field_validator("webhook")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return _address(value, "a webhook")

    @model_validator(mode="after")
    def _goes_one_way(self) -> Channel:
        if bool(self.webhook) == bool(self.apprise_env):
            raise ValueError(
                "a channel has either a `webhook` (an address) or an `apprise_env` (a variable's name)"
            )
        if self.webhook and not self.secret_env:
            raise ValueError(
                "a webhook is signed: `secret_env` names the environment variable with its secret"
            )
        if self.secret_env and not self.webhook:
            raise ValueError(
                "`secret_env` goes with a `webhook`; the secrets of an `apprise_env` are in its URL"
            )
        return self

    def terms(self, name: str) -> Terms:
        """What it wants to hear of."""
        return Terms(
            name, frozenset(self.events), frozenset(self.graphs), frozenset(self.roles), frozenset(self.tenants),
            self.priority, tuple(_micros(s) for s in self.remind_after), tuple(_micros(s) for s in self.remind_before),
        )  # fmt: skip


class Notify(Section):
    """`[notify]`: `base_url` is where people reach the pages that notices link to; all tables in it are channels."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Channel] = Field(init=False)
    inner: ClassVar[type[Section] | None] = Channel

    base_url: str = ""

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return _address(value, "`base_url`").rstrip("/")

    @model_validator(mode="after")
    def _names_are_plain(self) -> Notify:
        for name in self.channels:
            if not _NAME.fullmatch(name):
                raise ValueError(f"the channel {name!r}: a name is of small letters, digits, - and _")
        return self

    @property
    def channels(self) -> dict[str, Channel]:
        """By name."""
        return dict(self.__pydantic_extra__ or {})

    def rules(self) -> Rules | None:
        """Who is told of what; None when nobody is."""
        terms = tuple(channel.terms(name) for name, channel in self.channels.items())
        return Rules(terms) if terms else None


class NotifySettings(Section):
    """What a turnout.toml says about notices."""

    notify: Notify = Notify()


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)
