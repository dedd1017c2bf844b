"""Moving house: what a front end asks for. A file is named by its path, or is a stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, TypedDict

from turnout.errors import ExportInvalid, ThreadDiffers
from turnout.ports.clock import Chance, Clock
from turnout.ports.store import Store
from turnout.service.moving import begun, lines, output, source
from turnout.service.moving.checking import Checker
from turnout.service.moving.exporting import Exporter
from turnout.service.moving.importing import Importer
from turnout.service.moving.progress import Exported, Imported, Say, Tell
from turnout.service.moving.selection import Selection
from turnout.service.moving.standing import Standing
from turnout.service.signing import Signer

File = str | BinaryIO | source.Source


def quiet(found: object) -> None:
    """Told something, says nothing."""


class ImportOptions(TypedDict, total=False):
    """See `import_`."""

    keep_going: bool
    tell: Tell
    say: Say


class ExportOptions(ImportOptions, total=False):
    """See `export`."""

    move: bool
    resume: bool


async def export(
    store: Store, clock: Clock, chance: Chance, signer: Signer, to: str | BinaryIO, selection: Selection, *,
    move: bool = False, resume: bool = False, keep_going: bool = False, tell: Tell = quiet, say: Say = quiet,
    with_rules: bool = False,
) -> Exported:  # fmt: skip
    """Write threads to a file. Raises `UnknownThread`, `ExportInvalid`, `ExportFailed`, `JournalDamaged`, `StoreError`.

    `move` sets them aside in this store. `resume` goes on with a file that was cut off. `keep_going` leaves out threads
    that can't be exported; the result names them. `with_rules`: limits and schedules go along.
    """
    await selection.check(store)
    header = lines.Export(
        format=lines.FORMAT, export=chance.hex(12), at=clock.now(), by=f"turnout {version('turnout')}",
        store=store.url.partition(":")[0], move=move, public_key=signer.public, threads=list(selection.threads),
        graph=selection.graph, status=selection.status,
    )  # fmt: skip
    if not isinstance(to, str):
        if resume:
            raise ExportInvalid("a stream can't be resumed; name a file")
        out = output.Output(to, "the stream")
        exporter = Exporter(store, out, header, "a stream", keep_going=keep_going, tell=tell, say=say)
        return await exporter.run(clock.now(), with_rules=with_rules)
    with output.reopen(to) if resume else output.create(to) as handle:
        there = begun.begun(handle, to)
        await begun.check_same(there, header, store)
        exporter = Exporter(
            store, there.out, there.header or header, _absolute(to), keep_going=keep_going, tell=tell, say=say
        )
        if there.whole:
            say(f"{to} is whole already; nothing was done")
            return exporter.count()
        return await exporter.run(clock.now(), there, with_rules=with_rules)


async def check(file: File, *, tell: Tell = quiet) -> Imported:
    """Check a file without a store. Raises `ExportInvalid` or `JournalDamaged`."""
    with opened(file) as found:
        checked = await Checker(found, tell=tell).check()
        return Imported(found.name, checked.header.export, threads=checked.threads)


async def import_(
    store: Store, clock: Clock, signer: Signer, file: File, *, keep_going: bool = False, tell: Tell = quiet,
    say: Say = quiet, with_rules: bool = False,
) -> Imported:  # fmt: skip
    """Check a file, then bring its threads into the store. Raises `ExportInvalid`, `JournalDamaged`, `ThreadDiffers`.

    Nothing is written before all of the file was checked, nor when one of its threads can't come in; with `keep_going`
    the others do, and the result names it. Running it again after it was cut off goes on with it.
    """
    with opened(file) as found:
        standing = Standing(store, found)
        checked = await Checker(found, standing, tell).check()
        refused = await standing.explain()
        if refused and not keep_going:
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            why = next(iter(refused.values()))
            raise ThreadDiffers(f"{why}{more}; nothing was imported (--keep-going brings in the others)")
        result = Imported(found.name, checked.header.export, threads=checked.threads, refused=refused)
        importer = Importer(
            store, clock, signer, found, checked, result, keep_going=keep_going, tell=tell, say=say
        )
        return await importer.run(with_rules=with_rules)


@contextlib.contextmanager
def opened(file: File) -> Iterator[source.Source]:
    """The export in a file, or in a stream; one that is open already stays so. Raises `ExportInvalid`."""
    if isinstance(file, source.Source):
        yield file.again()
        return
    found = source.opened(file) if isinstance(file, str) else source.opened("the stream", file)
    try:
        yield found
    finally:
        found.close()


def _absolute(path: str) -> str:
    return str(Path(path).absolute())
