"""Who you are, sessions, and API tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from turnout.api.answers import answer, problems
from turnout.api.bodies import MakeToken, SignIn
from turnout.api.entrance import Administering, caller
from turnout.api.shapes import many, shape
from turnout.errors import InputInvalid
from turnout.ports.clock import micros
from turnout.service.access import sessions, tokens
from turnout.service.access.caller import Caller
from turnout.service.access.door import Door
from turnout.service.access.tokens import NewToken, Token
from turnout.service.items import Me, Opened
from turnout.service.serving import Serve

router = APIRouter(tags=["access"])
Known = Annotated[Caller, Depends(caller)]


@router.get("/me", responses={200: {"model": shape(Me)}, **problems()})
async def me(who: Known) -> Response:
    """Who you are here, and what you may do."""
    return answer(me_of(who))


def me_of(who: Caller) -> Me:
    """A caller as they are told of themselves."""
    return Me(who.who, who.roles, who.review_roles, who.tenant, who.how, tuple(sorted(who.rights)))


@router.post(
    "/session",
    status_code=201,
    responses={
        201: {"model": shape(Opened), "description": "Signed in: the session is in a cookie."},
        **problems(400, 413),
    },
)
async def sign_in(request: Request, body: SignIn) -> Response:
    """Sign in with a token: the answer sets a session cookie. Send `csrf` as X-CSRF-Token with what changes something."""
    door: Door = request.app.state.door
    session = await door.sign_in(body.token)
    made = answer(Opened(me_of(session.caller), session.csrf, session.expires_at), 201)
    made.set_cookie(
        sessions.COOKIE, session.secret, httponly=True, samesite="strict", secure=is_secure(request),
        expires=session.expires_at,
    )  # fmt: skip
    return made


def is_secure(request: Request) -> bool:
    """Do people reach us by https? A proxy in front may be the one that speaks it."""
    serve: Serve = request.app.state.serve
    return request.url.scheme == "https" or serve.url.startswith("https://")


@router.delete("/session", status_code=204, responses=problems())
async def sign_out(request: Request, who: Known) -> Response:
    """Sign out: the session counts no more."""
    door: Door = request.app.state.door
    await door.sign_out(request.cookies.get(sessions.COOKIE, ""))
    made = Response(status_code=204)
    made.delete_cookie(sessions.COOKIE, httponly=True, samesite="strict")
    return made


@router.get("/tokens", responses={200: {"model": many(Token)}, **problems()})
async def list_tokens(at: Administering) -> Response:
    """API tokens, also those that don't count any more, without their secrets."""
    return answer(await tokens.listed(at.app.store))


@router.post("/tokens", status_code=201, responses={201: {"model": shape(NewToken)}, **problems(400, 413)})
async def make_token(at: Administering, body: MakeToken) -> Response:
    """Make an API token. Its `secret` is in this answer, and nowhere else."""
    tenant = body.tenant if at.caller.tenant is None else at.caller.tenant
    if body.tenant not in (None, tenant):
        raise InputInvalid(f"you are of tenant {tenant!r}, and can't make a token for {body.tenant!r}")
    ends = micros(body.expires_at) if body.expires_at is not None else None
    made = await tokens.create(
        at.app.store, at.app.clock.now(), body.who, body.roles, review_roles=body.review_roles, tenant=tenant,
        expires_at=ends, by=at.by(),
    )  # fmt: skip
    return answer(made, 201, {"Cache-Control": "no-store"})


@router.delete("/tokens/{token:name}", responses={200: {"model": shape(Token)}, **problems(404)})
async def revoke_token(request: Request, at: Administering, token: str) -> Response:
    """Have a token, and the sessions that came from it, count no more."""
    revoked = await tokens.revoke(at.app.store, at.app.clock.now(), token)
    door: Door = request.app.state.door
    door.changed()
    return answer(revoked)
