"""People's channels through apprise, at a real mail server."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.notify.desk import QUICK, refunds, toml
from tests.notify.receivers import Mailbox, until

from turnout import App
from turnout.core.notices import Notice
from turnout.errors import NoticeNotSent, SettingsInvalid
from turnout.notify.deliverer import AT_ONCE
from turnout.notify.people import People
from turnout.notify.schema import Channel
from turnout.notify.words import Message
from turnout.runtime.clock import SystemClock
from turnout.testing import open_test_app

MAIL = """
[notify]
base_url = "https://turnout.example.com"

[notify.finance]
apprise_env = "FINANCE_MAIL"
roles = ["finance"]
backoff = 0.05
timeout = 3
"""


async def status(app: App, wanted: str) -> None:
    async with asyncio.timeout(15):
        while not await app.outbox(status=wanted):
            await asyncio.sleep(0.02)


async def test_a_review_comes_by_mail_with_what_is_asked_and_a_link(
    tmp_path: Path, mailbox: Mailbox, store: str
) -> None:
    path = toml(tmp_path, MAIL)
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "A-17"}, thread="case-17", by="eve", priority=5)
        await status(app, "sent")
        [review] = await app.reviews()
        [row] = await app.outbox()
    [mail] = mailbox.mails
    text = mail.get_body(("plain", "html")).get_content()
    assert mail["Subject"] == "Review asked: Refund this order?"
    assert mail["To"] == "dana@example.com"
    assert f"https://turnout.example.com/reviews/{review.id}" in text
    for words in (
        "graph refunds, thread case-17, run 1",
        "priority: 5",
        "for: finance",
        "possible: approve, reject",
        row.id,
    ):
        assert words in text
    assert "DE02" not in text


async def test_a_mail_server_that_refuses_is_tried_again(
    tmp_path: Path, mailbox: Mailbox, store: str
) -> None:
    mailbox.refuse = "451 come back later"
    path = toml(tmp_path, MAIL)
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "A-17"}, thread="case-17")
        async with asyncio.timeout(15):
            while not (await app.outbox())[0].error:
                await asyncio.sleep(0.02)
        mailbox.refuse = ""
        await until(lambda: mailbox.mails, 15)
        await status(app, "sent")


async def test_a_mail_server_that_is_not_there_leaves_a_dead_letter_without_secrets(
    tmp_path: Path,
    mailbox: Mailbox,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(
        "FINANCE_MAIL", "mailto://dana:hunter2secret@127.0.0.1:1/?from=a@example.com&to=b@example.com"
    )
    path = toml(tmp_path, MAIL + "attempts = 2\n")
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "A-17"}, thread="case-17")
        await status(app, "dead")
        [row] = await app.outbox()
    assert row.error
    assert "hunter2secret" not in row.error + caplog.text


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A receiver that answers only when as many notices are there as a channel may be sent at a time."""
    came: list[str] = []
    together = threading.Barrier(AT_ONCE)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            came.append(self.path)
            together.wait(10)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    monkeypatch.setenv("FINANCE_MAIL", f"json://127.0.0.1:{server.server_port}/")
    yield came
    server.shutdown()
    together.abort()
    server.server_close()
    serving.join()


async def test_all_that_are_on_their_way_at_once_have_their_whole_time(
    tmp_path: Path, crowd: list[str], store: str
) -> None:
    path = toml(tmp_path, MAIL)
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        for n in range(AT_ONCE):
            await app.start("refunds", {"order": f"A-{n}"}, thread=f"case-{n}")
        async with asyncio.timeout(15):
            while len(rows := await app.outbox(status="sent")) < AT_ONCE:
                assert not [row.error for row in await app.outbox() if row.error]
                await asyncio.sleep(0.02)
    assert [row.attempts for row in rows] == [1] * AT_ONCE
    assert len(crowd) == AT_ONCE


@pytest.mark.parametrize(
    ("url", "said", "shown"),
    [
        ("mailto://dana:pw7@127.0.0.1:1/?from=a@b.example&to=c@d.example", "login dana:pw7 at 127.0.0.1", "login dana:*** at 127.0.0.1"),
        ("mailto://127.0.0.1:1/?user=dana&pass=pw7&from=a@b.example&to=c@d.example", "no pw7 here", "no *** here"),
        ("json://dana:p%2Fw%20x@127.0.0.1:1/", "p/w x, p%2Fw%20x", "***, ***"),
        ("json://127.0.0.1:1/?+X-Key=k1", "header k1", "header ***"),
        ("json://127.0.0.1:1/?+X-Prio=1", "HTTP 1.1 says 100, prio 1", "HTTP ***.*** says 100, prio ***"),
        ("mailto://dana:a@127.0.0.1:1/?from=b@c.example&to=d@e.example", "a bad login, dana:a", "*** bad login, dana:***"),
        ("json://127.0.0.1:1/a%2Flong%2Fway/", "POST a/long/way a%2Flong%2Fway", "POST *** ***"),
        (f"pover://{'u' * 30}@{'t' * 30}", f"token {'t' * 30} of {'u' * 30}", "token *** of ***"),
        ("pbul://accesstoken123/", "accesstoken123 is refused", "*** is refused"),
    ],
)  # fmt: skip
async def test_no_secret_of_a_url_is_in_an_error_however_short_or_written(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str, shown: str
) -> None:
    monkeypatch.setenv("FINANCE_MAIL", url)
    people = People("finance", Channel(apprise_env="FINANCE_MAIL"), "")

    def broken(*args: object, **more: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("turnout.notify.words.message", lambda notice, base: Message("title", "text"))
    monkeypatch.setattr(type(people._instance()), "notify", broken)
    with pytest.raises(NoticeNotSent) as caught:
        await people.send(
            Notice("n-1", "finance", "run.finished", "t", 1, "", "", b"{}", 0, 0), SystemClock()
        )
    await people.close()
    assert str(caught.value) == f"RuntimeError: {shown}"


async def test_a_title_that_holds_a_line_break_makes_no_header(
    tmp_path: Path, mailbox: Mailbox, store: str
) -> None:
    path = toml(tmp_path, MAIL.replace('roles = ["finance"]', ""))
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "A\r\nBcc: mallory@example.com", "how": "fail"}, thread="t")
        await status(app, "sent")
    [mail] = mailbox.mails
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Run failed: t/1"


@pytest.mark.parametrize("value", ["", "nonsense", "mailto://", "nosuch://host/x"])
def test_a_url_that_apprise_does_not_know_is_told_when_the_app_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("FINANCE_MAIL", value)
    with pytest.raises(SettingsInvalid, match="FINANCE_MAIL"):
        open_test_app(graphs=[refunds()], config=toml(tmp_path, MAIL))
