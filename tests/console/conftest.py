"""A served app with the console: without a socket for what a page says, with one for a browser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from tests.console.desk import GRAPHS, MODELS

from turnout.service.access import tokens
from turnout.service.access.door import Door
from turnout.service.app import App
from turnout.service.serving import Serve
from turnout.settings import Settings
from turnout.tables import Tables
from turnout.testing import open_test_app
from turnout.wiring import Site, serve_app

HERE = Path(__file__).parent
BASE = "http://localhost:8700"
ROOMY = Serve(rate=100_000, burst=100_000)


class Page(HTMLParser):
    """What a page is made of: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.text += (
            " "
            if tag in ("td", "th", "dt", "dd", "li", "p", "div", "summary", "small", "h1", "h2", "h3", "h4")
            else ""
        )

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        """The form's elements of that name."""
        return [attrs for _, attrs in self.elements if attrs.get("name") == name]

    def said(self) -> str:
        """The text, with single blanks."""
        return re.sub(r"\s+", " ", self.text)


class Visitor:
    """Somebody with a browser: keeps cookies, and sends with each form what the page had in it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str, status: int = 200) -> Page:
        answer = await self.client.get(path)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:2000])
        return Page(answer.text)

    async def post(
        self, path: str, form: dict[str, Any], *, seen: str = "", **headers: str
    ) -> httpx.Response:
        """Send a form from the page `seen` (else the one it is sent to)."""
        page = Page((await self.client.get(seen or path)).text)
        marks = page.named("csrf")
        return await self.client.post(
            path, data={"csrf": marks[0]["value"] if marks else "", **form}, headers=headers
        )


@dataclass
class Served:
    """The app and the console over it."""

    app: App
    door: Door
    site: Site

    @contextlib.asynccontextmanager
    async def visitor(self, token: str = "") -> AsyncIterator[Visitor]:
        transport = httpx.ASGITransport(app=self.site.web)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            if token:
                answer = await client.post("/sign-in", data={"token": token, "next": "/threads"})
                assert answer.status_code == 303, answer.text
            yield Visitor(client)

    async def token(
        self, who: str, *roles: str, review_roles: tuple[str, ...] = (), tenant: str | None = None
    ) -> str:
        now = self.app.clock.now()
        made = await tokens.create(self.app.store, now, who, roles, review_roles=review_roles, tenant=tenant)
        return made.secret

    async def rest(self, *threads: str) -> None:
        """Until these threads' runs have ended or wait for somebody."""
        for thread in threads:
            await self.app.wait(f"{thread}/1", timeout=20)

    async def paused(self, thread: str, amount: int = 900) -> Any:
        """A refund that waits for finance: its review."""
        await self.app.start("refunds", {"order": f"A-{amount}"}, thread=thread, by="shop")
        await self.rest(thread)
        [review] = await self.app.reviews(thread=thread)
        return review


@contextlib.asynccontextmanager
async def serving(store: str = "sqlite://", **more: Any) -> AsyncIterator[Served]:
    usual = {"graphs": GRAPHS, "models": MODELS, "settings": Settings(signing_key="17" * 32)}
    async with open_test_app(store, **{**usual, **more}) as app:
        door = Door(app.store, app.clock, None, None, loopback=True)
        site = serve_app(app, door, Tables(serve=ROOMY))
        try:
            yield Served(app, door, site)
        finally:
            site.live.close()


@pytest.fixture
async def desk() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


@contextlib.asynccontextmanager
async def listening(site: Site) -> AsyncIterator[str]:
    """The site at an address of this machine."""
    with contextlib.closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(site.web, lifespan="off", log_level="warning", access_log=False)
        )
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        serving = asyncio.ensure_future(server.serve([bound]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


def browser_or_skip() -> str:
    """Debian's Chromium. Where TURNOUT_BROWSER says `required`, as in CI, a missing one is a failure."""
    found = shutil.which("chromium")
    if found is None:
        said = "this needs a browser: `apt-get install chromium`"
        if os.environ.get("TURNOUT_BROWSER") == "required":
            pytest.fail(said)
        pytest.skip(said)
    return found


def axe_or_skip() -> str:
    """axe-core's source, which a page is checked with."""
    path = HERE / "node_modules/axe-core/axe.min.js"
    if not path.exists():
        said = "axe-core is an npm package: this needs `npm ci --prefix tests/console`"
        if os.environ.get("TURNOUT_BROWSER") == "required":
            pytest.fail(said)
        pytest.skip(said)
    return path.read_text(encoding="utf-8")
