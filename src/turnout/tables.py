"""The tables of turnout.toml, each declared where it belongs."""

from __future__ import annotations

from pathlib import Path

from turnout import settings_file
from turnout.models.schema import ModelSettings
from turnout.service.access.schema import AccessSettings
from turnout.service.serving import ServeSettings


class Tables(ModelSettings, AccessSettings, ServeSettings):
    """All that a turnout.toml may say."""


def find(config: str | Path | None = None) -> Tables | None:
    """What the file says. `config` is the file. None: the one that TURNOUT_CONFIG names, or that of the working folder;
    then there may be none. "": none. Raises `SettingsInvalid`."""
    path = settings_file.find() if config is None else Path(config) if config else None
    return settings_file.check(settings_file.read(path), Tables) if path is not None else None
