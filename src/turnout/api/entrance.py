"""Who asks: the caller of a request, and the app as they may use it, as a route declares what right it needs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from turnout.errors import RightMissing
from turnout.service.access import sessions
from turnout.service.access.caller import Caller, Right
from turnout.service.access.door import Door, admit
from turnout.service.app import App
from turnout.service.serving import Serve

CSRF = "X-CSRF-Token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})

_bearer = HTTPBearer(
    auto_error=False, scheme_name="token", description="An API token, or one of the OIDC provider's."
)
_cookie = APIKeyCookie(name=sessions.COOKIE, auto_error=False, scheme_name="session")


@dataclass(frozen=True)
class Admitted:
    """A caller who may do what the route does. `app` is the app as they have it."""

    app: App
    caller: Caller
    serve: Serve

    def by(self, said: str = "") -> str:
        """Under which name something is done: the caller's own, unless nobody had to sign in."""
        if not self.caller.named:
            return said or self.caller.who
        if said and said != self.caller.who:
            raise RightMissing(f"you are signed in as {self.caller.who} and can't do this as {said}")
        return self.caller.who


async def caller(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    cookie: Annotated[str | None, Security(_cookie)],
) -> Caller:
    """Who asks. Raises `SignInNeeded`, or `RightMissing` when a page of somebody else's sends the request."""
    request.state.shown = (bearer.credentials if bearer is not None else "", cookie or "")
    return await known(request)


async def known(request: Request) -> Caller:
    """Who asks, by what they have shown; asked again while a stream lasts. Raises as `caller` does."""
    door: Door = request.app.state.door
    bearer, cookie = request.state.shown
    if bearer:
        return await door.bearer(bearer)
    if cookie:
        found = await door.session(cookie)
        if request.method not in SAFE:
            sessions.check_csrf(cookie, request.headers.get(CSRF, ""))
        return found
    found = await door.nobody()
    _check_local(request)
    return found


def _check_local(request: Request) -> None:
    """Where nobody signs in, a page of another site must not be able to make the browser ask for it: neither under a name
    of its own that leads here, nor across sites."""
    host = re.sub(r":\d*$", "", request.headers.get("host", ""))
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin", "")
    if host not in LOCAL or site not in ("none", "same-origin"):
        raise RightMissing("without a token only pages and programs of this machine are served")
    if origin and origin.partition("://")[2] != request.headers.get("host", ""):
        raise RightMissing("without a token only pages and programs of this machine are served")


def may(right: Right) -> Callable[..., Awaitable[Admitted]]:
    """The dependency of a route that needs `right`."""

    async def admitted(request: Request, who: Annotated[Caller, Depends(caller)]) -> Admitted:
        state: Any = request.app.state
        return Admitted(admit(state.app, who, right), who, state.serve)

    admitted.right = right  # type: ignore[attr-defined]
    return admitted


Viewing = Annotated[Admitted, Depends(may("view"))]
Operating = Annotated[Admitted, Depends(may("operate"))]
Deciding = Annotated[Admitted, Depends(may("decide"))]
Administering = Annotated[Admitted, Depends(may("administer"))]
