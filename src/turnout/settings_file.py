"""turnout.toml: read, and checked against a schema. A mistake is told with file, line and what would be right.

What the file may say is for others to declare: a `Section` for each table.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from turnout.errors import SettingsInvalid

NAME = "turnout.toml"
VARIABLE = "TURNOUT_CONFIG"


class Section(BaseModel):
    """A table of the file. Keys that it doesn't have are errors, or, with `inner`, tables of that kind. `hints` says what
    to do about some of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    hints: ClassVar[Mapping[str, str]] = {}
    inner: ClassVar[type[Section] | None] = None


S = TypeVar("S", bound=Section)
Loc = tuple[int | str, ...]


@dataclass(frozen=True)
class SettingsFile:
    """A file as it was read. Numbers with a point are Decimals."""

    path: Path
    text: str
    data: dict[str, Any]

    def line(self, loc: Loc) -> int:
        """The line where a key is said, or the nearest thing around it; 1 when nothing of it is found."""
        lines = _lines(self.text)
        named = tuple(part for part in loc if isinstance(part, str))
        for keys in (loc, named):  # the tables of a list are told apart by their numbers
            for length in range(len(keys), 0, -1):
                found = lines.get(keys[:length])
                if found is not None and (
                    keys is named or any(isinstance(key, int) for key in keys[:length])
                ):
                    return found
        return 1


def find(environment: Mapping[str, str] | None = None, folder: Path | None = None) -> Path | None:
    """The file that TURNOUT_CONFIG names, or turnout.toml in the working folder if there is one."""
    given = (os.environ if environment is None else environment).get(VARIABLE, "")
    if given:
        return Path(given)
    path = (folder or Path()) / NAME
    return path if path.is_file() else None


def read(path: Path) -> SettingsFile:
    """The file at `path`. Raises `SettingsInvalid`."""
    try:
        text = path.read_text(encoding="utf-8")
        return SettingsFile(path, text, tomllib.loads(text, parse_float=Decimal))
    except OSError as error:
        raise SettingsInvalid(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsInvalid(f"{path} is not UTF-8 text") from None
    except InvalidOperation:
        raise SettingsInvalid(
            f"{path} has a number with an exponent that is too large to be reckoned with"
        ) from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise SettingsInvalid(f"{path}:{line[1] if line else 1}: it is not TOML: {error}") from None


def check(file: SettingsFile, schema: type[S]) -> S:
    """What the file says, as its schema. Raises `SettingsInvalid` with every problem, a line each."""
    try:
        return schema.model_validate(file.data)
    except ValidationError as error:
        problems = [
            f"{file.path}:{file.line(one['loc'])}: {_problem(schema, one['loc'], one['type'], one['msg'])}"
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsInvalid("\n".join(problems)) from None


def nearest(word: str, words: Any) -> str:
    """A hint at the word that may have been meant, or at all of them."""
    known = sorted(words)
    near = get_close_matches(word, known, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there is: {', '.join(known)}" if known else "there is none"


def _problem(schema: type[Section], loc: Loc, kind: str, message: str) -> str:
    where = ".".join(str(part) for part in loc)
    if kind != "extra_forbidden":
        return f"{where}: {message.removeprefix('Value error, ')}" if where else message
    section, key = _section_at(schema, loc[:-1]), str(loc[-1])
    place = ".".join(str(part) for part in loc[:-1]) or "the file"
    if section is None:
        return f"{place} has no {key!r}"
    hint = section.hints.get(key) or nearest(key, section.model_fields)
    return f"{place} has no {key!r}; {hint}"


def _section_at(schema: type[Section], loc: Loc) -> type[Section] | None:
    """The section that a place in the file is checked against."""
    at: Any = schema
    for part in loc:
        inner = _sections(at)
        if isinstance(at, type) and issubclass(at, Section):
            field = at.model_fields.get(str(part))
            if field is None and at.inner is None:
                return None
            at = field.annotation if field is not None else at.inner
        else:  # a list or a table of sections: its item is next
            at = next(iter(inner), None)
    return next(iter(_sections(at)), None)


def _sections(annotation: Any) -> list[type[Section]]:
    """The sections that an annotation such as `dict[str, Deployment]` or `Cache | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _sections(inner)]


_HEADER = re.compile(r"^\s*\[\[?(?P<name>[^\[\]]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*(?P<name>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


def _lines(text: str) -> dict[Loc, int]:
    """The line of each key and each table, as far as that can be told without a parser of our own."""
    found: dict[Loc, int] = {}
    table: Loc = ()
    counts: dict[Loc, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = _parts(header["name"])
            if line.lstrip().startswith("[["):
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            for length in range(1, len(table) + 1):
                found.setdefault(table[:length], number)
        elif key:
            path = (*table, *_parts(key["name"]))
            found.setdefault(path, number)
            for inner in re.finditer(r"""[{,]\s*([\w-]+)\s*=""", line):  # an inline table
                found.setdefault((*path, inner[1]), number)
    return found


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(name))
