"""The ways out: what sends a notice, and how it says that it couldn't."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any, Protocol

from turnout.core.notices import Notice
from turnout.errors import SettingsInvalid
from turnout.ports.clock import Clock


class Channel(Protocol):
    """One way out. `timeout`, `attempts` and `backoff` are as in turnout.toml."""

    name: str
    timeout: float
    attempts: int
    backoff: float

    async def send(self, notice: Notice, clock: Clock) -> None:
        """One attempt. Raises `NoticeNotSent`."""

    async def close(self) -> None:
        """Let go of connections."""


def library(name: str) -> Any:
    """A library that sends. Raises `SettingsInvalid` when it isn't installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SettingsInvalid(
            f"notices need {name}, which isn't installed: pip install 'turnout[serve]'"
        ) from None


def variable(channel: str, name: str, environment: Mapping[str, str] | None = None) -> str:
    """What an environment variable says for a channel. Raises `SettingsInvalid` when it isn't set."""
    value = (os.environ if environment is None else environment).get(name, "").strip()
    if not value:
        raise SettingsInvalid(f"channel {channel!r}: the environment variable {name} is not set")
    return value
