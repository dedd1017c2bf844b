"""The door: who comes in, with what, and the app as they may use it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from turnout.core.entries import Micros
from turnout.errors import SettingsInvalid, SignInNeeded
from turnout.ports.clock import Clock
from turnout.ports.store import Store
from turnout.service.access import sessions, tokens
from turnout.service.access.caller import ANYBODY, Caller, Right
from turnout.service.access.schema import Access
from turnout.service.access.sessions import Session
from turnout.service.access.shown import Shown, is_loopback_url
from turnout.service.app import App

LATE = 10_000
"""Microseconds after its end at which somebody is told of it: a timer's clock is not quite the one that ends are told by."""


class Provider(Protocol):
    """Who else signs people in."""

    async def caller(self, token: str) -> tuple[Caller, Micros]:
        """Who a bearer token speaks of, and until when. Raises `SignInNeeded`."""


class Door:
    """Lets callers of one store in."""

    def __init__(
        self, store: Store, clock: Clock, settings: Access | None = None, provider: Provider | None = None, *,
        loopback: bool = False, url: str = "",
    ) -> None:  # fmt: skip
        """`loopback`: nobody but this machine can knock; then anybody comes in until a first token is made. Unless `url`,
        where people reach it, is another address: then a proxy lets them knock."""
        self._store = store
        self._clock = clock
        self._settings = settings or Access()
        self._provider = provider
        self._url = url if url and not is_loopback_url(url) else ""
        self._loopback = loopback and not self._url
        self._locked = provider is not None or not self._loopback
        self._inside: set[asyncio.Event] = set()

    async def open_to_all(self) -> bool:
        """Does anybody come in without a token? A token that was revoked has locked the door, too."""
        if not self._locked:
            self._locked = bool(await self._store.tokens(kind="token", limit=1))
        return not self._locked

    async def check(self) -> None:
        """Before the address is bound: can anybody come in who should, and nobody else? Raises `SettingsInvalid`."""
        if (
            self._provider is None
            and not self._loopback
            and not await self._store.tokens(kind="token", limit=1)
        ):
            way = f"at {self._url} (`url` in [serve])" if self._url else "from the network"
            other = "leave `url` out" if self._url else "serve on 127.0.0.1"
            raise SettingsInvalid(
                f"no token was made yet, so anybody could come in {way}; make one with "
                f"`turnout token create NAME --role admin`, or {other}"
            )

    async def caller(self, shown: Shown) -> Caller:
        """Who sends a request. Raises `SignInNeeded`, or `RightMissing` when another site's page has sent it."""
        if shown.bearer:
            found, _, _ = await self._known(shown.bearer)
            return found
        if shown.cookie:
            found = await self.session(shown.cookie)
            if shown.changes:
                sessions.check_csrf(shown.cookie, shown.csrf)
            return found
        found = await self.nobody()
        shown.check_local()
        return found

    async def session(self, secret: str) -> Caller:
        """Whose session cookie it is. Raises `SignInNeeded`."""
        return await sessions.find(self._store, self._clock.now(), secret)

    async def nobody(self) -> Caller:
        """Who comes with nothing at all; from this machine alone, which `Shown.check_local` sees to. Raises `SignInNeeded`."""
        if await self.open_to_all():
            return ANYBODY
        raise SignInNeeded(
            "sign in: send a token (Authorization: Bearer ...); `turnout token create` makes one"
        )

    async def sign_in(self, secret: str) -> Session:
        """A session for who shows a token. It ends with the token, at the latest. Raises `SignInNeeded`."""
        caller, parent, until = await self._known(secret)
        now = self._clock.now()
        ends = now + int(self._settings.session * 1_000_000)
        return await sessions.begin(
            self._store, now, caller, parent, ends if until is None else min(ends, until)
        )

    async def sign_out(self, secret: str) -> None:
        """End a session."""
        await sessions.end(self._store, self._clock.now(), secret)
        self.changed()

    def changed(self) -> None:
        """Somebody who is inside may have no right to be there any more: all are told to show again what they came in with."""
        for told in self._inside:
            told.set()

    @contextlib.contextmanager
    def inside(self, until: Micros | None) -> Iterator[asyncio.Event]:
        """What tells somebody who stays longer that they should show it again: set when they were let in `until` now, and by
        `changed` in this process. Of what others take back it doesn't hear."""
        told = asyncio.Event()
        timer = self._clock.call_at(until + LATE, told.set) if until is not None else None
        self._inside.add(told)
        try:
            yield told
        finally:
            self._inside.discard(told)
            if timer is not None:
                timer.cancel()

    async def _known(self, secret: str) -> tuple[Caller, str, Micros | None]:
        """Who it is, by which API token ("" if it is the provider's), and until when."""
        if self._provider is not None and not secret.startswith(f"{tokens.PREFIX}_"):
            caller, until = await self._provider.caller(secret)
            return replace(caller, until=until), "", until
        row = await tokens.find(self._store, self._clock.now(), secret, "token", tokens.PREFIX)
        return tokens.caller_of(row), row.token, row.expires_at


def admit(app: App, caller: Caller, right: Right) -> App:
    """The app as the caller may use it: of their tenant alone, if they have one. Raises `RightMissing`."""
    caller.need(right)
    return app.within(caller.tenant) if caller.tenant is not None else app
