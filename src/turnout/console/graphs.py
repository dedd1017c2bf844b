"""The pages of graphs: what they are made of, which versions are in flight, and where they fail or wait."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from turnout.console import drawing
from turnout.console.frame import Frame, Visit
from turnout.errors import UnknownGraph
from turnout.service.pages import overview


def routes(frame: Frame) -> list[Route]:
    """The pages' addresses."""
    return [
        Route("/graphs", frame.route("view", graphs), methods=["GET"]),
        Route("/graphs/{graph}", frame.route("view", graph), methods=["GET"]),
    ]


async def graphs(frame: Frame, visit: Visit) -> Response:
    """All graphs: those at hand and those of which there are threads."""
    counted = overview.graph_counts(await visit.app.store.tally(), visit.app.graphs)
    return await frame.show(visit, "graphs.html", graphs=counted)


async def graph(frame: Frame, visit: Visit) -> Response:
    """One graph."""
    name = visit.part("graph")
    page = await overview.graph_page(visit.app.store, visit.app.graphs, name)
    if page is None:
        raise UnknownGraph(f"there is no graph {name!r} here, and no thread of it")
    drawn = drawing.draw(page.structure) if page.structure is not None else None
    rates = {rate.node: rate for rate in page.rates}
    return await frame.show(visit, "graph.html", page=page, drawn=drawn, rates=rates)
