"""How far a move has come, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """`what` is exporting, checking or importing. `done` of `total` (0: nobody knows how many it will be): bytes, or when
    importing entries."""

    what: str
    threads: int
    entries: int
    done: int
    total: int = 0


Tell = Callable[[Progress], None]
Say = Callable[[str], None]
"""Told what somebody should know though nothing is wrong, in one line."""


@dataclass
class Exported:
    """What an export did. `export` is its name, `moved` counts threads that were set aside by it, `away` those that
    another export had moved before and that were left out. `taken` were taken along without being asked for."""

    file: str
    export: str
    threads: int = 0
    entries: int = 0
    values: int = 0
    bytes: int = 0
    sha256: str = ""
    moved: int = 0
    away: int = 0
    taken: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failed


@dataclass
class Imported:
    """What an import did. Of the threads in the file `new` were not here, `continued` were here up to an earlier entry,
    `same` were here already (as far or further), `refused` (with why) are other threads of the same name.

    `entries` were written. `aside` counts the unfinished ones that are set aside, because they come from a copy.
    `signed` counts heads that this store's own key signed anew. With only a check of the file, `new` to `aside` are 0.
    """

    file: str
    export: str
    threads: int = 0
    new: int = 0
    continued: int = 0
    same: int = 0
    entries: int = 0
    aside: int = 0
    signed: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.refused
