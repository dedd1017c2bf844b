"""The client: what the app gives, over HTTP, with the same methods, the same classes and the same errors."""

import asyncio
import dataclasses
import inspect
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.api.conftest import Served, served
from tests.api.desk import GRAPHS, PAID, Refund

from turnout import (
    App,
    Cancelled,
    Failed,
    Finished,
    Paused,
    approve,
    connect,
    connect_sync,
    edit,
    errors,
    reject,
)
from turnout.client import wire
from turnout.client.remote import Remote
from turnout.client.wire import _ERRORS, error_of, lines
from turnout.core.entries import Entry
from turnout.core.notices import Rules, Terms
from turnout.errors import (
    DecisionNotAllowed,
    InputInvalid,
    KeyReused,
    ReviewClosed,
    ReviewStale,
    RightMissing,
    ServiceUnavailable,
    SettingsInvalid,
    SignInNeeded,
    TurnoutError,
    UnknownEntry,
    UnknownGraph,
    UnknownNotice,
    UnknownReview,
    UnknownRun,
    UnknownSchedule,
    UnknownThread,
    UsageError,
)
from turnout.service.report import as_data
from turnout.sync import SyncApp

INPUT = {"order": "A-17", "amount": 500}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def desk() -> AsyncIterator[Served]:
    async with served() as found:
        yield found


@pytest.fixture
async def address(desk: Served) -> AsyncIterator[str]:
    async with desk.socket() as url:
        yield url


@pytest.fixture
async def remote(address: str) -> AsyncIterator[Remote]:
    async with connect(address, graphs=GRAPHS) as found:
        yield found


