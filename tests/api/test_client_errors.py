"""The client's errors: those that the app raises, and what is done when an answer is lost."""

import dataclasses
from typing import Any

import httpx
import pytest
from tests.api.conftest import Served
from tests.api.desk import INPUT

from turnout import Cancelled, Failed, Finished, Paused, approve, connect, edit, errors, reject
from turnout.client.remote import Remote
from turnout.client.wire import _ERRORS, error_of
from turnout.core.notices import Rules, Terms
from turnout.errors import (
    DecisionNotAllowed,
    InputInvalid,
    KeyReused,
    ReviewClosed,
    ReviewStale,
    ServiceUnavailable,
    SettingsInvalid,
    TurnoutError,
    UnknownEntry,
    UnknownGraph,
    UnknownReview,
    UnknownRun,
    UnknownSchedule,
    UnknownThread,
    UsageError,
)


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
