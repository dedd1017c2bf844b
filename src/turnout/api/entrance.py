"""Who asks: the caller of a request, and the app as they may use it, as a route declares what right it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from turnout.core.schema import nearest
from turnout.errors import InputInvalid, RightMissing
from turnout.service.access import sessions
from turnout.service.access.caller import Caller, Right
from turnout.service.access.door import Door, admit
from turnout.service.access.shown import Shown, is_proxied
from turnout.service.app import App
from turnout.service.serving import Serve

CSRF = "X-CSRF-Token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

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
    headers = request.headers
    request.state.shown = Shown(
        bearer=bearer.credentials if bearer is not None else "", cookie=cookie or "", csrf=headers.get(CSRF, ""),
        changes=request.method not in SAFE, host=headers.get("host", ""), origin=headers.get("origin", ""),
        site=headers.get("sec-fetch-site", ""), proxied=is_proxied(headers),
    )  # fmt: skip
    found = await known(request)
    _check_asked(request)
    return found


def _check_asked(request: Request) -> None:
    """Raises `InputInvalid` for what is asked under a name that the route doesn't know: a filter that is misspelt would let
    everything through."""
    if not request.scope["query_string"]:
        return
    names = _parameters(request.scope["route"].dependant)
    for name in request.query_params:
        if name not in names:
            way = nearest(name, names) or (f"; there are {', '.join(names)}" if names else "; it takes none")
            raise InputInvalid(
                f"{request.method} {request.scope['route'].path} has no parameter {name!r}{way}"
            )


def _parameters(of: Dependant) -> list[str]:
    """The parameters of a route, with those of what it depends on."""
    return [one.alias for one in of.query_params] + [
        name for other in of.dependencies for name in _parameters(other)
    ]


async def known(request: Request) -> Caller:
    """Who asks, by what they have shown; asked again while a stream lasts. Raises as `caller` does."""
    door: Door = request.app.state.door
    found = await door.caller(request.state.shown)
    request.state.came_in = request.state.shown.secret  # for the count of what they ask
    request.state.until = found.until
    return found


def may(right: Right) -> Callable[..., Awaitable[Admitted]]:
    """The dependency of a route that needs `right`."""

    async def admitted(request: Request, who: Annotated[Caller, Depends(caller)]) -> Admitted:
        state: Any = request.app.state
        return Admitted(admit(state.app, who, right), who, state.serve)

    admitted.right = right  # type: ignore[attr-defined]
    return admitted


def whole(at: Admitted, what: str) -> Admitted:
    """Raises `RightMissing` for who belongs to one tenant: `what` is the house's."""
    if at.caller.tenant is not None:
        raise RightMissing(f"{what}: for all tenants, so that takes a token that is not of one tenant")
    return at


Viewing = Annotated[Admitted, Depends(may("view"))]
Operating = Annotated[Admitted, Depends(may("operate"))]
Deciding = Annotated[Admitted, Depends(may("decide"))]
Administering = Annotated[Admitted, Depends(may("administer"))]
