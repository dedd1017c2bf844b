"""ASGI: what comes in is measured before anybody works on it: how long a request is, and how many a caller makes."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from turnout.api.problems import answer, problem_of
from turnout.errors import RequestTooLarge, TooManyRequests
from turnout.service.access.sessions import COOKIE

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

    Who sends a token or a session is counted by that, else by the address. One that was refused counts for the address,
    too, and so an address that has guessed too often gets no new one in for a while; those that came in before do. It is
    each process's own count.
    """

    def __init__(self, app: ASGIApp, rate: float, burst: int) -> None:
        self._app = app
        self._rate = rate
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        shown, address = _shown(scope), f"address {scope['client'][0] if scope.get('client') else ''}"
        now = time.monotonic()
        wait = self._wait(shown or address, now)
        if shown and not wait and shown not in self._known:
            wait = self._wait(f"guesses {address}", now, take=False)
        if wait:
            error = TooManyRequests(f"more than {self._rate:g} requests a second; go on in {wait:.1f} s")
            error.retry_after = wait
            await answer(problem_of(error))(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and shown:
                self._note(shown, address, message["status"] == 401)
            await send(message)

        await self._app(scope, receive, sent)

    def _note(self, shown: str, address: str, refused: bool) -> None:
        """Somebody came in with what they have shown, or not."""
        self._known.pop(shown, None)
        if refused:
            self._wait(f"guesses {address}", time.monotonic())
            return
        self._known[shown] = None
        if len(self._known) > CALLERS:
            self._known.popitem(last=False)

    def _wait(self, caller: str, now: float, *, take: bool = True) -> float:
        """0 when a request may be made (and is counted, if it is to `take` one), else the seconds until one may."""
        left, then = self._left.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - then) * self._rate)
        able = left >= 1
        self._left[caller] = (left - 1 if able and take else left, now)
        if len(self._left) > CALLERS:
            self._left.popitem(last=False)
        return 0.0 if able else (1 - left) / self._rate


def _shown(scope: Scope) -> str:
    """What tells a caller from all others, unless nothing was shown."""
    connection = HTTPConnection(scope)
    shown = connection.headers.get("authorization") or connection.cookies.get(COOKIE)
    return hashlib.sha256(shown.encode("utf-8", "replace")).hexdigest() if shown else ""
