"""The text of a policy file, cut into its rules, so that each has a line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import SettingsInvalid

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


def read(folder: Path) -> list[Statement]:
    """The rules of all files of a folder, in the order of their names. Raises `SettingsInvalid`."""
    if not folder.is_dir():
        raise SettingsInvalid(f"{folder} is no folder; policies are files *.cedar in one")
    files = sorted(folder.glob("*.cedar"))
    if not files:
        raise SettingsInvalid(f"{folder} has no file *.cedar; without a rule every call would be refused")
    found: list[Statement] = []
    for file in files:
        try:
            found += statements(file.name, file.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsInvalid(f"{file} can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsInvalid(f"{file} is not UTF-8 text") from None
    return found
