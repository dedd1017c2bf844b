"""The page of tools: which servers there are, what was approved of their tools, and what they have become."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from turnout.console.frame import Frame, Visit
from turnout.errors import SettingsInvalid


def routes(frame: Frame) -> list[Route]:
    """The page's address. To ask the servers is more than to look: some are programs that are started for it."""
    return [
        Route("/tools", frame.route("view", tools), methods=["GET"]),
        Route("/tools", frame.route("operate", ask), methods=["POST"]),
    ]


async def tools(frame: Frame, visit: Visit) -> Response:
    """What the files say: declarations and pins."""
    return await _page(frame, visit, asked=False)


async def ask(frame: Frame, visit: Visit) -> Response:
    """What the servers say now beside what was approved."""
    return await _page(frame, visit, asked=True)


async def _page(frame: Frame, visit: Visit, *, asked: bool) -> Response:
    whole, trouble, servers = visit.app.tenant is None, "", []
    try:
        servers = await visit.app.tools(ask=asked) if whole else []
    except SettingsInvalid as error:
        trouble = str(error)
    own = {
        name: sorted(
            (tool.name, str(tool.effect), tool.description)
            for tool in graph.tools.values()
            if not tool.server
        )
        for name, graph in sorted(visit.app.graphs.items())
    }
    return await frame.show(
        visit, "tools.html", servers=servers, asked=asked, trouble=trouble, own=own, whole=whole
    )
