"""The tables of turnout.toml, each declared where it belongs."""

from __future__ import annotations

from pathlib import Path

from turnout import settings_file
from turnout.guards.schema import GuardSettings
from turnout.models.schema import ModelSettings
from turnout.notify.schema import NotifySettings
from turnout.policy.settings import PolicySettings
from turnout.service.access.schema import AccessSettings
from turnout.service.budgets import BudgetSettings
from turnout.service.serving import ServeSettings
from turnout.telemetry.schema import TelemetrySettings
from turnout.tools.schema import ToolSettings


class Tables(
    ModelSettings, ToolSettings, GuardSettings, BudgetSettings, NotifySettings, TelemetrySettings, AccessSettings,
    ServeSettings,
):  # fmt: skip
    """All that a turnout.toml may say."""

    policy: PolicySettings = PolicySettings()


def find(config: str | Path | None = None) -> Tables | None:
    """What the file says. `config` is the file. None: the one that TURNOUT_CONFIG names, or that of the working folder;
    then there may be none. "": none. Raises `SettingsInvalid`."""
    path = file(config)
    return settings_file.check(settings_file.read(path), Tables) if path is not None else None


def file(config: str | Path | None = None) -> Path | None:
    """The file that is meant by `config` (see `find`), if there is to be one."""
    return settings_file.find() if config is None else Path(config) if config else None


def folder(config: str | Path | None = None) -> Path:
    """Where the file is, or would be: what belongs to it lies beside it."""
    path = file(config)
    return path.parent if path is not None else Path()
