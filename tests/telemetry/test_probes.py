"""`/healthz`, `/readyz` and `/metrics` of a server, and whether they tell the truth."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.notify.receivers import SECRET
from tests.telemetry.desk import Case, desk, policies, toml

from turnout import END, App, Context, Finished, Graph, Paused
from turnout.api import probes
from turnout.core.messages import ModelReply, Usage
from turnout.errors import StoreUnavailable
from turnout.notify.deliverer import Deliverer
from turnout.service import health
from turnout.service.access import tokens
from turnout.settings import Settings
from turnout.stores.sqlite import SqliteStore
from turnout.telemetry.exporter import Exporter
from turnout.testing import ScriptedModel, open_test_app
from turnout.wiring import open_door, serve_app

REPLY = ModelReply(text="yes", usage=Usage(input_tokens=12, output_tokens=3), model="clerk-1", cost_micros=70)
QUICK = Settings(lease=1.0, poll=0.01, sweep=0.05)


def quick() -> Graph:
    graph = Graph("quick", state=Case)

    @graph.node
    async def one(state: Any, ctx: Context) -> dict[str, Any]:
        return {}

    graph.start(one)
    graph.edge(one, END)
    return graph


@asynccontextmanager
async def serving(app: App, *, loopback: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """The server of an app that is open, as a client has it."""
    door = open_door(app, None, loopback=loopback)
    site = serve_app(app, door, None, console=False)
    transport = httpx.ASGITransport(app=site.web)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@asynccontextmanager
async def opened(store: Any = "sqlite://", **more: Any) -> AsyncIterator[tuple[App, httpx.AsyncClient]]:
    app = open_test_app(
        store, graphs=[desk(), quick()], models={"clerk": ScriptedModel(lambda request: REPLY)},
        retrievers={"policies": policies}, settings=QUICK, **more,
    )  # fmt: skip
    async with app, serving(app) as client:
        yield app, client


async def until_ready(client: httpx.AsyncClient) -> httpx.Response:
    async with asyncio.timeout(5):
        while (found := await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.02)
    return found


def samples(text: str) -> dict[str, float]:
    """What is counted, by name and labels."""
    found = (re.fullmatch(r"([^#\s][^\s]*(?:\{.*\})?) (\S+)", line) for line in text.splitlines())
    return {match[1]: float(match[2]) for match in found if match}


async def test_a_server_that_is_well_says_so() -> None:
    async with opened() as (_, client):
        assert (await until_ready(client)).json() == {
            "status": "ok", "parts": {"store": "ok", "worker": "ok", "leases": "ok"},
        }  # fmt: skip
        said = await client.get("/healthz")
        assert (said.status_code, said.json()["parts"]) == (
            200,
            {"process": "ok", "worker": "ok", "leases": "ok"},
        )
        assert said.headers["cache-control"] == "no-store"


async def test_a_server_without_a_worker_is_ready_when_its_store_is(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 's.db'}", work=False) as (_, client):
        assert (await client.get("/readyz")).json() == {"status": "ok", "parts": {"store": "ok"}}


async def test_a_store_that_is_gone_is_told_by_readiness_and_not_by_liveness(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.db"
    async with opened(f"sqlite:///{path}") as (_, client):
        await until_ready(client)
        path.rename(tmp_path / "away.db")
        await asyncio.sleep(probes.ANSWERED + 0.05)
        said = await client.get("/readyz")
        assert said.status_code == 503
        assert said.json() == {
            "status": "unwell", "parts": {"store": "unwell", "worker": said.json()["parts"]["worker"], "leases": "ok"},
        }  # fmt: skip
        assert str(tmp_path) not in said.text, "anybody may ask"
        for _ in range(3):
            await client.get("/readyz")
        [told] = [line for line in caplog.messages if "was deleted or replaced" in line and "readyz" in line]
        assert str(path) in told
        assert (await client.get("/healthz")).status_code == 200
        (tmp_path / "away.db").rename(path)
        await until_ready(client)


async def test_a_store_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent(SqliteStore):
        silent = False

        async def limits(self) -> Any:
            if self.silent:
                await asyncio.sleep(60)
            return await super().limits()

    monkeypatch.setattr(health, "PATIENCE", 0.2)
    store = Silent(":memory:")
    async with opened(store) as (_, client):
        await until_ready(client)
        store.silent = True
        await asyncio.sleep(probes.ANSWERED + 0.05)
        said = await client.get("/readyz")
        assert (said.status_code, said.json()["parts"]["store"]) == (503, "unwell")
        assert "no answer within 0.2 s" in caplog.text


async def test_the_store_is_asked_once_for_all_who_ask_whether_it_is_well() -> None:
    class Counting(SqliteStore):
        asked = 0

        async def limits(self) -> Any:
            self.asked += 1
            return await super().limits()

    store = Counting(":memory:")
    async with opened(store, work=False) as (_, client):
        many = await asyncio.gather(*(client.get("/readyz") for _ in range(50)))
        assert {said.status_code for said in many} == {200}
        assert store.asked == 1
        await asyncio.sleep(probes.ANSWERED + 0.05)
        await client.get("/readyz")
        assert store.asked == 2


async def test_a_lease_loop_that_stood_still_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as (app, client):
        await until_ready(client)
        assert app.worker is not None
        app.worker._renewed -= 1.5
        for path in ("/healthz", "/readyz"):
            said = await client.get(path)
            assert said.status_code == 503
            assert said.json()["parts"]["leases"] == "unwell"
            assert "not renewed for 1." in caplog.text
        await asyncio.sleep(0.5)
        assert (await client.get("/healthz")).status_code == 200, "it turns again"


async def test_a_worker_that_has_stopped_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as (app, client):
        await until_ready(client)
        assert app._task is not None
        app._task.cancel()
        await asyncio.sleep(0.05)
        said = await client.get("/healthz")
        assert (said.status_code, said.json()["parts"]["worker"]) == (503, "unwell")
        assert "it has stopped" in caplog.text


async def test_a_worker_that_is_about_to_end_is_alive_and_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as (app, client):
        await until_ready(client)
        await app.drain(0.1)
        assert (await client.get("/healthz")).status_code == 200
        said = await client.get("/readyz")
        assert said.status_code == 503
        assert said.json()["parts"]["worker"] == "unwell"
        assert "about to end" in caplog.text


BESIDE = """
[notify.ledger]
webhook = "http://127.0.0.1:9/nobody"
secret_env = "HOOK_SECRET"
events = ["run.finished"]
attempts = 1
timeout = 1
[telemetry]
endpoint = "http://127.0.0.1:9"
timeout = 1
interval = 60
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A turnout.toml with receivers that are not there."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    return toml(tmp_path, BESIDE)


