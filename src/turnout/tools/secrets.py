"""The credentials of a server: taken from the environment, and taken out of whatever comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from turnout.errors import ServerUnavailable
from turnout.tools.schema import Server

PUBLIC = frozenset(
    (
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TERM",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "NODE_ENV",
        "PYTHONPATH",
    )
)
"""Variables whose values are no secrets."""
SHORTEST = 4
"""Characters of a value that is looked for: shorter ones stand in every text."""
LONGEST = 400
"""Characters of a server's error that are kept: it is for people."""
_KEY_LIKE = re.compile(r"(?i)\b(Bearer|Basic)\s+\S+")


@dataclass(frozen=True, repr=False)
class Secrets:
    """The values of a server's variables: by variable, and what each of them may be known by."""

    values: Mapping[str, str]
    hidden: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, name: str, terms: Server, environment: Mapping[str, str]) -> Secrets:
        """Raises `ServerUnavailable` when one isn't set."""
        values = {}
        for variable in terms.variables:
            values[variable] = environment.get(variable, "").strip()
            if not values[variable]:
                raise ServerUnavailable(
                    f"server {name!r} has no credentials: the environment variable {variable} is not set"
                )
        found = {
            part: variable
            for variable, value in values.items()
            if variable not in PUBLIC
            for part in (value, *value.split())
            if len(part) >= SHORTEST and part.lower() not in ("bearer", "basic")
        }
        return cls(values, tuple(sorted(found.items(), key=lambda pair: -len(pair[0]))))

    def out_of(self, data: Any) -> Any:
        """Plain JSON data without any of the secrets."""
        if isinstance(data, str):
            for secret, variable in self.hidden:
                data = data.replace(secret, f"[{variable}]")
            return data
        if isinstance(data, Mapping):
            return {self.out_of(name): self.out_of(item) for name, item in data.items()}
        return [self.out_of(item) for item in data] if isinstance(data, list | tuple) else data

    def told(self, problem: Any, *, end: bool = False) -> str:
        """An error's text in one line, without secrets and anything that looks like one, not too long: its beginning,
        or its `end`."""
        found = " ".join(_KEY_LIKE.sub(r"\1 [key]", self.out_of(str(problem))).split())
        if len(found) <= LONGEST:
            return found
        return f"...{found[3 - LONGEST :]}" if end else f"{found[: LONGEST - 3]}..."
