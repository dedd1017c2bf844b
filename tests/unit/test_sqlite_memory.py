"""What a SQLite store keeps in memory is bounded, however much is written through it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, sys
from pydantic import BaseModel
from turnout import END, Context, Graph, open_app


class Note(BaseModel):
    text: str


notes = Graph("notes", state=Note)


@notes.node
async def keep(state: Note, ctx: Context) -> dict:
    return {"text": state.text[::-1]}


notes.start(keep)
notes.edge(keep, END)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


async def main() -> None:
    async with open_app(f"sqlite:///{sys.argv[1]}", graphs=[notes]) as app:
        found = []
        for number in range(900):
            run = await app.start("notes", {"text": f"{number:06} " + "x" * 30_000})
            await app.wait(run)
            if number % 300 == 299:
                found.append(resident())
        print(*found)


asyncio.run(main())
"""


def test_the_memory_does_not_grow_with_what_is_written(tmp_path: Path) -> None:
    path, program = tmp_path / "turnout.db", tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), str(path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    _, second, third = map(int, done.stdout.split())
    written = path.stat().st_size
    assert written > 50_000_000
    assert third - second < written / 10  # a third of it was written in between
