"""A thread as the store has it: its row, and its view now or earlier."""

from __future__ import annotations

from turnout.core import canon
from turnout.core.fold import apply
from turnout.core.view import ThreadView
from turnout.errors import UnknownEntry, UnknownThread
from turnout.ports.rows import ThreadRow
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of, load_view

STATUSES = ("running", "waiting", "diverged", "compensating", "finished", "failed", "cancelled", "idle")


async def thread_row(store: Store, thread: str) -> ThreadRow:
    """The thread's row. Raises `UnknownThread`."""
    row = await store.thread(canon.plain(thread, "the thread's name"))
    if row is None:
        said = f"there is no thread {thread!r} in {store.url}; `turnout threads` lists them"
        raise UnknownThread(said).within(store.url)
    return row


async def view_at(store: Store, thread: str, at: int | None = None) -> ThreadView:
    """The thread as it is, or as it was after entry `at`. Raises `UnknownThread`, `UnknownEntry`."""
    row = await thread_row(store, thread)
    if at is None or at == row.head:
        return (await load_view(store, thread)).view
    if not 0 < at <= row.head:
        raise UnknownEntry(f"thread {thread!r} has entries 1 to {row.head}; there is no entry {at}")
    view = ThreadView(thread=thread)
    for entry in await entries_of(store, await store.read(thread, 0, at)):
        apply(view, entry)
    return view
