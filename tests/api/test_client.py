"""The client: what the app gives, over HTTP, with the same methods and the same classes."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.api.conftest import Served
from tests.api.desk import GRAPHS, INPUT, PAID, Refund, Talk, talks

from turnout import (
    END,
    App,
    Cancelled,
    Context,
    Finished,
    Graph,
    Paused,
    approve,
    connect,
    connect_sync,
    edit,
)
from turnout.client import wire
from turnout.client.remote import Remote
from turnout.core.notices import Rules, Terms
from turnout.errors import (
    InputInvalid,
    RightMissing,
    ServiceUnavailable,
    SignInNeeded,
    UnknownNotice,
    UnknownThread,
    UsageError,
)
from turnout.service.report import as_data

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_run_is_started_paused_decided_and_finished(remote: Remote) -> None:
    PAID.clear()
    run = await remote.start("refunds", INPUT, thread="case/17", idempotency_key="req-1")
    assert (await remote.start("refunds", INPUT, thread="case/17", idempotency_key="req-1")).new is False
    outcome = await remote.wait(run)
    assert isinstance(outcome, Paused)
    [review] = await remote.reviews(role="finance")
    assert review == outcome.reviews[0]
    assert isinstance(review.asked_at, datetime)
    closed = await remote.resolve(review.id, edit({"amount": 100}, by="dana", roles=["finance"]))
    assert closed.status == "edit"
    outcome = await remote.wait("case/17/1")
    assert outcome == Finished(Refund(order="A-17", amount=100, notes=["edit"], receipt="R-A-17-100"))
    assert len(PAID) == 1


async def test_all_that_can_be_read_is_what_the_app_says(desk: Served, remote: Remote) -> None:
    app = desk.app
    await app.wait(await app.start("refunds", INPUT, thread="t"))
    await app.resolve((await app.reviews())[0], approve(by="dana"))
    await app.wait("t/1")
    await app.wait(await app.start("refunds", INPUT, thread="u", tenant="acme", priority=7))
    await app.schedule("nightly", "refunds", INPUT, cron="@daily", by="eve")
    await app.limit("tenant", "acme", 5)
    assert await remote.standing("t/1") == await app.standing("t/1")
    assert await remote.threads() == await app.threads()
    assert await remote.threads(after="t", limit=1) == await app.threads(after="t", limit=1)
    assert await remote.reviews(status="") == await app.reviews(status="")
    assert await remote.review("u") == await app.review("u")
    assert await remote.view("t") == await app.view("t")
    assert await remote.state("t", at=3) == await app.state("t", at=3)
    assert await remote.explain("t") == await app.explain("t")
    assert await remote.schedules() == await app.schedules()
    assert await remote.limits() == await app.limits()
    assert await remote.workers() == await app.workers()
    for mine, theirs in zip(await remote.entries("t"), await app.entries("t"), strict=True):
        assert (mine.seq, mine.digest, mine.at, mine.body) == (
            theirs.seq,
            theirs.digest,
            theirs.at,
            theirs.body,
        )
    assert len(await remote.entries("t", after=2, upto=4)) == 2
    mine, theirs = await remote.replay("t"), await app.replay("t")
    assert (mine.identical, mine.entries, mine.recorded) == (
        theirs.identical,
        theirs.entries,
        theirs.recorded,
    )
    assert as_data(await remote.whatif("t")) == as_data(await app.whatif("t"))
    assert await remote.check_in_flight() == await app.check_in_flight()
    assert await remote.verify() == await app.verify()
    head = await remote.head()
    assert (await remote.verify(against=head)).ok
    assert (await remote.verify("t", against=await remote.head("t"))).ok
    assert [item.name for item in await remote.graph_items()] == ["breaks", "refunds", "talks", "waits"]


async def test_a_whatif_under_a_version_that_the_server_does_not_have_is_refused(
    desk: Served, remote: Remote
) -> None:
    """The server answered "same", by its own version."""
    await desk.app.run("talks", {}, thread="t")
    other = Graph("talks", state=Talk)

    @other.node
    async def talk(state: Talk, ctx: Context) -> dict:
        return {"said": "something else"}

    other.start(talk)
    other.edge(talk, END)
    with pytest.raises(
        UsageError, match=f"{other.label}, and the server has {talks.label}.* needs the store itself"
    ):
        await remote.whatif("t", other)
    assert (await remote.whatif("t", talks)).same  # that one is the server's, too
    assert (await remote.whatif("t", "talks")).same


async def test_a_look_at_whole_journals_may_take_long(
    remote: Remote, desk: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended as if the server couldn't be reached, and its message asked whether that was running."""
    await desk.app.run("talks", {}, thread="t")
    monkeypatch.setattr(wire, "SLOW", 0.2)
    remote._wire._patience = 0.2

    def slowly(method: str) -> None:
        really = getattr(App, method)

        async def slow(self: App, *args: Any, **more: Any) -> Any:
            await asyncio.sleep(0.5)
            return await really(self, *args, **more)

        monkeypatch.setattr(App, method, slow)

    for method in ("verify", "replay", "whatif", "backtest", "check_in_flight", "head", "state"):
        slowly(method)
    assert (await remote.verify()).ok
    assert (await remote.replay("t")).identical
    assert (await remote.whatif("t")).gap is None
    assert (await remote.backtest({"a.cedar": "permit(principal, action, resource);"})).threads == 1
    assert await remote.check_in_flight() == []
    assert await remote.head("t")
    with pytest.raises(ServiceUnavailable, match=r"no answer within 0\.2 s"):
        await remote.state("t")