async def told(client: httpx.AsyncClient, part: str, word: str) -> httpx.Response:
    """What readiness answers as soon as it says that of the part."""
    async with asyncio.timeout(5):
        while (found := await client.get("/readyz")).json()["parts"][part] != word:
            await asyncio.sleep(0.02)
    return found


async def serves_and_wants_a_restart(client: httpx.AsyncClient, part: str) -> None:
    """A part that has ended keeps no request away; what helps it is a restart."""
    said = await until_ready(client)
    assert said.json()["parts"][part] == "unwell"
    said = await client.get("/healthz")
    assert (said.status_code, said.json()["parts"][part]) == (503, "unwell")


async def test_a_receiver_that_is_down_makes_no_server_unready(beside: Path) -> None:
    async with opened(config=beside) as (app, client):
        await until_ready(client)
        await app.run("quick", {}, thread="done")
        async with asyncio.timeout(10):
            while not await app.outbox(status="dead"):
                await asyncio.sleep(0.02)
        for said in (await until_ready(client), await client.get("/healthz")):
            parts = said.json()["parts"]
            assert (said.status_code, parts["notices"], parts["telemetry"]) == (200, "ok", "ok")


async def test_an_outbox_that_can_not_be_read_is_told_until_it_can(
    beside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Locked(SqliteStore):
        error: Exception | None = None

        async def claim_outbox(self, *args: Any) -> Any:
            if self.error is not None:
                raise self.error
            return await super().claim_outbox(*args)

    store = Locked(":memory:")
    async with opened(store, config=beside) as (_, client):
        await until_ready(client)
        for error, words in (
            (StoreUnavailable("the outbox is locked"), "notices: the outbox is locked"),
            (RuntimeError("no more of it"), "notices: RuntimeError; the log says where"),
        ):
            store.error = error
            said = await told(client, "notices", "unwell")
            assert (said.status_code, said.json()["status"]) == (200, "ok"), "requests can be served"
            assert str(error) not in said.text
            assert words in caplog.text
            assert (await client.get("/healthz")).status_code == 200
            store.error = None
            await told(client, "notices", "ok")


async def test_what_ends_beside_the_worker_is_logged_and_told(
    beside: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: Deliverer) -> None:
        raise RuntimeError("no more of it")

    monkeypatch.setattr(Deliverer, "run", broken)
    async with opened(config=beside) as (_, client):
        await told(client, "notices", "unwell")
        await serves_and_wants_a_restart(client, "notices")
    assert "no more of it" in caplog.text
    assert "notices: it has ended" in caplog.text


async def test_telemetry_that_broke_is_logged_and_told(
    beside: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Exporter, spans: Any) -> None:
        raise RuntimeError("no more of it")

    async with opened(config=beside) as (app, client):
        await until_ready(client)
        monkeypatch.setattr(Exporter, "_send", broken)
        await app.run("quick", {}, thread="done")
        await told(client, "telemetry", "unwell")
        await serves_and_wants_a_restart(client, "telemetry")
    assert "no more of it" in caplog.text


async def test_a_thread_that_begins_again_while_its_rest_is_told_ends_no_telemetry(beside: Path) -> None:
    class Racing(set[str]):
        """One whose last item is taken by the event loop, between the look and the taking."""

        def pop(self) -> str:
            self.clear()
            return super().pop()

    async with opened(config=beside) as (app, client):
        [exporter] = [one for one in app.worker.observers if isinstance(one, Exporter)]
        exporter._late = Racing({"t"})
        async with asyncio.timeout(5):
            while exporter._late:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert exporter._thread.is_alive()
        assert (await until_ready(client)).json()["parts"]["telemetry"] == "ok"


async def test_metrics_count_what_happened_and_how_the_store_stands() -> None:
    async with opened() as (app, client):
        assert isinstance(await app.run("desk", {"how": "ask"}, thread="waits"), Paused)
        assert isinstance(await app.run("quick", {}, thread="done"), Finished)
        await app.run("quick", {}, thread="aside")
        await app.set_aside("aside", "to see")
        said = await client.get("/metrics")
        found = samples(said.text)
    assert said.headers["content-type"].startswith("text/plain")
    wanted = {
        'turnout_runs_total{graph="quick",run_status="finished"}': 2,
        'turnout_steps_total{graph="quick",node="one",step_outcome="finished"}': 2,
        'turnout_effects_total{effect="tool",effect_name="pay",graph="desk",step_outcome="landed"}': 1,
        'turnout_threads{status="waiting"}': 1,
        'turnout_threads{status="finished"}': 2,
        "turnout_threads_due": 0,
        "turnout_threads_held": 0,
        "turnout_threads_set_aside": 1,
        "turnout_reviews_open": 1,
        'turnout_outbox{status="dead"}': 0,
        "turnout_telemetry_dropped_entries": 0,
        'turnout_step_duration_seconds_count{graph="quick",node="one"}': 2,
    }
    assert {name: found.get(name) for name in wanted} == wanted
    tokens_used = {
        name: count for name, count in found.items() if name.startswith("gen_ai_client_tokens_total")
    }
    assert sorted(tokens_used.values()) == [3, 12]
    assert found["process_resident_memory_bytes"] > 0


async def test_metrics_want_a_token_as_soon_as_there_is_one(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 's.db'}") as (app, client):
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/metrics", headers={"host": "evil.example"})).status_code == 403
        made = await tokens.create(app.store, app.clock.now(), "prometheus", ["viewer"])
        narrow = await tokens.create(app.store, app.clock.now(), "acme", ["viewer"], tenant="acme")
        async with serving(app) as locked:
            assert (await locked.get("/metrics")).status_code == 401
            for secret, status in ((made.secret, 200), (narrow.secret, 403), ("nonsense", 401)):
                said = await locked.get("/metrics", headers={"authorization": f"Bearer {secret}"})
                assert said.status_code == status
            for path in ("/healthz", "/readyz"):
                assert (await locked.get(path)).status_code in (200, 503), "these are for everybody"
