"""A program that exports or imports and is killed at a chosen write; `main` prints one JSON line."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from tests.crash.failpoint import die
from tests.moving.desk import furnish, graphs, picture, sound
from tests.moving.homes import File

from turnout.ports.rows import Append
from turnout.service.moving import incoming
from turnout.service.moving.output import Output
from turnout.testing import VirtualClock


class Dying:
    """Passes everything on, counts what is written to store and file, and dies at write number `at`."""

    def __init__(self, inner: Any, at: int, when: str) -> None:
        self._inner, self._at, self._when = inner, at, when
        self.url = inner.url
        self.writes = 0
        really = Output._write

        def write(output: Output, data: bytes) -> None:
            number = self._before()
            really(output, data)
            output._flush()  # what the system has it keeps, whatever becomes of the process
            self._after(number)

        Output._write = write  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, change: Append) -> None:
        number = self._before()
        await self._inner.append(change)
        self._after(number)

    async def set_aside(self, threads: list[str], reason: str) -> Any:
        number = self._before()
        done = await self._inner.set_aside(threads, reason)
        self._after(number)
        return done

    def _before(self) -> int:
        self.writes += 1
        if self.writes == self._at and self._when == "before":
            die()
        return self.writes

    def _after(self, number: int) -> None:
        if number == self._at and self._when == "after":
            die()


async def work(do: str, store: Path, file: Path, at: int, when: str) -> dict[str, Any]:
    home = File(store, VirtualClock())
    if do == "furnish":
        await furnish(home)
    elif do == "picture":
        await sound(home)
        return await picture(home)
    else:
        dying: Any = Dying(await home.open(), at, when)
        async with home.app(*graphs(), store=dying) as app:
            if do == "move":
                await app.export_to(str(file), move=True, resume=True)
            else:
                await app.import_from(str(file))
        return {"writes": dying.writes}
    return {}


def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("do")
    parser.add_argument("store", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--at", type=int, default=0)
    parser.add_argument("--when", default="before")
    given = parser.parse_args(args)
    incoming.BATCH = 5
    print(json.dumps(asyncio.run(work(given.do, given.store, given.file, given.at, given.when))))
