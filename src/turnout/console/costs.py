"""The page of costs: by day, graph, model and node, and how the budgets stand."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from turnout.console.frame import Frame, Visit, address
from turnout.service.pages.spending import spending

SPANS = (7, 30, 90)
"""Days that the page can be about."""


def routes(frame: Frame) -> list[Route]:
    """The page's address."""
    return [Route("/costs", frame.route("view", costs), methods=["GET"])]


async def costs(frame: Frame, visit: Visit) -> Response:
    """What calls have cost."""
    days = visit.number("days")
    days = days if days in SPANS else 30
    graph = visit.asked("graph")[:200]
    found = await spending(visit.app, visit.now, days, graph)
    most = max((day.micros for day in found.days), default=0)
    spans = [(n, address("/costs", {"days": n, "graph": graph}), n == days) for n in SPANS]
    names = sorted(
        {cost.what for cost in found.graphs} | visit.app.graphs.keys() | ({graph} if graph else set())
    )
    return await frame.show(
        visit, "costs.html", found=found, most=most, spans=spans, graph=graph, names=names, days=days
    )