async def test_a_part_of_a_second_is_waited_for_too(remote: Remote) -> None:
    run = await remote.start("talks", {}, at=datetime.now(UTC) + timedelta(seconds=0.3))
    assert (await remote.standing(run, wait=0.5)).outcome.status == "finished"


@pytest.mark.parametrize("wait", [float("inf"), 1e7])
async def test_a_wait_without_end_is_as_long_as_the_server_allows(remote: Remote, wait: float) -> None:
    run = await remote.start("talks", {}, at=datetime.now(UTC) + timedelta(seconds=0.3))
    assert (await remote.standing(run, wait=wait)).outcome.status == "finished"


async def test_more_runs_are_waited_for_at_once_than_a_pool_usually_has_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those beyond a hundred waited for a connection instead, for no longer than an answer may take beyond its wait."""
    monkeypatch.setattr(wire, "SLOW", 5.0)
    asked = 0
    everybody = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        if asked == 120:
            everybody.set()
        await everybody.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0, backlog=256)
    waiting = wire.Wire(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "", 0.1, verify=False)
    async with server:
        said = await asyncio.gather(*(waiting.ask("GET", "/runs", wait=10.0) for _ in range(120)))
    assert said == [b"{}"] * 120
    await waiting.close()


async def test_all_that_can_be_done_is_done(remote: Remote) -> None:
    await remote.run("waits", {}, thread="w")
    assert await remote.signal("w", "go", "now", idempotency_key="s") is True
    assert await remote.signal("w", "go", "now", idempotency_key="s") is False
    outcome = await remote.wait("w/1")
    assert isinstance(outcome, Finished)
    await remote.run("waits", {}, thread="c")
    await remote.cancel("c", by="dana", reason="enough")
    assert await remote.wait("c/1") == Cancelled("dana", "enough")
    await remote.run("waits", {}, thread="a")
    assert await remote.set_aside("a", "look first") is True
    assert await remote.take_back("a") is True
    assert await remote.take_back("a", not_imported=True) is False
    fork = await remote.fork("a", idempotency_key="f")
    assert (await remote.fork("a", idempotency_key="f")).thread == fork.thread
    at = datetime.now(UTC) + timedelta(days=1)
    assert (await remote.schedule("s", "talks", {}, at=at)).at == at
    assert (await remote.pause_schedule("s")).paused
    assert not (await remote.resume_schedule("s")).paused
    assert (await remote.drop_schedule("s")).name == "s"
    await remote.limit("graph", "talks", 3)
    await remote.limit("graph", "talks", None)
    assert await remote.limits() == []
    with pytest.raises(TimeoutError):
        await remote.wait(await remote.start("talks", {}, at=at), timeout=1.2)


async def test_a_token_decides_who_asks(desk: Served, address: str) -> None:
    viewer = await desk.token("vera", "viewer", tenant="acme")
    async with connect(address, token=viewer) as app:
        assert (await app.me()).tenant == "acme"
        with pytest.raises(RightMissing):
            await app.start("talks", {})
    async with connect(address) as app:
        with pytest.raises(SignInNeeded):
            await app.threads()


async def test_the_blocking_client_does_the_same(address: str) -> None:
    def work() -> None:
        with connect_sync(address, graphs=GRAPHS) as app:
            outcome = app.run("refunds", INPUT, thread="t")
            assert isinstance(outcome, Paused)
            app.resolve(outcome.reviews[0].id, approve(by="dana"))
            assert isinstance(app.wait("t/1"), Finished)
            assert app.explain("t").status == "finished"
            with pytest.raises(UnknownThread):
                app.view("nothing")
            with pytest.raises(UsageError):
                app.drain()

    await asyncio.to_thread(work)


async def test_the_outbox_is_read_and_sent_again(desk: Served, remote: Remote) -> None:
    desk.app.store.notices = lambda: Rules((Terms("hook"),))
    await desk.app.wait(await remote.start("refunds", INPUT, thread="t", traceparent=TRACE))
    [row] = await remote.outbox(status="waiting")
    assert [row] == await desk.app.outbox()
    assert (row.channel, row.event, row.facts["thread"]) == ("hook", "review.requested", "t")
    assert await remote.resend(row.id) == [row.id]
    assert await remote.resend() == [], "none is dead"
    with pytest.raises(UnknownNotice):
        await remote.resend("n-nothing")
    assert await remote.outbox(after=(row.created_at, row.id)) == []
    assert [one.id for one in await remote.outbox(after=(row.created_at, "n"))] == [row.id]
    with pytest.raises(InputInvalid, match="did you mean 'waiting'"):
        await remote.outbox(status="waitin")
    [entry, *_] = await desk.app.entries("t")
    assert entry.body.traceparent == TRACE
