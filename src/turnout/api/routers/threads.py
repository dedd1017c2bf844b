"""Threads: lists, one thread, its journal and its state."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from turnout.api.answers import answer, page, problems
from turnout.api.entrance import Viewing
from turnout.api.shapes import many, shape
from turnout.api.shapes import page as page_of
from turnout.errors import UnknownEntry
from turnout.service.cursors import CURSOR, ENTRIES, THREADS, behind, behind_entry
from turnout.service.items import EntryItem, RunItem, ThreadItem, entry_item, run_item, thread_item
from turnout.service.report import Report
from turnout.service.threads import STATUSES, thread_row

router = APIRouter(tags=["threads"])
Cursor = Annotated[str, Query(description="`next` of the page before.", max_length=CURSOR)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
SEARCH = "A part of the thread's name, in capitals or not (A to Z). Nothing else is looked through: no state, no input."
At = Annotated[int | None, Query(ge=1, le=2**62, description="As it was after this entry.")]


@router.get("/threads", responses={200: {"model": page_of(ThreadItem)}, **problems()})
async def list_threads(
    at: Viewing, graph: str = "", status: Annotated[str, Query(description=f"One of {', '.join(STATUSES)}.")] = "", search: Annotated[str, Query(max_length=200, description=SEARCH)] = "", tenant: str = "",
    aside: bool = False, cursor: Cursor = "", limit: Limit = 100,
) -> Response:  # fmt: skip
    """List threads, in the order of their names."""
    rows = await at.app.threads(
        graph=graph,
        status=status,
        search=search,
        tenant=tenant,
        aside=aside,
        after=behind(THREADS, cursor),
        limit=limit + 1,
    )
    more = rows[limit - 1].thread if len(rows) > limit else None
    return page(THREADS, [thread_item(row) for row in rows[:limit]], more)


@router.get("/threads/{thread:name}", responses={200: {"model": shape(ThreadItem)}, **problems(404)})
async def get_thread(at: Viewing, thread: str) -> Response:
    """One thread."""
    return answer(thread_item(await thread_row(at.app.store, thread)))


@router.get("/threads/{thread:name}/runs", responses={200: {"model": many(RunItem)}, **problems(404)})
async def list_runs(at: Viewing, thread: str) -> Response:
    """The thread's runs, the oldest first."""
    await thread_row(at.app.store, thread)
    return answer([run_item(row) for row in await at.app.store.runs(thread)])


@router.get("/threads/{thread:name}/entries", responses={200: {"model": page_of(EntryItem)}, **problems(404)})
async def list_entries(at: Viewing, thread: str, cursor: Cursor = "", limit: Limit = 100) -> Response:
    """The thread's journal, entry by entry, whole."""
    after = behind_entry(cursor)
    row = await thread_row(at.app.store, thread)
    found = await at.app.entries(thread, after=after, upto=after + limit)
    more = found[-1].seq if found and found[-1].seq < row.head else None
    return page(ENTRIES, [entry_item(entry) for entry in found], str(more) if more is not None else None)


@router.get(
    "/threads/{thread:name}/entries/{seq:name}", responses={200: {"model": shape(EntryItem)}, **problems(404)}
)
async def get_entry(at: Viewing, thread: str, seq: Annotated[int, Path(ge=1, le=2**62)]) -> Response:
    """One entry of the thread's journal."""
    found = await at.app.entries(thread, after=seq - 1, upto=seq)
    if not found:
        raise UnknownEntry(f"thread {thread!r} has no entry {seq}")
    return answer(entry_item(found[0]))


@router.get("/threads/{thread:name}/view", responses={200: {"model": dict[str, Any]}, **problems(404)})
async def get_view(at: Viewing, thread: str, seq: At = None) -> Response:
    """The thread as its journal adds up to: open steps, waits, the queue; now or after entry `seq`."""
    return answer(await at.app.view(thread, at=seq))


@router.get("/threads/{thread:name}/state", responses={200: {"model": dict[str, Any]}, **problems(404)})
async def get_state(at: Viewing, thread: str, seq: At = None) -> Response:
    """The thread's state, now or after entry `seq`."""
    return answer(await at.app.state(thread, at=seq))


@router.get("/threads/{thread:name}/explain", responses={200: {"model": shape(Report)}, **problems(404)})
async def explain(at: Viewing, thread: str, seq: At = None) -> Response:
    """The four questions, answered from the record, now or as it was after entry `seq`."""
    return answer(await at.app.explain(thread, at=seq))
