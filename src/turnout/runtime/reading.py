"""What the store has of a thread, read: rows as entries, and the view that they fold to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from turnout.core import entries as e
from turnout.core import pack
from turnout.core.fold import fold
from turnout.core.view import ThreadView
from turnout.errors import JournalDamaged
from turnout.ports.codec import PLAIN, Codec
from turnout.ports.rows import Row
from turnout.ports.store import Store

_snapshot = msgspec.json.Decoder(ThreadView)


async def entries_of(
    store: Store,
    rows: Iterable[Row],
    codec: Codec = PLAIN,
    *,
    whole: bool = False,
    known: set[str] | None = None,
) -> list[e.Entry]:
    """Rows as entries. Unless `whole`, the arguments of answered effects are left packed: the fold doesn't need them.

    The addresses of stored values that were met are put into `known`. Raises `JournalDamaged`.
    """
    rows = list(rows)
    plain = [codec.decode(row.thread, row.stored) for row in rows]
    values = await _values(store, plain)
    if known is not None:
        known |= values.keys()
    return [
        entry_of(row, data, values.__getitem__, whole=whole) for row, data in zip(rows, plain, strict=True)
    ]


def entry_of(row: Row, data: bytes, get: Callable[[str], bytes], *, whole: bool = False) -> e.Entry:
    """The entry of a row, whose decoded body is `data`; `get` gives stored values. See `entries_of`."""
    try:
        body = e.decode_body(row.kind, pack.unpack(data, get, () if whole else packed_fields(row.kind)))
    except (KeyError, msgspec.DecodeError) as error:
        raise JournalDamaged(
            f"thread {row.thread}: entry {row.seq} ({row.kind}) can't be read: {error}; run `turnout verify {row.thread}`"
        ) from None
    return e.Entry(
        row.thread, row.seq, row.kind, row.run, row.step, row.at, row.epoch, row.stored, row.digest, body
    )


def packed_fields(kind: str) -> tuple[str, ...]:
    """The fields of an entry's body that the fold needs not look into."""
    return ("args",) if kind == "effect.recorded" else ()


async def _values(store: Store, bodies: list[bytes]) -> dict[str, bytes]:
    """Every value that the bodies name, and that those name in turn."""
    found: dict[str, bytes] = {}
    wanted: set[str] = set()
    for body in bodies:
        if body.startswith(b'{"$packed"'):
            wanted |= pack.addresses(body)
    while wanted:
        new = await store.values(wanted)
        found.update(new)
        wanted = {a for data in new.values() for a in pack.addresses(data)} - found.keys()
    return found


@dataclass(frozen=True, slots=True)
class Loaded:
    """A thread's view, the stored bytes since its snapshot, the snapshot's size, and addresses the store is known to have."""

    view: ThreadView
    tail: int
    snapshot_size: int
    known: set[str]


async def load_view(store: Store, thread: str, codec: Codec = PLAIN) -> Loaded:
    """The thread as it is now: its snapshot, and what came after."""
    view, size = ThreadView(thread=thread), 0
    kept = await store.snapshot(thread)
    if kept is not None:
        with contextlib.suppress(
            msgspec.DecodeError, UnicodeDecodeError
        ):  # else it is made again from the entries
            view, size = _snapshot.decode(codec.decode(thread, kept[1])), len(kept[1])
    rows = await store.read(thread, after=view.seq)
    known: set[str] = set()
    fold(view, await entries_of(store, rows, codec, known=known))
    return Loaded(view, sum(len(row.stored) for row in rows), size, known)
