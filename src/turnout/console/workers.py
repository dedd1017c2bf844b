"""The page of workers: leases, what waits for one, and what is set aside."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from turnout.console.frame import Frame, Note, Visit
from turnout.core.view import AT_REST
from turnout.service.outbox import STATUSES
from turnout.service.pages import overview

SHOWN = 50
"""So many notices are shown: the newest."""


def routes(frame: Frame) -> list[Route]:
    """The page's address, and what can be done from it."""
    return [
        Route("/workers", frame.route("view", workers), methods=["GET"]),
        Route("/workers/aside", frame.route("operate", aside), methods=["POST"]),
        Route("/workers/outbox", frame.route("operate", resend), methods=["POST"]),
    ]


async def workers(frame: Frame, visit: Visit) -> Response:
    """Who holds what."""
    page = await overview.worker_page(visit.app.store, visit.app.clock.now(), whole=visit.app.tenant is None)
    chosen = visit.asked("outbox")
    chosen = chosen if chosen in STATUSES else ""
    return await frame.show(
        visit, "workers.html", page=page, limits=await visit.app.limits(), chosen=chosen,
        outbox=await visit.app.outbox(status=chosen, limit=SHOWN), counts=await visit.app.store.count_outbox(),
        tabs=[("all", "/workers#outbox", not chosen), *((s, f"/workers?outbox={s}#outbox", s == chosen) for s in STATUSES)],
        most=SHOWN,
    )  # fmt: skip


async def resend(frame: Frame, visit: Visit) -> Response:
    """Have a notice sent again, or all that are dead."""
    done = await visit.app.resend(visit.form("notice"))
    said = (
        f"{len(done)} notice{'' if len(done) == 1 else 's'} will be sent again."
        if done
        else "Nothing is dead."
    )
    return frame.back(visit, "/workers", Note(said, "good" if done else "plain"))


async def aside(frame: Frame, visit: Visit) -> Response:
    """Take a thread back, or set it aside."""
    thread = visit.form("thread")
    if visit.form("do") == "take back":
        done = await visit.app.take_back(thread, not_imported=bool(visit.form("not_imported")))
        row = await visit.app.store.thread(thread)
        rests = row is not None and row.status in AT_REST
        then = "it has nothing to do" if rests else "the next free worker goes on with it"
        note = Note(f"{thread} is taken back: {then}." if done else f"{thread} wasn't set aside.")
    else:
        done = await visit.app.set_aside(thread, visit.form("reason"), by=visit.by())
        note = Note(
            f"{thread} is set aside: no worker takes it." if done else f"{thread} was set aside before."
        )
    return frame.back(visit, "/workers", note)
