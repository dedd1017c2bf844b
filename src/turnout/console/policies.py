"""The page of policies: the rules at hand, which of them fired, and what other rules would have said."""

from __future__ import annotations

from datetime import timedelta

from starlette.responses import Response
from starlette.routing import Route

from turnout.console.frame import STATUSES, Frame, Visit, told, whole
from turnout.errors import InputInvalid, SettingsInvalid, TurnoutError
from turnout.service.pages.fired import DEEP, SAMPLE, fired
from turnout.service.policies import Backtest, PolicyReport

SPANS = (1, 7, 30)
"""Days that a backtest can go back."""


def routes(frame: Frame) -> list[Route]:
    """The page's address. A backtest changes nothing, but it reads every journal of the time: hence the right."""
    return [
        Route("/policies", frame.route("view", policies), methods=["GET"]),
        Route("/policies", frame.route("operate", backtest), methods=["POST"]),
    ]


async def policies(frame: Frame, visit: Visit) -> Response:
    """The rules, and what fired."""
    return await _page(frame, visit)


async def backtest(frame: Frame, visit: Visit) -> Response:
    """Decide the calls on record again under the rules that were typed."""
    rules = visit.form("rules").replace("\r\n", "\n")
    said = whole(visit.form("days"))
    days = said if said in SPANS else 7
    try:
        if not rules.strip():
            raise InputInvalid("write rules first: what would they have said?")
        since = visit.now - timedelta(days=days)
        found = await visit.app.backtest({"candidate.cedar": rules}, since=since)
    except TurnoutError as error:
        bad = isinstance(error, SettingsInvalid)  # what is wrong is in the rules, which came in the form
        status = 422 if bad else next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
        return await _page(frame, visit, status, rules=rules, days=days, error=told(error))
    return await _page(frame, visit, rules=rules, days=days, tried=found)


async def _page(
    frame: Frame, visit: Visit, status: int = 200, *, rules: str = "", days: int = 7, error: str = "",
    tried: Backtest | None = None,
) -> Response:  # fmt: skip
    report: PolicyReport | None = None
    trouble = ""
    if frame.rules is not None and visit.app.tenant is None:
        try:
            report = await visit.app.policy_check(frame.rules)
        except SettingsInvalid as found:
            trouble = str(found)
    return await frame.show(
        visit, "policies.html", status, report=report, trouble=trouble, fired=await fired(visit.app.store), rules=rules,
        days=days, spans=SPANS, error=error, tried=tried, sample=SAMPLE, deep=DEEP,
    )  # fmt: skip
