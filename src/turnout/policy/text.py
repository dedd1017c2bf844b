"""The text of a policy file, cut into its rules, so that each has a line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import PolicyInvalid, SettingsInvalid

Source = str | Path | Mapping[str, str]
"""Where rules are: a folder, or their texts by the names of their files."""
DEEPEST, LINKS = 40, 400
"""So deep may brackets in a rule be nested, and so many operators may it have. Cedar's parser follows both with its stack:
a rule of some thousand ends the process, and rules may come from outside."""
_LINK = re.compile(r"&&|\|\||[-+*.!(\[{]|\b(?:if|has|like|in|is)\b")
_STRING = re.compile(r'"(?:\\.|[^"\\])*"', re.S)
_NAME = re.compile(r"[\w][\w.-]{0,99}\.cedar", re.ASCII)
_TOKEN = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|;|\n|\s|[^\s;"/]+|.', re.S)


@dataclass(frozen=True)
class Statement:
    """One rule as it is written, and where."""

    file: str
    line: int
    text: str
    nth: int = 1  # on its line

    @property
    def place(self) -> str:
        """Where it is: no two rules of a folder have the same place."""
        return f"{self.file}:{self.line}" + (f".{self.nth}" if self.nth > 1 else "")


def statements(file: str, text: str) -> list[Statement]:
    """The rules of a file: each ends with a semicolon that is in no string and no comment. The last one may lack it."""
    found: list[Statement] = []
    parts: list[str] = []
    line, begun = 1, 0
    for token in _TOKEN.findall(text):
        if not token.startswith("//"):
            parts.append(token)
        if begun == 0 and not token.isspace() and not token.startswith("//"):
            begun = line
        line += token.count("\n")
        if token == ";":  # noqa: S105
            found.append(_statement(file, begun, parts, found))
            parts, begun = [], 0
    if begun:
        found.append(_statement(file, begun, parts, found))
    return found


def _statement(file: str, line: int, parts: list[str], before: list[Statement]) -> Statement:
    nth = before[-1].nth + 1 if before and before[-1].line == line else 1
    return Statement(file, line, "".join(parts).strip(), nth)


def check_size(text: str) -> None:
    """Raises ValueError when a rule is more than the parser can be trusted with."""
    depth = 0
    bare = _STRING.sub('""', text)
    for character in bare:
        depth += (character in "([{") - (character in ")]}")
        if depth > DEEPEST:
            raise ValueError(f"brackets are nested more than {DEEPEST} deep; write several rules instead")
    if len(_LINK.findall(bare)) > LINKS:
        raise ValueError(f"it has more than {LINKS} operators; write several rules instead")


def _check_file(name: object, text: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PolicyInvalid(f"{name!r} can't be the name of a file of rules; it looks like candidate.cedar")
    if not isinstance(text, str):
        raise PolicyInvalid(f"the rules of {name} aren't text")


def given(texts: Mapping[str, str]) -> list[Statement]:
    """The rules of files that are handed in, in the order of their names. Raises `PolicyInvalid`."""
    if not texts:
        raise PolicyInvalid("no rules were handed in; without a rule every call would be refused")
    for name, text in texts.items():
        _check_file(name, text)
    return [one for name in sorted(texts) for one in statements(name, texts[name])]


def read(folder: Path) -> list[Statement]:
    """The rules of all files of a folder, in the order of their names. Raises `SettingsInvalid`."""
    return [one for name, text in files(folder).items() for one in statements(name, text)]


def files(folder: Path) -> dict[str, str]:
    """The texts of a folder's files of rules, in the order of their names. Raises `SettingsInvalid`."""
    if not folder.is_dir():
        raise SettingsInvalid(f"{folder} is no folder; policies are files *.cedar in one")
    there = sorted(folder.glob("*.cedar"))
    if not there:
        raise SettingsInvalid(f"{folder} has no file *.cedar; without a rule every call would be refused")
    found: dict[str, str] = {}
    for file in there:
        try:
            found[file.name] = file.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsInvalid(f"{file} can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsInvalid(f"{file} is not UTF-8 text") from None
    return found
