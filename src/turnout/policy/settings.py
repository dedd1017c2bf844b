"""What turnout.toml may say of policy."""

from __future__ import annotations

from turnout.settings_file import Section


class PolicySettings(Section):
    """`folder` holds the rules (*.cedar), seen from the file's own folder. "": the folder `policies`, if it is there."""

    folder: str = ""
