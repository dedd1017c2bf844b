"""Tenants and priorities: who a thread belongs to, and how urgent its runs are."""

import asyncio
from typing import Any

import pytest
from tests.unit.runs import Work, chain, proven, until

from turnout import App, Context, Finished, Graph, Paused, approve
from turnout.core import canon
from turnout.errors import InputInvalid
from turnout.testing import open_test_app


async def asks(state: Work, ctx: Context) -> dict[str, Any]:
    return {"log": [(await ctx.review("Go on?")).decision]}


async def nothing(state: Work, ctx: Context) -> dict[str, Any]:
    return {}


def with_child() -> list[Graph]:
    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": (await ctx.run("child", {}))["log"]}

    return [chain(parent), chain(asks, name="child")]


async def row(app: App, thread: str = "t") -> tuple[str, int]:
    found = await app.store.thread(thread)
    assert found is not None
    return found.tenant, found.priority


async def test_a_thread_belongs_to_the_tenant_of_its_first_input_for_life() -> None:
    async with open_test_app(graphs=[chain(nothing)]) as app:
        assert isinstance(await app.run("g", {}, thread="t", tenant="acme", priority=7), Finished)
        for other in ("globex", ""):
            with pytest.raises(InputInvalid, match="belongs to tenant 'acme'"):
                await app.start("g", {}, thread="t", tenant=other)
        assert isinstance(await app.run("g", {}, thread="t", tenant="acme"), Finished)
        assert isinstance(await app.run("g", {}, thread="u"), Finished)
        with pytest.raises(InputInvalid, match="belongs to no tenant"):
            await app.start("g", {}, thread="u", tenant="acme")
        assert [t.thread for t in await app.threads(tenant="acme")] == ["t"]
        report = await app.explain("t")
        assert (report.tenant, [run.priority for run in report.runs]) == ("acme", [7, 0])
        await proven(app)


async def test_a_thread_is_as_urgent_as_its_active_run_then_as_the_next_one() -> None:
    async with open_test_app(graphs=[chain(asks)]) as app:
        first = await app.start("g", {}, thread="t", priority=3)
        assert isinstance(await app.wait(first), Paused)
        second = await app.start("g", {}, thread="t", priority=-8)
        assert await row(app) == ("", 3)
        await app.resolve("t", approve(by="dana"))
        assert isinstance(await app.wait(first), Finished)
        assert isinstance(await app.wait(second), Paused)
        assert await row(app) == ("", -8)
        await proven(app)


async def test_an_input_that_waits_gives_its_priority_to_the_thread() -> None:
    async with open_test_app(graphs=[chain(nothing)], work=False) as app:
        await app.start("g", {}, thread="t", priority=3)
        await app.start("g", {}, thread="t", priority=5)
        assert await row(app) == ("", 3)
        assert (await app.explain("t")).priority == 3


async def test_a_child_has_the_tenant_and_the_priority_of_its_parent() -> None:
    async with open_test_app(graphs=with_child()) as app:
        run = await app.start("g", {}, thread="t", tenant="acme", priority=12)
        paused = await app.wait(run)
        assert isinstance(paused, Paused)
        assert await row(app, paused.reviews[0].thread) == ("acme", 12)
        await app.resolve(paused.reviews[0], approve(by="dana"))
        assert isinstance(await app.wait(run), Finished)
        await proven(app)
        await proven(app, paused.reviews[0].thread)


async def test_a_fork_keeps_both() -> None:
    async with open_test_app(graphs=[chain(asks)]) as app:
        assert isinstance(await app.run("g", {}, thread="t", tenant="acme", priority=12), Paused)
        fork = await app.fork("t", name="u")
        assert await row(app, "u") == ("acme", 12)
        assert isinstance(await app.wait(fork), Paused)
        assert await row(app, "u") == ("acme", 12)
        await proven(app, "u")


async def test_an_idempotency_key_is_a_tenant_s_own() -> None:
    async with open_test_app(graphs=[chain(nothing)]) as app:
        runs = [
            await app.start("g", {}, tenant=tenant, idempotency_key="req-1")
            for tenant in ("", "acme", "globex")
        ]
        assert len({run.thread for run in runs}) == 3
        again = await app.start("g", {}, tenant="acme", idempotency_key="req-1")
        assert (again, again.new) == (runs[1], False)


@pytest.mark.parametrize("tenant", ["two words", "x" * 201, "a\n", None, 5])
async def test_what_can_not_be_a_tenant_is_refused(tenant: Any) -> None:
    async with open_test_app(graphs=[chain(nothing)], work=False) as app:
        with pytest.raises(InputInvalid, match="can't be a tenant"):
            await app.start("g", {}, thread="t", tenant=tenant)
        assert await app.threads() == []


@pytest.mark.parametrize("priority", [101, -101, 1.5, "high", True, None])
async def test_what_can_not_be_a_priority_is_refused(priority: Any) -> None:
    async with open_test_app(graphs=[chain(nothing)], work=False) as app:
        with pytest.raises(InputInvalid, match="from -100 to 100"):
            await app.start("g", {}, thread="t", priority=priority)
        assert await app.threads() == []


async def test_a_row_that_somebody_gave_to_another_tenant_is_found() -> None:
    async with open_test_app(graphs=[chain(nothing)]) as app:
        await app.run("g", {}, thread="t", tenant="acme")
        app.store._writer.db.execute("UPDATE threads SET tenant = 'globex'")  # type: ignore[attr-defined]
        assert any("tenant 'globex'" in problem for problem in (await app.verify()).problems)


async def test_views_without_tenant_and_priority_are_stored_as_before() -> None:
    async with open_test_app(graphs=[chain(asks)]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Paused)
        await app.start("g", {}, thread="t")
        view = await app.view("t")
        assert view.run is not None
        assert view.queue
        stored = canon.encode(view)
        assert b"tenant" not in stored
        assert b"priority" not in stored


async def test_a_worker_takes_the_most_urgent_run_first() -> None:
    order: list[str] = []
    gate = asyncio.Event()

    async def note(state: Work, ctx: Context) -> dict[str, Any]:
        if state.data == "first":
            await ctx.once("gate", gate.wait)
        order.append(state.data)
        return {}

    from turnout import Settings

    async with open_test_app(graphs=[chain(note)], settings=Settings(concurrency=1, turn=60)) as app:
        assert app.worker is not None
        await app.start("g", {"data": "first"}, thread="first")
        await until(lambda: app.worker.busy)  # type: ignore[union-attr]
        for name, priority in (("calm", -5), ("usual", 0), ("later", 0), ("urgent", 50)):
            await app.start("g", {"data": name}, thread=name, priority=priority)
        gate.set()
        async with asyncio.timeout(10):
            for name in ("calm", "usual", "later", "urgent"):
                assert isinstance(await app.wait(f"{name}/1"), Finished)
    assert order == ["first", "urgent", "usual", "later", "calm"]
