"""Errors as problem details (RFC 9457). One table says which status each error of the tree has."""

from __future__ import annotations

import logging
import re
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from turnout import errors as x

log = logging.getLogger("turnout.api")
MEDIA = "application/problem+json"
TYPE = "urn:turnout:error:"
"""What `type` begins with; the class's name follows."""

STATUSES: dict[type[x.TurnoutError], int] = {
    x.TurnoutError: 500,
    x.UsageError: 400,
    x.GraphInvalid: 422,
    x.InputInvalid: 422,
    x.UnknownGraph: 404,
    x.UnknownThread: 404,
    x.UnknownRun: 404,
    x.UnknownReview: 404,
    x.UnknownEntry: 404,
    x.UnknownTool: 404,
    x.UnknownModel: 404,
    x.UnknownSchedule: 404,
    x.UnknownToken: 404,
    x.UnknownNotice: 404,
    x.ShownMissing: 428,
    x.ExportInvalid: 422,
    x.SettingsInvalid: 500,
    x.UnknownServer: 404,
    x.PolicyInvalid: 422,
    x.Conflict: 409,
    x.ThreadBusy: 409,
    x.KeyReused: 422,
    x.ReviewClosed: 409,
    x.ReviewStale: 412,
    x.DecisionNotAllowed: 403,
    x.ForkRefused: 409,
    x.ThreadMoved: 409,
    x.ThreadDiffers: 409,
    x.CapReached: 409,
    x.HeadMoved: 409,
    x.StaleWriter: 409,
    x.AccessRefused: 403,
    x.SignInNeeded: 401,
    x.RightMissing: 403,
    x.ServerRefused: 503,
    x.RequestTooLarge: 413,
    x.TooManyRequests: 429,
    x.ServiceUnavailable: 503,
    x.StoreError: 503,
    x.StoreUnavailable: 503,
    x.StoreDamaged: 500,
    x.StoreNewer: 500,
    x.RunError: 500,
    x.UpdateInvalid: 500,
    x.MergeConflict: 500,
    x.RouteFailed: 500,
    x.StateMutated: 500,
    x.StateInvalid: 500,
    x.StepTimeout: 500,
    x.RunTimeout: 500,
    x.StepLimit: 500,
    x.ExportFailed: 500,
    x.EffectError: 502,
    x.ToolFailed: 502,
    x.ModelFailed: 502,
    x.ModelRateLimited: 502,
    x.ModelUnavailable: 502,
    x.ModelNotFound: 502,
    x.AnswerBroken: 502,
    x.ModelTimeout: 504,
    x.ContextWindowExceeded: 502,
    x.ContentFiltered: 502,
    x.CredentialsRefused: 502,
    x.ModelRequestRefused: 502,
    x.OutputInvalid: 502,
    x.CallTimeout: 504,
    x.DidNotHappen: 502,
    x.ChildFailed: 502,
    x.ServerUnavailable: 502,
    x.NotSent: 502,
    x.BudgetExceeded: 500,
    x.EffectRefused: 500,
    x.ToolQuarantined: 500,
    x.CallRefused: 500,
    x.GuardBlocked: 500,
    x.NoticeNotSent: 502,
    x.ReplayError: 500,
    x.JournalDamaged: 500,
}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem as it goes out. `type` names the error's class; `first` is the decision that was quicker (`ReviewClosed`);
    `retry_after` is seconds; `problems` are those of the request's fields."""

    type: str
    title: str
    status: int
    detail: str = ""
    first: dict[str, Any] | None = None
    retry_after: float | None = None
    problems: list[str] = []


def problem_of(error: x.TurnoutError) -> Problem:
    """The problem that tells of an error. What it leaves out is for the log."""
    if error.told != str(error) and not error.store:
        log.warning("a request failed: %s", error)
    kind = next(cls for cls in type(error).__mro__ if cls in STATUSES)
    return Problem(
        type=f"{TYPE}{kind.__name__}",
        title=(kind.__doc__ or "").strip().splitlines()[0],
        status=STATUSES[kind],
        detail=error.told,
        first=error.first if isinstance(error, x.ReviewClosed) and error.first else None,
        retry_after=error.retry_after if isinstance(error, x.TooManyRequests) else None,
        problems=error.problems if isinstance(error, x.GraphInvalid) else [],
    )


def answer(problem: Problem) -> Response:
    """The problem as a response."""
    headers = {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status == 503:
        headers["Retry-After"] = "1"
    elif problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after)))
    return Response(msgspec.json.encode(problem), problem.status, headers, MEDIA)


def install(api: FastAPI) -> None:
    """Have the API answer every error with a problem."""
    api.add_exception_handler(x.TurnoutError, _turnout)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(Exception, _unexpected)


async def _turnout(request: Request, error: Exception) -> Response:
    assert isinstance(error, x.TurnoutError)
    return answer(problem_of(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
    found = problem_of(x.InputInvalid("; ".join(said) or "the request can't be read"))
    return answer(msgspec.structs.replace(found, problems=said))


async def _http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: a path that isn't there, a method that isn't for it, a body that is no JSON."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        return answer(
            problem_of(
                x.InputInvalid("the body can't be read: it is no JSON in UTF-8, or is nested too deep")
            )
        )
    found = answer(Problem("about:blank", str(error.detail), error.status_code))
    found.headers.update(error.headers or {})
    if error.status_code == 405:
        found.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return found


def _methods(request: Request) -> set[str]:
    """What may be done at the path: the framework names only what the first of its routes takes."""
    place = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return {
        method
        for path, method in request.app.state.operations
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), place)
    }


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s broke", request.method, request.url.path, exc_info=error)
    said = f"unexpected {type(error).__name__}; the server's log says where"
    return answer(Problem(f"{TYPE}TurnoutError", x.TurnoutError.__doc__ or "", 500, said))
