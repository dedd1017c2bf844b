"""Sessions: what a browser holds after somebody has signed in, and what protects it from forged requests."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from turnout.core.entries import Micros
from turnout.errors import RightMissing
from turnout.ports.clock import at as moment
from turnout.ports.rows import TokenRow
from turnout.ports.store import Store
from turnout.service.access import tokens
from turnout.service.access.caller import Caller

COOKIE = "turnout_session"
"""The cookie's name: HttpOnly, SameSite=Strict, and Secure where the page is (https)."""
PREFIX = "ts"


@dataclass(frozen=True)
class Session:
    """A session: `secret` goes into the cookie, `csrf` into every form and every request that changes something."""

    secret: str
    csrf: str
    caller: Caller
    expires_at: datetime


async def begin(store: Store, now: Micros, caller: Caller, parent: str, ends: Micros) -> Session:
    """Sign somebody in until `ends`. `parent` is the API token that was shown ("": it was another one)."""
    name = secrets.token_hex(8)
    secret, digest = tokens.new_secret(PREFIX, name)
    row = TokenRow(
        token=name, kind="session", digest=digest, who=caller.who, roles=",".join(caller.roles),
        review_roles=",".join(filter(tokens.is_review_role, caller.review_roles or ())), tenant=caller.tenant, how=f"session ({caller.how})",
        created_at=now, expires_at=ends, parent=parent,
    )  # fmt: skip
    await store.put_token(row)
    await store.forget_sessions(now)
    return Session(secret, csrf_of(secret), tokens.caller_of(row), moment(ends))


async def find(store: Store, now: Micros, secret: str) -> Caller:
    """Whose session it is. Raises `SignInNeeded`, also when the token that it came from holds no more."""
    row = await tokens.find(store, now, secret, "session", PREFIX)
    if row.parent:
        above = await store.tokens(token=row.parent)
        if not above or above[0].revoked_at is not None:
            await store.revoke_token(row.token, now)
            row = await tokens.find(store, now, secret, "session", PREFIX)
    return tokens.caller_of(row)


async def end(store: Store, now: Micros, secret: str) -> None:
    """Sign out. A session that is over already is as good."""
    name = tokens.name_in(secret, PREFIX)
    rows = await store.tokens(token=name, kind="session") if name else []
    if rows and hmac.compare_digest(rows[0].digest, tokens.digest_of(secret)):
        await store.revoke_token(name, now)


def csrf_of(secret: str) -> str:
    """What a page of the session sends along. Who can't read the cookie can't make it."""
    return hashlib.sha256(f"csrf:{secret}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def check_csrf(secret: str, given: str) -> None:
    """Raises `RightMissing` when a request that changes something doesn't come from a page of the session."""
    if not hmac.compare_digest(csrf_of(secret).encode(), given.encode("utf-8", "replace")):
        raise RightMissing("this request doesn't come from a page of this session; load the page again")
