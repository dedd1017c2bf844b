"""What machines ask of a server: `/healthz`, `/readyz`, `/metrics`.

The first two are for everybody: they say of each part whether it is well, and nothing else. Metrics name graphs and
models, so they want whoever may see threads, like the API.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from turnout.api import problems
from turnout.errors import RightMissing, TurnoutError
from turnout.ports.rows import Census
from turnout.service import health
from turnout.service.access import sessions
from turnout.service.access.caller import Caller
from turnout.service.access.door import Door, admit
from turnout.service.access.shown import Shown, is_proxied
from turnout.service.app import App
from turnout.telemetry.meters import Meters

log = logging.getLogger("turnout.api")
ANSWERED = 0.5
"""Seconds for which the store's answer to one probe is that to all: everybody may ask, as often as they like."""
FRESH = 5.0
"""Seconds for which the counts of the store are taken to be right: counting many threads takes a while."""


class Probes:
    """The routes. `meters` is what was counted; `dropped` says how many entries an export had no place for."""

    def __init__(self, app: App, door: Door, meters: Meters, dropped: Callable[[], int]) -> None:
        self._app = app
        self._door = door
        self._meters = meters
        self._dropped = dropped
        self._told: dict[str, dict[str, str]] = {}
        self._asked: tuple[float, asyncio.Task[str]] | None = None
        self._seen: tuple[float, tuple[Census, dict[str, int]]] | None = None

    def routes(self) -> list[Route]:
        """For the server's own paths, beside the API's."""
        return [
            Route("/healthz", self.alive, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def alive(self, request: Request) -> Response:
        return self._said(request, health.alive(self._app))

    async def ready(self, request: Request) -> Response:
        return self._said(request, health.ready(self._app, await self._store()))

    async def metrics(self, request: Request) -> Response:
        try:
            who = await self._caller(request)
            admit(self._app, who, "view")
            if who.tenant is not None:
                raise RightMissing(
                    "metrics are of the whole store; that takes a token that is not of one tenant"
                )
            census, outbox = await self._standing()
        except TurnoutError as error:
            return problems.answer(problems.problem_of(error))
        body, kind = self._meters.render(request.headers.get("accept", ""), census, outbox, self._dropped())
        return Response(body, media_type=None, headers={"content-type": kind, "cache-control": "no-store"})

    async def _caller(self, request: Request) -> Caller:
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        headers = request.headers
        shown = Shown(
            bearer=secret.strip() if kind.lower() == "bearer" else "", cookie=request.cookies.get(sessions.COOKIE, ""),
            changes=False, host=headers.get("host", ""), origin=headers.get("origin", ""),
            site=headers.get("sec-fetch-site", ""), proxied=is_proxied(headers),
        )  # fmt: skip
        found = await self._door.caller(shown)
        request.state.came_in = shown.secret
        return found

    def _said(self, request: Request, found: health.Health) -> Response:
        """What is wrong, which may name the store, is for the log: a line when other parts are unwell than before."""
        parts = {part: "ok" if said == "ok" else "unwell" for part, said in found.parts.items()}
        path = request.url.path
        if parts != self._told.get(path):
            self._told[path] = parts
            wrong = [f"{part}: {said}" for part, said in found.parts.items() if said != "ok"]
            if wrong:
                log.warning("%s says what is unwell: %s", path, "; ".join(wrong))
        content = {"status": "ok" if found.ok else "unwell", "parts": parts}
        return JSONResponse(content, 200 if found.ok else 503, {"cache-control": "no-store"})

    async def _store(self) -> str:
        """How the store is. It is asked once for all who ask meanwhile."""
        now = time.monotonic()
        if self._asked is None or (self._asked[1].done() and now - self._asked[0] > ANSWERED):
            self._asked = now, asyncio.ensure_future(health.store(self._app))
        return await asyncio.shield(self._asked[1])

    async def _standing(self) -> tuple[Census, dict[str, int]]:
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] > FRESH:
            self._seen = (now, await health.standing(self._app))
        return self._seen[1]
