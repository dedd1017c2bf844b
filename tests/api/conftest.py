"""A served app: a store, a door with tokens, and clients that knock."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
import uvicorn
from tests.api.desk import GRAPHS

from turnout import connect
from turnout.client.remote import Remote
from turnout.core.graph import Graph
from turnout.service.access import tokens
from turnout.service.access.door import Door
from turnout.service.app import App
from turnout.service.serving import Serve
from turnout.settings import Settings
from turnout.tables import Tables
from turnout.testing import open_test_app
from turnout.wiring import Site, serve_app

BASE = "http://localhost:8700/api/v1"


@dataclasses.dataclass
class Served:
    """An app, served without a socket."""

    app: App
    door: Door
    site: Site

    @contextlib.asynccontextmanager
    async def client(self, secret: str = "", **more: Any) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        transport = httpx.ASGITransport(app=self.site.web, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url=BASE, headers=headers | more.pop("headers", {}), **more
        ) as client:
            yield client

    async def token(
        self, who: str, *roles: str, review_roles: tuple[str, ...] = (), tenant: str | None = None
    ) -> str:
        now = self.app.clock.now()
        made = await tokens.create(self.app.store, now, who, roles, review_roles=review_roles, tenant=tenant)
        return made.secret

    @contextlib.asynccontextmanager
    async def socket(self) -> AsyncIterator[str]:
        """The same on a real socket; its address."""
        config = uvicorn.Config(
            self.site.web, lifespan="off", log_level="critical", port=0, timeout_graceful_shutdown=1
        )
        server = Server(config)
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            self.site.live.close()
            server.should_exit = True
            await serving


class Server(uvicorn.Server):
    """Leaves the signals to pytest."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


@contextlib.asynccontextmanager
async def served(
    store: Any = "sqlite://", *, graphs: Sequence[Graph] = GRAPHS, serve: Serve | None = None, provider: Any = None,
    **more: Any,
) -> AsyncIterator[Served]:  # fmt: skip
    settings = Settings(signing_key="17" * 32)
    async with open_test_app(store, graphs=graphs, settings=settings, **more) as app:
        door = Door(app.store, app.clock, None, provider, loopback=True)
        roomy = serve or Serve(rate=100_000, burst=100_000)
        site = serve_app(app, door, Tables(serve=roomy))
        try:
            yield Served(app, door, site)
        finally:
            site.live.close()


@pytest.fixture
async def open_desk() -> AsyncIterator[Served]:
    """Nobody has to sign in."""
    async with served() as found:
        yield found


@pytest.fixture
async def http(open_desk: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with open_desk.client() as client:
        yield client


@pytest.fixture
async def desk(open_desk: Served) -> Served:
    """What `address` and `remote` lead to; a module may serve another."""
    return open_desk


@pytest.fixture
async def address(desk: Served) -> AsyncIterator[str]:
    """The desk on a real socket."""
    async with desk.socket() as url:
        yield url


@pytest.fixture
async def remote(address: str) -> AsyncIterator[Remote]:
    """A client of it."""
    async with connect(address, graphs=GRAPHS) as found:
        yield found
