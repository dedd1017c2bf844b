"""Graphs, workers, limits and schedules."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from turnout.api.answers import answer, problems
from turnout.api.bodies import Declare, SetLimit
from turnout.api.entrance import Administering, Operating, Viewing, whole
from turnout.api.shapes import many, shape
from turnout.errors import UnknownSchedule
from turnout.ports.rows import LimitRow
from turnout.service.items import GraphItem, WorkerItem, graph_item
from turnout.service.schedules import Schedule

router = APIRouter()
Kind = Literal["graph", "tenant"]


@router.get("/graphs", tags=["graphs"], responses={200: {"model": many(GraphItem)}, **problems()})
async def list_graphs(at: Viewing) -> Response:
    """The graphs of the code at hand."""
    return answer([graph_item(graph) for _, graph in sorted(at.app.graphs.items())])


@router.get(
    "/graphs/{graph:name}", tags=["graphs"], responses={200: {"model": shape(GraphItem)}, **problems(404)}
)
async def get_graph(at: Viewing, graph: str) -> Response:
    """A graph's nodes, routes, tools, and the schema of its state."""
    return answer(graph_item(at.app.graph(graph)))


@router.get("/workers", tags=["workers"], responses={200: {"model": many(WorkerItem)}, **problems()})
async def list_workers(at: Viewing) -> Response:
    """The workers that hold threads, with their leases."""
    return answer(await at.app.workers())


@router.get("/limits", tags=["limits"], responses={200: {"model": many(LimitRow)}, **problems()})
async def list_limits(at: Viewing) -> Response:
    """How many threads of a graph or a tenant are held at once, where that is limited."""
    return answer(await at.app.limits())


@router.put("/limits/{kind}/{name:name}", tags=["limits"], status_code=204, responses=problems(400, 404, 413))
async def put_limit(at: Administering, kind: Kind, name: str, body: SetLimit) -> Response:
    """Limit how many threads of a graph or a tenant are held at once."""
    await whole(at, "limits").app.limit(kind, name, body.at_once)
    return Response(status_code=204)


@router.delete("/limits/{kind}/{name:name}", tags=["limits"], status_code=204, responses=problems(404))
async def drop_limit(at: Administering, kind: Kind, name: str) -> Response:
    """Take a limit away."""
    await whole(at, "limits").app.limit(kind, name, None)
    return Response(status_code=204)


@router.get("/schedules", tags=["schedules"], responses={200: {"model": many(Schedule)}, **problems()})
async def list_schedules(at: Viewing, graph: Annotated[str, Query(max_length=200)] = "") -> Response:
    """The schedules, in the order of their names."""
    return answer(await at.app.schedules(graph))


@router.get(
    "/schedules/{name:name}", tags=["schedules"], responses={200: {"model": shape(Schedule)}, **problems(404)}
)
async def get_schedule(at: Viewing, name: str) -> Response:
    """One schedule."""
    found = next((one for one in await at.app.schedules() if one.name == name), None)
    if found is None:
        raise UnknownSchedule(f"there is no schedule {name!r}")
    return answer(found)


@router.put(
    "/schedules/{name:name}",
    tags=["schedules"],
    responses={200: {"model": shape(Schedule)}, **problems(400, 404, 413)},
)
async def put_schedule(at: Operating, name: str, body: Declare) -> Response:
    """Have a graph started by the clock, or have the schedule of that name be as declared."""
    made = await at.app.schedule(
        name, body.graph, body.input, cron=body.cron, at=body.at, timezone=body.timezone, missed=body.missed,
        overlap=body.overlap, tenant=body.tenant, priority=body.priority, by=at.by(body.by),
    )  # fmt: skip
    return answer(made)


@router.delete(
    "/schedules/{name:name}", tags=["schedules"], responses={200: {"model": shape(Schedule)}, **problems(404)}
)
async def drop_schedule(at: Operating, name: str) -> Response:
    """Forget a schedule; what it has started stays."""
    return answer(await at.app.drop_schedule(name))


@router.post(
    "/schedules/{name:name}/pause",
    tags=["schedules"],
    responses={200: {"model": shape(Schedule)}, **problems(404)},
)
async def pause_schedule(at: Operating, name: str) -> Response:
    """Have a schedule fire nothing until it is resumed."""
    return answer(await at.app.pause_schedule(name))


@router.post(
    "/schedules/{name:name}/resume",
    tags=["schedules"],
    responses={200: {"model": shape(Schedule)}, **problems(404)},
)
async def resume_schedule(at: Operating, name: str) -> Response:
    """Have a paused schedule fire again."""
    return answer(await at.app.resume_schedule(name))
