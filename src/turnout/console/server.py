"""The console as an ASGI app: its addresses, and its own files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from turnout.console import (
    costs,
    graphs,
    policies,
    reviews,
    signing_in,
    thread,
    threads,
    tools,
    workers,
)
from turnout.console.frame import HEADERS, Frame, Visit
from turnout.errors import TurnoutError
from turnout.service.access.door import Door
from turnout.service.app import App
from turnout.service.serving import Serve

log = logging.getLogger("turnout.console")
STATIC = Path(__file__).parent / "static"


def make(app: App, door: Door, serve: Serve, rules: Path | None = None) -> Starlette:
    """The console over an app, for those whom the door lets in. `rules` is the folder of its policy, if it has one."""
    frame = Frame(app, door, serve, rules)
    routes = [
        Route("/", frame.route("view", home), methods=["GET"]),
        *threads.routes(frame),
        *thread.routes(frame),
        *reviews.routes(frame),
        *graphs.routes(frame),
        *costs.routes(frame),
        *policies.routes(frame),
        *tools.routes(frame),
        *workers.routes(frame),
        *signing_in.routes(frame),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]

    async def lost(request: Request, error: Exception) -> Response:
        return frame.lost(request)

    async def broken(request: Request, error: Exception) -> Response:
        log.error("%s %s broke", request.method, request.url.path, exc_info=error)
        said = TurnoutError(f"unexpected {type(error).__name__}; the server's log says where")
        return frame.problem(request, said)

    handlers: Any = {404: lost, 405: lost, Exception: broken}
    return Starlette(routes=routes, middleware=[Middleware(Headers)], exception_handlers=handlers)


async def home(frame: Frame, visit: Visit) -> Response:
    """Who decides reviews and does nothing else begins with the inbox, everybody else with the threads."""
    rights = visit.caller.rights
    return frame.back(visit, "/reviews" if "decide" in rights and "operate" not in rights else "/threads")


class Headers:
    """ASGI: puts the headers that protect a page on every answer, also on files and errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                had = {name.lower() for name, _ in message["headers"]}
                file = (
                    "/static/" in scope["path"]
                )  # asked for again each time, and answered with "not modified"
                more = {**HEADERS, "Cache-Control": "no-cache"} if file else HEADERS
                for name, value in more.items():
                    if name.lower().encode() not in had:
                        message["headers"].append((name.lower().encode(), value.encode()))
            await send(message)

        await self._app(scope, receive, sent)
