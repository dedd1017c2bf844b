"""Pins: what was approved of each tool of each MCP server, in a file that is read and reviewed like code.

A pin holds all of a tool that its server says and that a model or a person acts on. Its digest is over the canonical
JSON of that; whoever has the digest knows whether the tool is still what was approved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from difflib import unified_diff
from pathlib import Path
from typing import Any

from turnout.core import canon
from turnout.core.unseen import written_out
from turnout.errors import SettingsInvalid

NAME = "turnout.pins.json"
VERSION = 1
_AGAIN = "`turnout tools pin` writes it"


@dataclass(frozen=True)
class Pin:
    """What a server says of a tool. `output` is None when it declares no schema of its results."""

    name: str
    title: str
    description: str
    input: dict[str, Any]
    output: dict[str, Any] | None
    annotations: dict[str, Any]

    @property
    def digest(self) -> str:
        """64 hex characters over all of it."""
        return canon.digest(asdict(self))

    def without(self, taken_out: Callable[[Any], Any]) -> Pin:
        """The same without credentials: what is approved goes into a file that many can read."""
        return Pin(**{name: taken_out(value) for name, value in asdict(self).items()})

    def lines(self) -> Iterator[str]:
        """All of it as text, for people: what a terminal or an eye would pass over is written out."""
        yield f"title: {_shown(self.title)}"
        yield "description:"
        yield from (f"  {_shown(line)}" for line in self.description.split("\n"))
        for name, data in (
            ("arguments", self.input),
            ("result", self.output),
            ("annotations", self.annotations),
        ):
            yield f"{name}:"
            text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False)
            yield from (f"  {written_out(line)}" for line in text.split("\n"))


def difference(pinned: Pin | None, live: Pin | None) -> tuple[str, ...]:
    """What is different between what was approved and what the server says now, line by line; () when nothing is."""
    old, new = (pin.digest if pin is not None else "" for pin in (pinned, live))
    if old == new:  # of two that Python takes for equal, 1 and true say something else
        return ()
    before = list(pinned.lines()) if pinned is not None else []
    now = list(live.lines()) if live is not None else []
    found = tuple(unified_diff(before, now, "approved", "now", lineterm=""))
    return found or ("--- approved", "+++ now", f"-digest: {old}", f"+digest: {new}")


@dataclass(frozen=True)
class Pins:
    """A file of pins as it was read: server, tool, pin."""

    path: Path
    servers: Mapping[str, Mapping[str, Pin]]

    @classmethod
    def read(cls, path: Path) -> Pins:
        """The file at `path`; without one, nothing is approved. Raises `SettingsInvalid`."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(path, {})
        except OSError as error:
            raise SettingsInvalid(f"{path} can't be read: {error.strerror}") from None
        except ValueError as error:
            raise SettingsInvalid(f"{path} is not JSON ({error}); {_AGAIN}") from None
        if not isinstance(data, dict) or data.get("version") != VERSION:
            raise SettingsInvalid(f"{path} is not a file of pins that this Turnout can read; {_AGAIN}")
        try:
            servers = {
                server: {tool: _read(path, server, tool, said) for tool, said in tools.items()}
                for server, tools in data["servers"].items()
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise SettingsInvalid(f"{path} is not a whole file of pins ({error!r}); {_AGAIN}") from None
        return cls(path, servers)

    def of(self, server: str, tool: str) -> Pin | None:
        """The pin of a tool, if it was approved."""
        return self.servers.get(server, {}).get(tool)

    def having(self, server: str, pins: Mapping[str, Pin | None]) -> Pins:
        """These pins of a server instead of what there was; None takes one away."""
        kept = {**self.servers.get(server, {}), **pins}
        held = {tool: pin for tool, pin in sorted(kept.items()) if pin is not None}
        return replace(self, servers={**self.servers, server: held})

    def write(self) -> None:
        """Put the file in the place of the one before, whole. Raises `SettingsInvalid`."""
        said = {
            server: {tool: {"digest": pin.digest, **asdict(pin)} for tool, pin in sorted(tools.items())}
            for server, tools in sorted(self.servers.items())
            if tools
        }
        text = json.dumps({"version": VERSION, "servers": said}, indent=2, ensure_ascii=False) + "\n"
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            with beside.open("w", encoding="utf-8") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            beside.replace(self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise SettingsInvalid(f"{self.path} can't be written: {error.strerror}") from None


def _read(path: Path, server: str, tool: str, said: Mapping[str, Any]) -> Pin:
    pin = Pin(**{name: said[name] for name in Pin.__dataclass_fields__})
    if pin.digest != said["digest"] or pin.name != tool:
        raise SettingsInvalid(
            f"{path}: the pin of {server}/{tool} isn't what its digest says: it was edited by hand; approve the tool "
            f"again with `turnout tools pin {server} {tool}`"
        )
    return pin


def _shown(text: str) -> str:
    """Plain text as it is shown: what is written out isn't to be taken for what says the same in the text."""
    return written_out(text.replace("\\", "\\\\"))
