"""Signing in with a token, signing out, and the choice of a theme."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from turnout.console.frame import HEADERS, THEME, THEMES, Frame, Note, Visit, check_origin, inside
from turnout.errors import SignInNeeded, TurnoutError
from turnout.service.access import sessions


def routes(frame: Frame) -> list[Route]:
    """The pages' addresses. The first one is for those who have not signed in."""

    async def sign_in(request: Request) -> Response:
        answer = await _sign_in(frame, request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    async def theme(request: Request) -> Response:
        """It changes nothing but a cookie of the browser that asks: so it needs no session."""
        try:
            check_origin(request)
        except TurnoutError as error:
            return frame.problem(request, error)
        given = await request.form()
        wanted = str(given.get("theme", ""))
        answer = RedirectResponse(inside(str(given.get("back", "/"))), 303)
        if wanted in THEMES:
            frame.keep(request, answer, THEME, wanted, 31_536_000)
        else:
            answer.delete_cookie(THEME, path="/")
        return answer

    return [
        Route("/sign-in", sign_in, methods=["GET", "POST"]),
        Route("/sign-out", frame.route("view", sign_out), methods=["POST"]),
        Route("/theme", theme, methods=["POST"]),
    ]


async def _sign_in(frame: Frame, request: Request) -> Response:
    wanted = inside(request.query_params.get("next", "/"))
    if request.method == "GET":
        if await frame.door.open_to_all():
            return RedirectResponse(wanted, 303)
        return frame.bare(request, "sign_in.html", wanted=wanted, error="")
    try:
        check_origin(request)
        given = await request.form()
        wanted = inside(str(given.get("next", "/")))
        session = await frame.door.sign_in(str(given.get("token", "")).strip())
    except SignInNeeded as error:
        return frame.bare(request, "sign_in.html", 401, wanted=wanted, error=str(error))
    except TurnoutError as error:
        return frame.problem(request, error)
    answer = RedirectResponse(wanted, 303)
    frame.keep(request, answer, sessions.COOKIE, session.secret, None)
    return answer


async def sign_out(frame: Frame, visit: Visit) -> Response:
    """End the session, here and in the store."""
    await frame.door.sign_out(visit.request.cookies.get(sessions.COOKIE, ""))
    answer = frame.back(visit, "/sign-in", Note("You are signed out."))
    answer.delete_cookie(sessions.COOKIE, path="/")
    return answer
