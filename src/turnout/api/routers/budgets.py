"""What calls have cost, and the budgets that cap it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from turnout.api.answers import answer, problems
from turnout.api.bodies import Moment, SetBudget
from turnout.api.entrance import Administering, Viewing, whole
from turnout.api.shapes import many, shape
from turnout.core.budgets import Budget
from turnout.service.budgets import BudgetReport, Cost
from turnout.service.items import Done

router = APIRouter()
Named = Annotated[str, Query(max_length=200)]
By = Literal["graph", "node", "branch", "model", "tenant", "retry", "day", "thread"]
Since = Annotated[
    Moment | None, Query(description="Calls that were begun then or later; with a time zone: 2026-11-26T09:00:00Z.")
]  # fmt: skip


@router.get("/costs", tags=["costs"], responses={200: {"model": many(Cost)}, **problems()})
async def costs(
    at: Viewing,
    by: By = "graph",
    since: Since = None,
    graph: Named = "",
    tenant: Named = "",
    thread: Named = "",
) -> Response:
    """What calls have cost: by graph, node, branch, model, tenant, retry, day or thread, the most expensive first."""
    return answer(await at.app.costs(by, since=since, graph=graph, tenant=tenant, thread=thread))


@router.get("/budgets", tags=["budgets"], responses={200: {"model": many(BudgetReport)}, **problems()})
async def list_budgets(at: Viewing, name: Named = "") -> Response:
    """The budgets, or the one of that name, with the accounts that changed last: spent, reserved, left."""
    return answer(await whole(at, "budgets").app.budgets(name))


@router.put("/budgets/{name:name}", tags=["budgets"], status_code=204, responses=problems(400, 404, 413))
async def put_budget(at: Administering, name: str, body: SetBudget) -> Response:
    """Set a budget, or change it. Its caps hold for every reservation from then on; what was spent is kept."""
    budget = Budget(
        name=name, per=body.per, day=body.day, graph=body.graph, tenant=body.tenant, micros=body.micros,
        tokens=body.tokens, calls=body.calls, ms=body.ms, at_cap=body.at_cap, roles=tuple(body.roles),
    )  # fmt: skip
    await whole(at, "budgets").app.put_budget(budget)
    return Response(status_code=204)


@router.delete(
    "/budgets/{name:name}", tags=["budgets"], responses={200: {"model": shape(Done)}, **problems(404)}
)
async def drop_budget(at: Administering, name: str) -> Response:
    """Take a budget away; its accounts are kept for the case that it is set again. `done` false: there was none."""
    return answer(Done(await whole(at, "budgets").app.drop_budget(name)))
