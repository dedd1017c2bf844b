"""API tokens: made, shown once, listed, revoked. The store has the digest of the secret alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from turnout.core.entries import Micros
from turnout.errors import InputInvalid, SignInNeeded, UnknownToken
from turnout.ports.clock import at as moment
from turnout.ports.rows import TokenRow
from turnout.ports.store import Store
from turnout.service.access.caller import ROLES, Caller
from turnout.service.inputs import check_name, check_text

PREFIX = "tt"
"""What every token begins with, so that scanners for leaked secrets know one."""


@dataclass(frozen=True)
class Token:
    """A token as people see it. `tenant` None: it opens all tenants' threads."""

    id: str
    who: str
    roles: tuple[str, ...]
    review_roles: tuple[str, ...]
    tenant: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    by: str


@dataclass(frozen=True)
class NewToken:
    """A token and its `secret`, which nobody can show again."""

    token: Token
    secret: str


def new_secret(kind: str, name: str) -> tuple[str, bytes]:
    """A secret that says which token it is, and its digest."""
    secret = f"{kind}_{name}_{secrets.token_urlsafe(32)}"
    return secret, digest_of(secret)


def digest_of(secret: str) -> bytes:
    """The digest of a secret. It has 256 random bits: a slow digest would protect nothing more."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def name_in(secret: str, kind: str) -> str:
    """Which token a secret belongs to, or ""."""
    parts = secret.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == kind else ""


def token_of(row: TokenRow) -> Token:
    """A token from its row."""
    return Token(
        id=row.token, who=row.who, roles=_parts(row.roles), review_roles=_parts(row.review_roles), tenant=row.tenant,
        created_at=moment(row.created_at), expires_at=_moment(row.expires_at), revoked_at=_moment(row.revoked_at),
        by=row.by,
    )  # fmt: skip


def caller_of(row: TokenRow) -> Caller:
    """Who signs in with it."""
    return Caller(
        who=row.who, roles=_parts(row.roles), review_roles=_parts(row.review_roles), tenant=row.tenant, how=row.how,
        key=row.token, until=row.expires_at,
    )  # fmt: skip


async def create(
    store: Store, now: Micros, who: str, roles: Sequence[str], *, review_roles: Sequence[str] = (),
    tenant: str | None = None, expires_at: Micros | None = None, by: str = "",
) -> NewToken:  # fmt: skip
    """Make a token. Raises `InputInvalid`."""
    check(who, roles, review_roles, tenant)
    check_text(by, "by")
    if expires_at is not None and expires_at <= now:
        raise InputInvalid("the token would have expired already; let it expire later")
    name = secrets.token_hex(6)
    secret, digest = new_secret(PREFIX, name)
    row = TokenRow(
        token=name, kind="token", digest=digest, who=who, roles=",".join(roles), review_roles=",".join(review_roles),
        tenant=tenant, how=f"token {name}", created_at=now, expires_at=expires_at, by=by,
    )  # fmt: skip
    await store.put_token(row)
    return NewToken(token_of(row), secret)


async def listed(store: Store) -> list[Token]:
    """All tokens, also those that don't count any more, the oldest first."""
    return [token_of(row) for row in await store.tokens(kind="token")]


async def revoke(store: Store, now: Micros, token: str) -> Token:
    """Have a token, and the sessions that came from it, count no more. Raises `UnknownToken`."""
    rows = await store.tokens(token=token, kind="token") if token else []
    if not rows:
        raise UnknownToken(f"there is no token {token!r}; `turnout token list` lists them")
    await store.revoke_token(token, now)
    return token_of((await store.tokens(token=token))[0])


async def find(store: Store, now: Micros, secret: str, kind: str, prefix: str) -> TokenRow:
    """The row of a secret that holds. Raises `SignInNeeded`."""
    name = name_in(secret, prefix)
    rows = await store.tokens(token=name, kind=kind) if name and name.isascii() and name.isalnum() else []
    if not rows or not hmac.compare_digest(rows[0].digest, digest_of(secret)):
        raise SignInNeeded(f"this {kind} isn't known here; sign in with one that is")
    [row] = rows
    if row.revoked_at is not None:
        raise SignInNeeded(f"this {kind} was revoked; sign in with another one")
    if row.expires_at is not None and row.expires_at <= now:
        raise SignInNeeded(f"this {kind} has expired; sign in again")
    return row


def check(who: object, roles: Sequence[str], review_roles: Sequence[str], tenant: object) -> None:
    """Refuse what can't be a token's holder. Raises `InputInvalid`."""
    check_name(who, "a token's holder")
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise InputInvalid(
            f"{', '.join(map(repr, unknown)) or 'nothing'} is no role; a token has one or more of: {', '.join(ROLES)}"
        )
    for role in review_roles:
        check_name(role, "a review role")
        if not is_review_role(role):
            raise InputInvalid(f"{role!r} can't be a review role: it has a comma in it")
    if tenant is not None:
        check_name(tenant, "a tenant")


def is_review_role(role: str) -> bool:
    """Can a token or a session have it? They keep theirs in one text, with commas in between."""
    return bool(role) and "," not in role and role.isprintable()


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _moment(at: Micros | None) -> datetime | None:
    return moment(at) if at is not None else None
