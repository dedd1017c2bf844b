"""Rules of policy that are sent to a server: the files of a folder, as texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from turnout.errors import UsageError
from turnout.policy.text import Source, files
from turnout.ports.policy import Policy


def texts(rules: Source | Policy) -> dict[str, str]:
    """The texts by the names of their files. Raises `SettingsInvalid`, or `UsageError` for what isn't text."""
    if isinstance(rules, Mapping):
        return dict(rules)
    if isinstance(rules, str | Path):
        return files(Path(rules))
    raise UsageError(
        "a policy that is a Python object can't be sent to a server; hand in the folder of its rules"
    )
