"""The page of all threads: search and filters, which the address keeps."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from turnout.console.frame import Frame, Visit, address
from turnout.service.pages import overview
from turnout.service.pages.overview import Wanted

STATUSES = ("running", "waiting", "finished", "failed", "cancelled", "diverged")
PAGE = 50


def routes(frame: Frame) -> list[Route]:
    """The page's address."""
    return [Route("/threads", frame.route("view", threads), methods=["GET"])]


async def threads(frame: Frame, visit: Visit) -> Response:
    """Threads, those made last first. Counts are of all statuses, for what else is chosen."""
    wanted = Wanted(
        graph=visit.asked("graph")[:200], status=visit.asked("status")[:40], search=visit.asked("search").strip()[:200],
        tenant=visit.asked("tenant")[:200], aside=visit.asked("aside") == "1",
    )  # fmt: skip
    page = await overview.thread_page(visit.app.store, wanted, _before(visit.asked("before")), PAGE)
    tally = await visit.app.store.tally()
    names = sorted({row.graph for row in tally} | visit.app.graphs.keys())
    counted = [row for row in tally if wanted.graph in ("", row.graph)]
    if wanted.search or wanted.tenant:
        counted = await visit.app.store.tally(graph=wanted.graph, search=wanted.search, tenant=wanted.tenant)
    keeps = {"graph": wanted.graph, "search": wanted.search, "tenant": wanted.tenant}
    counts = overview.statuses(counted)
    tabs = [("all", sum(counts.values()), address("/threads", keeps), not wanted.status and not wanted.aside)]
    tabs += [
        (
            status,
            counts.get(status, 0),
            address("/threads", {**keeps, "status": status}),
            status == wanted.status,
        )
        for status in STATUSES
        if counts.get(status)
        or status == wanted.status
        or status in ("running", "waiting", "finished", "failed")
    ]
    aside = sum(row.threads for row in counted if row.aside)
    if aside or wanted.aside:
        tabs.append(("set aside", aside, address("/threads", {**keeps, "aside": "1"}), wanted.aside))
    filters = {**keeps, "status": wanted.status, "aside": "1" if wanted.aside else ""}
    behind = f"{page.behind[0]}.{page.behind[1]}" if page.behind else ""
    return await frame.show(
        visit, "threads.html", wanted=wanted, page=page, tabs=tabs, names=names,
        tenants=any(row.tenant for row in page.rows) or bool(wanted.tenant),
        further=address("/threads", {**filters, "before": behind}) if behind else "",
        first=address("/threads", filters) if visit.asked("before") else "", filtered=any(filters.values()),
    )  # fmt: skip


def _before(said: str) -> tuple[int, str] | None:
    """Where a page goes on: the time and the name of the last thread before. What isn't one is the beginning."""
    at, _, name = said.partition(".")
    return (int(at), name) if at.isascii() and at.isdigit() and len(at) < 19 and name else None