def methods(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


OF_THE_SERVER = {"within", "graph"}
"""What a caller of `App` alone needs: it hands out parts of the process."""
OPEN = {"run", "export_to", "import_from"}
"""They take the options of another call, whatever these are."""


@pytest.mark.parametrize("other", [Remote, SyncApp])
def test_the_client_and_the_blocking_app_have_the_apps_methods_with_their_arguments(other: type) -> None:
    app, has = methods(App), methods(other)
    assert app.keys() - OF_THE_SERVER <= has.keys()
    for name in app.keys() - OF_THE_SERVER - OPEN:
        wanted, given = app[name].parameters, has[name].parameters
        assert wanted.keys() <= given.keys(), name
        for part in wanted:
            assert (given[part].kind, given[part].default) == (wanted[part].kind, wanted[part].default), name


def test_what_the_blocking_client_hands_on_the_client_takes() -> None:
    for name in methods(SyncApp).keys() - OPEN:
        said = methods(SyncApp)[name]
        assert said.parameters.keys() <= methods(Remote)[name].parameters.keys(), name


def test_what_the_client_has_beyond_the_app_is_about_the_server() -> None:
    assert methods(Remote).keys() - methods(App).keys() == {"me", "graph_items"}
    assert methods(SyncApp).keys() - methods(App).keys() == set()


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


async def test_a_failure_comes_with_its_error_and_a_state_whose_graph_is_not_at_hand_as_it_came(
    address: str,
) -> None:
    async with connect(address) as app:
        outcome = await app.run("talks", {"words": 2})
        assert isinstance(outcome, Finished)
        assert outcome.state.said == "done"  # type: ignore[attr-defined]
        failed = await app.run("breaks", {"words": 2})
        assert isinstance(failed, Failed)
        assert (failed.error.type, failed.error.message) == ("ValueError", "it snapped")
        assert failed.state is not None


async def test_errors_are_of_the_classes_that_the_app_raises(remote: Remote) -> None:
    await remote.run("refunds", INPUT, thread="t")
    [review] = await remote.reviews()
    asked = [
        (remote.start("nothing", {}), UnknownGraph),
        (remote.start("refunds", {"amount": "many"}), InputInvalid),
        (remote.start("refunds", {"order": "x"}, thread="with blanks"), InputInvalid),
        (remote.view("nothing"), UnknownThread),
        (remote.wait("t/9"), UnknownRun),
        (remote.state("t", at=99), UnknownEntry),
        (remote.review("rev-none"), UnknownReview),
        (remote.pause_schedule("none"), UnknownSchedule),
        (remote.resolve(review.id, approve(by="dana", shown="another")), ReviewStale),
        (remote.resolve(review.id, approve(by="dana", roles=["support"])), DecisionNotAllowed),
        (remote.resolve(review.id, edit({"amount": "many"}, by="dana")), InputInvalid),
        (remote.drain(), UsageError),
        (remote.export_to("x"), UsageError),
    ]
    for call, kind in asked:
        with pytest.raises(kind):
            await call
    await remote.start("refunds", INPUT, thread="k", idempotency_key="k")
    with pytest.raises(KeyReused):
        await remote.start("refunds", {"order": "B"}, thread="k", idempotency_key="k")
    await remote.resolve(review, reject(by="eve"))
    with pytest.raises(ReviewClosed) as caught:
        await remote.resolve(review, approve(by="dana"))
    assert caught.value.first["by"] == "eve"


async def test_a_token_decides_who_asks(desk: Served, address: str) -> None:
    viewer = await desk.token("vera", "viewer", tenant="acme")
    async with connect(address, token=viewer) as app:
        assert (await app.me()).tenant == "acme"
        with pytest.raises(RightMissing):
            await app.start("talks", {})
    async with connect(address) as app:
        with pytest.raises(SignInNeeded):
            await app.threads()


async def test_a_stream_brings_entries_and_words_and_begins_where_it_is_told(remote: Remote) -> None:
    run = await remote.start("talks", {"words": 2}, thread="t")
    await remote.wait(run)
    found: list[Any] = []
    async for event in remote.stream("t", after=0):
        found.append(event)
        if isinstance(event, Entry) and event.kind == "run.finished":
            break
    assert [one.seq for one in found if isinstance(one, Entry)] == list(range(1, len(found) + 1))
    got: list[Any] = []

    async def listen() -> None:
        async for event in remote.stream("t"):
            got.append(event)
            if isinstance(event, Entry) and event.kind == "run.finished":
                return

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(0.3)
    await remote.start("talks", {"words": 2}, thread="t")
    await asyncio.wait_for(listening, 20)
    assert [one["text"] for one in got if isinstance(one, dict)] == ["word0 ", "word1 "]


async def test_a_stream_that_the_server_ends_in_an_orderly_way_misses_nothing(
    desk: Served, remote: Remote
) -> None:
    await remote.run("waits", {}, thread="w")
    got: list[Any] = []

    async def listen() -> None:
        async for event in remote.stream("w"):
            got.append(event)
            if isinstance(event, Entry) and event.kind == "run.finished":
                return

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(0.3)
    head = len(await desk.app.entries("w"))
    desk.site.live.close()
    await asyncio.sleep(0.2)
    await desk.app.signal("w", "go", "x")
    await desk.app.wait("w/1")
    desk.site.live._closing.clear()
    await asyncio.wait_for(listening, 20)
    assert [one.seq for one in got] == list(range(head + 1, head + 1 + len(got)))


def losing(remote: Remote, monkeypatch: pytest.MonkeyPatch, end: str, meanwhile: Any) -> None:
    """Have the first answer to a path that ends so be lost, and something happen before the next request."""
    request, lost = remote._wire._http.request, []

    async def asked(method: str, path: str, **options: Any) -> httpx.Response:
        answer = await request(method, path, **options)
        if path.endswith(end) and not lost:
            lost.append(answer)
            await meanwhile()
            raise httpx.ReadError("the connection was reset")
        return answer

    monkeypatch.setattr(remote._wire._http, "request", asked)


@pytest.mark.parametrize("asked_before", [False, True])
async def test_a_cancel_whose_answer_is_lost_stops_no_later_run(
    desk: Served, remote: Remote, monkeypatch: pytest.MonkeyPatch, asked_before: bool
) -> None:
    await remote.run("waits", {}, thread="w")
    await remote.start("waits", {}, thread="w")
    if asked_before:
        await desk.app.set_aside("w", "so that no worker sees the first one yet")
        await desk.app.cancel("w")

    async def ended() -> None:
        if asked_before:
            await desk.app.take_back("w")
        assert isinstance(await desk.app.wait("w/1"), Cancelled)
        assert isinstance(await desk.app.wait("w/2"), Paused)

    losing(remote, monkeypatch, "/cancel", ended)
    assert (await remote.cancel("w")).number == 1
    assert isinstance(await remote.wait("w/2"), Paused)
    await remote.cancel("w", idempotency_key="k")
    assert (await remote.cancel("w", idempotency_key="k")).number == 2
    with pytest.raises(KeyReused):
        await remote.cancel("w", reason="another", idempotency_key="k")


async def test_a_stream_brings_texts_with_every_line_end_that_unicode_has(remote: Remote) -> None:
    order = "A\u2028B\u2029C\u0085D\x0bE\x1cF\r\nG"
    await remote.start("refunds", {"order": order}, thread="t")
    async for event in remote.stream("t", after=0):
        assert event.body.input["order"] == order
        break


async def test_lines_of_a_stream_end_where_the_standard_says_however_they_come_in() -> None:
    said = "data: one\u2028\r\n\ndata: zw\u00f6lf\r\n\r\nrest".encode()

    async def pieces(length: int) -> AsyncIterator[bytes]:
        for n in range(0, len(said), length):
            yield said[n : n + length]

    for length in range(1, len(said) + 1):
        found = [line async for line in lines(pieces(length))]
        assert found == ["data: one\u2028", "", "data: zw\u00f6lf", ""]


async def test_a_line_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LINE", 1_000)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100

    with pytest.raises(TurnoutError, match="1000 bytes"):
        [line async for line in lines(endless())]


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


async def test_a_server_that_is_not_there_is_told_after_a_while_and_a_wrong_address_at_once() -> None:
    async with connect("http://127.0.0.1:9", patience=0.3) as app:
        with pytest.raises(ServiceUnavailable, match="turnout serve"):
            await app.threads()
    with pytest.raises(SettingsInvalid):
        connect("127.0.0.1:8700")


def test_every_error_comes_back_as_the_class_that_it_was() -> None:
    for name, cls in _ERRORS.items():
        found = error_of(f'{{"type":"urn:turnout:error:{name}","detail":"what happened"}}'.encode(), 500)
        assert type(found) is cls
        assert str(found) == "what happened"
    assert set(_ERRORS.values()) == {
        cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, TurnoutError)
    }
    assert type(error_of(b"<html>Bad gateway</html>", 502)) is ServiceUnavailable


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
    with pytest.raises(InputInvalid, match="did you mean 'waiting'"):
        await remote.outbox(status="waitin")
    [entry, *_] = await desk.app.entries("t")
    assert entry.body.traceparent == TRACE


async def test_a_named_notice_is_not_asked_for_twice_when_the_answer_is_lost(
    desk: Served, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = desk.app.store
    store.notices = lambda: Rules((Terms("hook"),))
    await desk.app.wait(await remote.start("refunds", INPUT, thread="t"))
    [row] = await remote.outbox()

    async def sent() -> None:
        now = desk.app.clock.now()
        [held] = await store.claim_outbox("w", "hook", now, now + 1, 1)
        await store.settle_outbox(dataclasses.replace(held, status="sent", settled_at=now), "w")

    losing(remote, monkeypatch, "/resend", sent)
    with pytest.raises(ServiceUnavailable):
        await remote.resend(row.id)
    assert [one.status for one in await remote.outbox()] == ["sent"]
