"""Policies: the rules here, what is wrong with others, and what those would have said."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from turnout.api.answers import answer, problems
from turnout.api.bodies import Candidate, Rules
from turnout.api.entrance import Operating, Viewing, whole
from turnout.api.shapes import shape
from turnout.service.policies import Backtest, PolicyHere, PolicyReport

router = APIRouter(prefix="/policies", tags=["policies"])


@router.get("", responses={200: {"model": shape(PolicyHere)}, **problems()})
async def policy(at: Viewing) -> Response:
    """The policy that calls are decided by: its digest and its rules."""
    return answer(await whole(at, "the policy").app.policy())


@router.post("/check", responses={200: {"model": shape(PolicyReport)}, **problems(400, 413)})
async def policy_check(at: Viewing, body: Rules) -> Response:
    """What is wrong with rules, as far as the graphs here tell. Nothing is kept."""
    return answer(await at.app.policy_check(body.files))


@router.post("/backtest", responses={200: {"model": shape(Backtest)}, **problems(400, 413)})
async def backtest(at: Operating, body: Candidate) -> Response:
    """Decide every call on record again under other rules, and say where they say something else.

    Nothing is called and nothing is changed; but it reads every journal of the time.
    """
    return answer(await at.app.backtest(body.files, since=body.since, graph=body.graph))
