"""The page of one thread: the four questions, a selected entry, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from turnout.console import drawing, forms, waterfall
from turnout.console.frame import STATUSES, Frame, Note, Visit, told, whole
from turnout.console.text import part
from turnout.core import entries as e
from turnout.core.graph import Graph
from turnout.core.view import AT_REST
from turnout.errors import TurnoutError, UnknownEntry
from turnout.ports.rows import ThreadRow
from turnout.runtime.replay import Replayed
from turnout.runtime.whatif import WhatIf
from turnout.service import explain
from turnout.service.pages import moment, schemas, structure, timeline
from turnout.service.pages.moment import Moment
from turnout.service.report import Report
from turnout.service.threads import thread_row

LISTED = 100
"""So many entries are listed around the selected one, and so many decisions at the end of a thread."""


def routes(frame: Frame) -> list[Route]:
    """The page's addresses."""
    return [
        Route("/threads/{thread}", frame.route("view", thread), methods=["GET"]),
        Route("/threads/{thread}/pulse", frame.route("view", pulse), methods=["GET"]),
        Route("/threads/{thread}", frame.route("operate", act), methods=["POST"]),
    ]


async def pulse(frame: Frame, visit: Visit) -> Response:
    """How far the thread has come: what a page that is open asks, again and again."""
    row = await thread_row(visit.app.store, visit.part("thread"))
    return JSONResponse({"head": row.head, "status": row.status, "aside": bool(row.aside)})


@dataclass(frozen=True)
class Fork:
    """The form of a fork: at which entry, as what, and with which state. `rests`: no run is under way there."""

    at: int
    name: str
    fields: tuple[forms.Field, ...]
    rests: bool
    error: str = ""


@dataclass(frozen=True)
class Read:
    """A thread, read once: its row, its entries, and what they add up to."""

    row: ThreadRow
    entries: list[e.Entry]
    report: Report


async def thread(frame: Frame, visit: Visit) -> Response:
    """The page. `at` selects an entry, `show` adds a replay, a what-if or the form of a fork."""
    found = await _read(visit)
    show, replayed, whatif, fork = visit.asked("show"), None, None, None
    if show == "replay":
        replayed = await visit.app.replay(found.row.thread)
    elif show == "whatif":
        other = visit.asked("graph")
        whatif = await visit.app.whatif(found.row.thread, visit.app.graph(other) if other else None)
    elif show == "fork" and visit.may("operate"):
        at = _selected(visit, found)
        there = await visit.app.view(found.row.thread, at=at)
        fork = Fork(at, "", _state_fields(visit, found, there.state), there.status in AT_REST)
    return await _page(frame, visit, found, replayed=replayed, whatif=whatif, fork=fork)


async def _read(visit: Visit) -> Read:
    name = visit.part("thread")
    row = await thread_row(visit.app.store, name)
    entries = await visit.app.entries(name)
    row = replace(row, head=len(entries)) if entries else row  # it may have grown between the two
    return Read(row, entries, explain.report(row, entries, await visit.app.store.reviews(thread=name)))


def _selected(visit: Visit, found: Read) -> int:
    """The entry that is selected: the last one, unless the address says otherwise."""
    at = visit.number("at")
    if at is not None and at > found.row.head:
        raise UnknownEntry(
            f"thread {found.row.thread!r} has entries 1 to {found.row.head}; there is no entry {at}"
        )
    return at or found.row.head


def _state_fields(visit: Visit, found: Read, state: dict[str, Any]) -> tuple[forms.Field, ...]:
    graph = visit.app.graphs.get(found.row.graph)
    return forms.fields(schemas.of_state(graph) if graph is not None else schemas.of_value(state), state)


async def _page(
    frame: Frame, visit: Visit, found: Read, status: int = 200, *, replayed: Replayed | None = None,
    whatif: WhatIf | None = None, fork: Fork | None = None, error: str = "",
) -> Response:  # fmt: skip
    report, row = found.report, found.row
    at = fork.at if fork is not None else _selected(visit, found)
    state = report.state if at == row.head else await visit.app.state(row.thread, at=at)
    now: Moment = moment.moment(report, found.entries[at - 1], state)
    graph = visit.app.graphs.get(row.graph)
    drawn = drawing.draw(_structure(graph, report), structure.path_of(report))
    fall = waterfall.waterfall(timeline.bars(report), visit.now, visit.number("from"))
    first = max(1, min(at - LISTED // 2, row.head - LISTED + 1))
    changed = {change.field for change in now.changes.changes} if now.changes is not None else set()
    return await frame.show(
        visit, "thread.html", status, row=row, report=report, at=at, moment=now, drawn=drawn, fall=fall, graph=graph,
        listed=report.entries[first - 1 : first - 1 + LISTED], replayed=replayed, whatif=whatif, fork=fork, error=error,
        changed=changed, decisions=report.decisions[-LISTED:], here=f"/threads/{part(row.thread)}",
        others=sorted(name for name in visit.app.graphs if name != row.graph), selected=visit.number("at") is not None,
        show=visit.asked("show"), live=row.status in ("running", "waiting") and not row.aside,
    )  # fmt: skip


def _structure(graph: Graph | None, report: Report) -> structure.Structure:
    """Of the code at hand, if there is any; what the thread took and that doesn't have is drawn all the same."""
    return structure.structure_of(graph) if graph is not None else structure.recorded(report)


async def act(frame: Frame, visit: Visit) -> Response:
    """Cancel, fork, or set aside; then back to the page."""
    name, do = visit.part("thread"), visit.form("do")
    here = f"/threads/{part(name)}"
    try:
        if do == "cancel":
            run = await visit.app.cancel(name, by=visit.by(), reason=visit.form("reason").strip())
            return frame.back(
                visit, here, Note(f"Run {run.number} is asked to stop: its steps clean up, then it ends.")
            )
        if do == "fork":
            return await _fork(frame, visit, name)
    except TurnoutError as problem:
        found = await _read(visit)
        status = next((status for kind, status in STATUSES if isinstance(problem, kind)), 500)
        return await _page(frame, visit, found, status, error=told(problem))
    return frame.back(visit, here)


async def _fork(frame: Frame, visit: Visit, name: str) -> Response:
    found = await _read(visit)
    at = whole(visit.form("at")) or found.row.head
    there = await visit.app.view(name, at=at)
    state = there.state
    fields, value = forms.read(_state_fields(visit, found, state), dict(_texts(visit)))
    fork = Fork(at, visit.form("name").strip(), fields, there.status in AT_REST)
    wrong = forms.problems(fields)
    if wrong:
        return await _page(frame, visit, found, 422, fork=replace(fork, error="; ".join(wrong)))
    update = {
        key: new for key, new in value.items() if new != state[key] or type(new) is not type(state[key])
    }
    try:
        run = await visit.app.fork(name, at=at, update=update, name=fork.name or None, by=visit.by())
    except TurnoutError as problem:
        status = next((status for kind, status in STATUSES if isinstance(problem, kind)), 500)
        return await _page(frame, visit, found, status, fork=replace(fork, error=told(problem)))
    what = f"with {', '.join(update)} changed" if update else "with the same state"
    return frame.back(
        visit, f"/threads/{part(run.thread)}", Note(f"Forked from {name} at entry {at}, {what}.")
    )


def _texts(visit: Visit) -> list[tuple[str, str]]:
    return [(key, value) for key, value in visit.given.items() if isinstance(value, str)]
