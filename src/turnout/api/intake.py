"""ASGI: what comes in is measured before anybody works on it: how long a request is, and how many a caller makes."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from turnout.api.problems import answer, problem_of
from turnout.errors import RequestTooLarge, TooManyRequests
from turnout.ports.store import WAITS
from turnout.service.access.sessions import COOKIE

PROBES = frozenset({"/healthz", "/readyz"})
CAME_IN = "came_in"
"""In the state of a request: the token or the session that the door has let somebody in with."""
STORE = 1.5
"""Seconds that a request waits for a store that is away: whoever sent it gets to know, and can come again."""
CALLERS = 10_000
"""So many callers are counted at a time; who has been quiet longest is forgotten, and begins anew."""


class Bodies:
    """Refuses a request whose body is longer than `longest` bytes, whatever its headers say."""

    def __init__(self, app: ASGIApp, longest: int) -> None:
        self._app = app
        self._longest = longest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size = HTTPConnection(scope).headers.get("content-length", "")
        if size.isdigit() and int(size) > self._longest:
            await self._refuse(scope, receive, send)
            return
        taken, begun = 0, False

        async def measured() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._longest:
                raise _TooLong
            return message

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, measured, sent)
        except _TooLong:
            if not begun:
                await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = RequestTooLarge(f"the request is longer than {self._longest} bytes; send less at a time")
        await answer(problem_of(error))(scope, receive, send)


class _TooLong(BaseException):
    """Not an `Exception`: nobody on the way may take it for a broken request."""


class Rates:
    """Refuses what a caller asks beyond `rate` requests a second, `burst` of them at once.

    Who came in with a token or a session is counted by that, everything else by the address: so an address that has
    guessed too often gets no new one in for a while; those that came in before do. It is each process's own count. What an
    orchestrator asks is not counted: it comes from the address of everybody, where a proxy runs on the same machine.
    """

    def __init__(self, app: ASGIApp, rate: float, burst: int) -> None:
        self._app = app
        self._rate = rate
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        shown, address = _shown(scope), f"address {scope['client'][0] if scope.get('client') else ''}"
        known = shown in self._known
        wait = self._wait(shown if known else address)
        if wait:
            error = TooManyRequests(
                f"more than {self._rate:g} requests a second; go on in {max(wait, 0.1):.1f} s"
            )
            error.retry_after = wait
            await answer(problem_of(error))(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and shown:
                if _digest(state.get(CAME_IN, "")) == shown:
                    self._came_in(shown, "" if known else address)
                elif message["status"] == 401:
                    self._known.pop(shown, None)
            await send(message)

        await self._app(scope, receive, sent)

    def _came_in(self, shown: str, address: str) -> None:
        """Somebody came in with what they have shown. What was counted for the `address` until that was known is theirs."""
        self._known[shown] = None
        self._known.move_to_end(shown)
        if len(self._known) > CALLERS:
            self._known.popitem(last=False)
        if address in self._left:
            left, then = self._left[address]
            self._left[address] = (left + 1, then)
            self._wait(shown)

    def _wait(self, caller: str) -> float:
        """0 when a request may be made (and is counted), else the seconds until one may."""
        now = time.monotonic()
        left, then = self._left.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - then) * self._rate)
        able = left >= 1
        self._left[caller] = (left - 1 if able else left, now)
        if len(self._left) > CALLERS:
            self._left.popitem(last=False)
        return 0.0 if able else (1 - left) / self._rate


class Waits:
    """Has no request wait longer than `STORE` seconds for a store that is away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        before = WAITS.set(STORE)
        try:
            await self._app(scope, receive, send)
        finally:
            WAITS.reset(before)


def _shown(scope: Scope) -> str:
    """What a caller wants to come in with, unless nothing was shown."""
    connection = HTTPConnection(scope)
    kind, _, secret = connection.headers.get("authorization", "").partition(" ")
    return _digest(secret.strip() if kind.lower() == "bearer" else connection.cookies.get(COOKIE, ""))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest() if secret else ""
