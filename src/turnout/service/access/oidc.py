"""Bearer tokens of an OIDC provider: believed when its keys signed them, for us, and they haven't expired."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx
import jwt

from turnout.core.entries import Micros
from turnout.errors import InputInvalid, RightMissing, ServiceUnavailable, SignInNeeded
from turnout.ports.clock import Clock
from turnout.service.access.caller import ROLES, Caller
from turnout.service.access.schema import Oidc
from turnout.service.access.tokens import is_review_role
from turnout.service.inputs import check_name

FRESH = 600.0
"""Seconds for which the provider's keys are not asked for again."""
AGAIN = 15.0
"""Seconds before a key that isn't known has them asked for again, or a provider that had no answer: anybody can send a token
that names one."""
PATIENCE = 5.0
"""Seconds that the provider has for an answer."""


class Provider:
    """One provider: its keys, kept for a while, and what its claims mean here."""

    def __init__(self, settings: Oidc, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._asked = -FRESH
        self._failed = ""  # how, when it was asked last and no keys are known
        self._asking = asyncio.Lock()

    async def caller(self, token: str) -> tuple[Caller, Micros]:
        """Who the token speaks of, and until when. Raises `SignInNeeded`, `RightMissing`, `ServiceUnavailable`."""
        said = self._settings
        try:
            key = await self._key(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token, key, algorithms=list(said.algorithms), audience=said.audience, issuer=said.issuer,
                leeway=said.leeway, options={"require": ["exp", "iss", "aud"], "verify_exp": False, "verify_nbf": False},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise SignInNeeded(f"the provider's token isn't believed: {error}; sign in again") from None
        ends = self._check_times(claims)
        return self._caller(claims), ends

    def _check_times(self, claims: Mapping[str, Any]) -> Micros:
        """By our own clock, as everything is. Returns when it expires."""
        now, leeway = self._clock.now() / 1_000_000, self._settings.leeway
        exp, nbf = claims["exp"], claims.get("nbf", 0)
        if not isinstance(exp, int | float) or not isinstance(nbf, int | float):
            raise SignInNeeded("the provider's token isn't believed: its times are no numbers; sign in again")
        if exp + leeway <= now or nbf - leeway > now:
            raise SignInNeeded("the provider's token has expired, or isn't valid yet; sign in again")
        return int(exp * 1_000_000)

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        said = self._settings
        who = claims.get(said.who)
        try:
            check_name(who, "a caller's name")
        except InputInvalid as error:
            raise SignInNeeded(
                f"the provider's token has no name in its claim {said.who!r}: {error}"
            ) from None
        tenant = None
        if said.tenant:
            tenant = claims.get(said.tenant)
            if not isinstance(tenant, str) or not tenant:
                raise RightMissing(
                    f"{who}'s token doesn't say which tenant it is for (claim {said.tenant!r})"
                )
        given = _texts(claims.get(said.roles))
        roles = dict.fromkeys(
            role for text in given for role in (text, *said.grants.get(text, ())) if role in ROLES
        )
        named = _texts(claims.get(said.review_roles)) if said.review_roles else ()
        review_roles = tuple(
            role for role in named if is_review_role(role)
        )  # as a session can have them, too
        assert isinstance(who, str)
        return Caller(
            who=who, roles=tuple(roles), review_roles=review_roles, tenant=tenant, how=f"oidc {said.issuer}",
            key=f"oidc:{who}",
        )  # fmt: skip

    # --- keys ----------------------------------------------------------------------------------------------------

    async def _key(self, header: Mapping[str, Any]) -> Any:
        name = str(header.get("kid", ""))
        if header.get("alg") not in self._settings.algorithms:
            raise SignInNeeded(
                f"the provider's token is signed with {header.get('alg')!r}, which isn't accepted"
            )
        age = time.monotonic() - self._asked
        if age >= FRESH or (name not in self._keys and age >= AGAIN):
            async with self._asking:
                if time.monotonic() - self._asked >= min(age, AGAIN):  # nobody was quicker
                    await self._fetch()
        if self._failed:
            raise ServiceUnavailable(self._failed)
        found = self._keys.get(name) if name else next(iter(self._keys.values()), None)
        if found is None:
            raise SignInNeeded("the provider's token is signed with a key that the provider doesn't have")
        return found

    async def _fetch(self) -> None:
        """The provider's keys as they are now. While it can't be reached, those from before count; without any, that it
        failed is remembered, or everybody would wait for its next answer in turn."""
        failed = ""
        try:
            async with httpx.AsyncClient(timeout=PATIENCE) as client:
                place = self._settings.jwks
                if not place:
                    found = await self._get(
                        client, f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                    )
                    place = str(found["jwks_uri"])
                said = await self._get(client, place)
            keys = {key.key_id or "": key for key in jwt.PyJWKSet.from_dict(said).keys}
        except (httpx.HTTPError, ValueError, KeyError, jwt.PyJWTError) as error:
            keys = self._keys
            if not keys:
                why = str(error) or type(error).__name__
                failed = f"the sign-in provider {self._settings.issuer} can't be asked for its keys: {why}"
        self._keys, self._failed, self._asked = keys, failed, time.monotonic()

    @staticmethod
    async def _get(client: httpx.AsyncClient, place: str) -> dict[str, Any]:
        answer = await client.get(place)
        answer.raise_for_status()
        found = answer.json()
        if not isinstance(found, dict):
            raise ValueError(f"{place} has no JSON object")
        return found


def _texts(claim: Any) -> tuple[str, ...]:
    """A claim that is a list of texts, or texts with blanks in between."""
    if isinstance(claim, str):
        return tuple(claim.split())
    return tuple(one for one in claim if isinstance(one, str)) if isinstance(claim, list) else ()
