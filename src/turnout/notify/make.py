"""From the terms of turnout.toml to channels."""

from __future__ import annotations

from turnout.notify.channels import Channel
from turnout.notify.people import People
from turnout.notify.schema import Notify
from turnout.notify.webhook import Webhook


def channels(said: Notify, base: str = "") -> list[Channel]:
    """The channels, whose notices link to pages below `base_url`, or `base`. Raises `SettingsInvalid`."""
    base = said.base_url or base.rstrip("/")
    return [
        Webhook(name, terms, base) if terms.webhook else People(name, terms, base)
        for name, terms in said.channels.items()
    ]
