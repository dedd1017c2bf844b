"""Webhooks at a real HTTP receiver: signed, tried again, dead, sent once more."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.notify.desk import QUICK, refunds, toml
from tests.notify.receivers import SECRET, Answer, Delivery, Receiver, until

from turnout import Failed, Finished, Paused, approve
from turnout.errors import SettingsInvalid, UnknownNotice
from turnout.notify.deliverer import DAY, LONGEST, pause
from turnout.notify.webhook import seconds_of
from turnout.ports.rows import OutboxRow
from turnout.stores.sqlite import SqliteStore
from turnout.testing import open_test_app

HOOK = """
[notify]
base_url = "https://turnout.example.com/"

[notify.hook]
webhook = "{url}"
secret_env = "HOOK_SECRET"
backoff = 0.05
timeout = 1
"""


def config(folder: Path, receiver: Receiver, more: str = "") -> Path:
    return toml(folder, HOOK.format(url=receiver.url) + more)


async def test_a_review_is_told_signed_with_a_link_and_without_its_payload(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    path = config(tmp_path, receiver)
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        outcome = await app.run(
            "refunds", {"order": "A-17"}, thread="case-17", by="eve", tenant="acme", priority=5
        )
        assert isinstance(outcome, Paused)
        await until_status(app, "sent")
        [review] = await app.reviews()
        [delivery] = receiver.got
        told = delivery.verified()
        assert told["type"] == "review.requested"
        assert datetime.fromisoformat(told["timestamp"]) <= datetime.now(UTC)
        data = told["data"]
        assert data["link"] == f"https://turnout.example.com/reviews/{review.id}"
        assert (data["question"], data["roles"], data["thread"], data["run"], data["graph"], data["tenant"]) == (
            "Refund this order?", ["finance"], "case-17", 1, "refunds", "acme",
        )  # fmt: skip
        assert data["notice"] == delivery.id
        assert b"DE02" not in delivery.body, "the payload stays in the journal"
        [row] = await app.outbox()
        assert (row.id, row.status, row.attempts, row.channel) == (delivery.id, "sent", 1, "hook")


async def test_a_signature_is_of_this_body_and_this_secret(
    tmp_path: Path, receiver: Receiver, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(tmp_path, receiver)
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + "B" * 32)
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "A-17"})
        await until(lambda: receiver.got)
    with pytest.raises(WebhookVerificationError):
        receiver.got[0].verified()


async def test_while_a_secret_is_replaced_both_sign(
    tmp_path: Path, receiver: Receiver, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", f"whsec_{'B' * 32} {SECRET}")
    async with open_test_app(
        store, graphs=[refunds()], settings=QUICK, config=config(tmp_path, receiver)
    ) as app:
        await app.run("refunds", {"order": "A-17"})
        await until(lambda: receiver.got)
    [delivery] = receiver.got
    delivery.verified()
    Webhook(f"whsec_{'B' * 32}").verify(delivery.body, delivery.headers)


async def test_a_receiver_that_fails_gets_the_same_notice_again_under_the_same_id(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    answers = [
        Answer(500, body="boom"),
        Answer(drop=True),
        Answer(301, {"location": "/elsewhere"}),
        Answer(404),
        Answer(),
    ]
    receiver.answer = lambda delivery, number: answers[number - 1]
    async with open_test_app(
        store, graphs=[refunds()], settings=QUICK, config=config(tmp_path, receiver)
    ) as app:
        await app.run("refunds", {"order": "A-17"})
        await until(lambda: len(receiver.got) == 5)
        await until_status(app, "sent")
        assert {delivery.id for delivery in receiver.got} == {receiver.got[0].id}
        assert {delivery.body for delivery in receiver.got} == {receiver.got[0].body}
        assert [delivery.path for delivery in receiver.got] == ["/hook"] * 5, "no redirect is followed"
        for delivery in receiver.got:
            delivery.verified()
        [row] = await app.outbox()
        assert (row.attempts, row.error) == (5, "")


async def until_status(app: object, status: str) -> None:
    async with asyncio.timeout(10):
        while not await app.outbox(status=status):  # type: ignore[attr-defined]
            await asyncio.sleep(0.02)


async def test_a_replayed_delivery_is_known_by_its_id(tmp_path: Path, receiver: Receiver, store: str) -> None:
    """The receiver takes it in and never answers: it is sent again, and whoever keeps ids does it once."""
    done: set[str] = set()

    def take(delivery: Delivery, number: int) -> Answer:
        done.add(delivery.id)
        return Answer(after=5.0) if number == 1 else Answer()

    receiver.answer = take
    async with open_test_app(
        store, graphs=[refunds()], settings=QUICK, config=config(tmp_path, receiver)
    ) as app:
        await app.run("refunds", {"order": "A-17"})
        await until_status(app, "sent")
    assert len(receiver.got) == 2
    assert len(done) == 1


async def test_a_stalling_receiver_holds_up_neither_runs_nor_other_channels(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    receiver.answer = lambda delivery, number: Answer(after=30.0)
    async with Receiver().running() as other:
        more = f'\n[notify.other]\nwebhook = "{other.url}"\nsecret_env = "HOOK_SECRET"\n'
        path = config(tmp_path, receiver, more)
        async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
            begun = time.monotonic()
            for n in range(12):
                assert isinstance(await app.run("refunds", {"order": f"A-{n}"}), Paused)
            await until(lambda: len(other.got) == 12, 5)
            assert time.monotonic() - begun < 5
            async with asyncio.timeout(5):
                while len(await app.outbox(status="sent")) < 12:
                    await asyncio.sleep(0.02)


async def test_retry_after_is_honoured(tmp_path: Path, receiver: Receiver, store: str) -> None:
    when: list[float] = []

    def busy(delivery: Delivery, number: int) -> Answer:
        when.append(time.monotonic())
        return Answer(429, {"retry-after": "1"}) if number == 1 else Answer()

    receiver.answer = busy
    async with open_test_app(
        store, graphs=[refunds()], settings=QUICK, config=config(tmp_path, receiver)
    ) as app:
        await app.run("refunds", {"order": "A-17"})
        await until_status(app, "sent")
    assert len(when) == 2
    assert when[1] - when[0] >= 1.0


async def test_what_fails_too_often_is_dead_and_can_be_sent_again(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    receiver.answer = lambda delivery, number: Answer(503, body="out to lunch")
    path = config(tmp_path, receiver, "attempts = 3\n")
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "A-17"})
        await until_status(app, "dead")
        [row] = await app.outbox(status="dead")
        assert (row.attempts, row.error) == (3, "HTTP 503: out to lunch")
        assert len(receiver.got) == 3
        receiver.answer = lambda delivery, number: Answer()
        assert await app.resend() == [row.id]
        await until_status(app, "sent")
        assert {delivery.id for delivery in receiver.got} == {row.id}
        assert await app.resend(row.id) == [row.id], "sent once more, when the receiver has lost it"
        await until(lambda: len(receiver.got) == 5)
        with pytest.raises(UnknownNotice):
            await app.resend("n-nothing")


async def test_a_receiver_that_is_gone_for_good_is_asked_once(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    receiver.answer = lambda delivery, number: Answer(410)
    async with open_test_app(
        store, graphs=[refunds()], settings=QUICK, config=config(tmp_path, receiver)
    ) as app:
        await app.run("refunds", {"order": "A-17"})
        await until_status(app, "dead")
    assert len(receiver.got) == 1


async def test_a_receiver_that_comes_back_gets_what_was_missed(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    async with Receiver().running() as gone:
        port = gone.port
    path = toml(tmp_path, HOOK.format(url=f"http://127.0.0.1:{port}/hook"))
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "A-17"})
        async with asyncio.timeout(10):
            while not (await app.outbox())[0].error:
                await asyncio.sleep(0.02)
        async with Receiver().running(port) as back:
            await until(lambda: back.got)
            back.got[0].verified()


async def test_a_request_that_was_not_sent_before_its_review_was_closed_is_withdrawn(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    """The receiver was down: when it came back it was asked to decide what it was then told had been decided."""
    async with Receiver().running() as gone:
        port = gone.port
    path = toml(
        tmp_path,
        HOOK.format(url=f"http://127.0.0.1:{port}/hook") + 'events = ["review.requested", "review.closed"]\n',
    )
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "1"}, thread="t")
        await app.run("refunds", {"order": "2"}, thread="open")
        [review] = await app.reviews(thread="t")
        await app.resolve(review, approve(by="dana"))
        async with Receiver().running(port) as back:
            async with asyncio.timeout(10):
                while await app.outbox(status="waiting"):
                    await asyncio.sleep(0.02)
            got = {(said.data["type"], said.data["data"]["thread"]) for said in back.got}
            assert got == {("review.requested", "open"), ("review.closed", "t")}
            [request] = await app.outbox(status="withdrawn")
            assert (request.event, request.thread) == ("review.requested", "t")
            assert await app.resend(request.id) == [
                request.id
            ]  # when somebody says so, it is sent all the same
            await until(lambda: request.id in {said.id for said in back.got})


async def test_a_failed_run_is_told_with_its_error(tmp_path: Path, receiver: Receiver, store: str) -> None:
    async with open_test_app(
        store, graphs=[refunds()], settings=QUICK, config=config(tmp_path, receiver)
    ) as app:
        assert isinstance(
            await app.run("refunds", {"order": "A-17", "how": "fail"}, thread="case-1/ü"), Failed
        )
        await until(lambda: receiver.got)
    data = receiver.got[0].verified()["data"]
    assert data["error"] == {"type": "RuntimeError", "message": "order A-17 is unknown to the shop"}
    assert data["link"] == "https://turnout.example.com/threads/case-1%2F%C3%BC"


async def test_a_decision_by_a_process_that_does_not_work_is_told_by_one_that_does(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    path = config(tmp_path, receiver, 'events = ["review.closed"]\n')
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "A-17"}, thread="t")
        async with open_test_app(store, graphs=[refunds()], work=False, config=path) as other:
            [review] = await other.reviews()
            await other.resolve(review, approve(by="dana", comment="fine"))
        await until(lambda: receiver.got)
        assert isinstance(await app.wait("t/1", timeout=10), Finished)
    data = receiver.got[0].verified()["data"]
    assert (data["outcome"], data["by"]) == ("approve", ["dana"])


async def test_what_is_due_is_sent_before_the_app_is_closed(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    path = config(tmp_path, receiver)
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "A-17"})
    assert len(receiver.got) == 1


async def test_a_secret_that_is_missing_or_none_is_told_when_the_app_is_opened(
    tmp_path: Path, receiver: Receiver, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(tmp_path, receiver)
    for value, words in (
        ("", "HOOK_SECRET is not set"),
        ("whsec_", "no webhook secret"),
        ("whsec_a", "no webhook secret"),
    ):
        monkeypatch.setenv("HOOK_SECRET", value)
        with pytest.raises(SettingsInvalid, match=words):
            open_test_app(store, graphs=[refunds()], config=path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('webhook = "ftp://x"\nsecret_env = "S"', "an address like https"),
        ('webhook = "https://u:p@x/"\nsecret_env = "S"', "secrets don't belong in the file"),
        ('webhook = "https://x/"', "`secret_env` names"),
        ('webhook = "https://x/"\nsecret = "whsec_1"', "secret_env ="),
        ('webhook = "https://x/"\nsecret_env = "S"\napprise_env = "A"', "either a `webhook`"),
        ('apprise_env = "A"\nevents = ["review.lost"]', "review.requested"),
        ('apprise_env = "A"\nremind_after = [0]', "greater than 0"),
        ('apprise_env = "A"\nrolls = ["finance"]', "did you mean 'roles'"),
    ],
)
def test_a_mistake_in_a_channel_is_told_with_its_line(tmp_path: Path, lines: str, words: str) -> None:
    path = toml(tmp_path, f"[notify.hook]\n{lines}\n")
    with pytest.raises(SettingsInvalid, match=words) as caught:
        open_test_app(graphs=[refunds()], config=path)
    assert str(caught.value).startswith(f"{path}:")


def test_the_wait_grows_to_an_hour_half_of_it_by_chance_and_no_less_than_asked() -> None:
    assert [pause(5, n, 1.0, None) for n in (1, 2, 3)] == [5, 10, 20]
    assert pause(5, 3, 0.0, None) == 10
    assert pause(5, 99, 1.0, None) == LONGEST
    assert pause(5, 1, 1.0, 600) == 600
    assert pause(5, 3, 1.0, 1) == 20
    assert pause(5, 1, 1.0, 1e9) == DAY


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 11, 26, 9, tzinfo=UTC)
    assert seconds_of("120", now) == 120
    assert seconds_of(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert seconds_of(format_datetime(now - timedelta(seconds=90), usegmt=True), now) == 0
    for nothing in ("", "soon", "-1", "1.5"):
        assert seconds_of(nothing, now) is None


async def test_a_claim_that_is_under_way_when_the_app_is_closed_is_sent_all_the_same(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    path = config(tmp_path, receiver)
    claimed = asyncio.Event()

    class Slow(SqliteStore):
        async def claim_outbox(self, *args: Any) -> list[OutboxRow]:
            rows = await super().claim_outbox(*args)
            if rows:
                claimed.set()
                await asyncio.sleep(0.2)
            return rows

    async with open_test_app(
        Slow(str(tmp_path / "s.db")), graphs=[refunds()], settings=QUICK, config=path
    ) as app:
        await app.run("refunds", {"order": "A-17"})
        await asyncio.wait_for(claimed.wait(), 5)
    assert len(receiver.got) == 1
