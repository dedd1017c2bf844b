"""Where it is measured: a folder on a disk, and one on a memory file system."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class Place:
    """`name` is "disk" or "memory"; `folder` is where the temporary folders are made."""

    name: str
    folder: Path
    kind: str

    def __str__(self) -> str:
        return f"{self.name} ({self.folder}, {self.kind})"


def places() -> tuple[list[Place], list[str]]:
    """The places that this machine has, and what to say of one that is missing."""
    found, missing = [], []
    disks = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    disk = next((p for p in disks if writable(p) and kind(p) not in IN_MEMORY), None)
    if disk is not None:
        found.append(Place("disk", disk, kind(disk)))
    else:
        missing.append(f"no folder on a disk among {', '.join(map(str, disks))}: nothing is measured on disk")
    memory = Path("/dev/shm")
    if writable(memory) and kind(memory) in IN_MEMORY:
        found.append(Place("memory", memory, kind(memory)))
    else:
        missing.append(
            "/dev/shm is no memory file system here: the code's own cost is not measured apart from the disk"
        )
    return found, missing


def writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK)


def kind(folder: Path) -> str:
    """The file system's type, from /proc/mounts; "unknown" where there is none."""
    best, found = "", "unknown"
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return found
    for line in mounts:
        _, mount, filesystem, *_ = line.split()
        inside = folder.resolve() == Path(mount) or Path(mount) in folder.resolve().parents
        if inside and len(mount) >= len(best):
            best, found = mount, filesystem
    return found
