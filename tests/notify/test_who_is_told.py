"""Which channel is told of what, and when: chosen by graph, role, tenant and urgency; reminders and escalation."""

import asyncio
from pathlib import Path

import pytest
from tests.notify.desk import QUICK, refunds, toml
from tests.notify.receivers import SECRET, Receiver, until

from turnout import App, Failed, Finished, Paused, approve
from turnout.settings import Settings
from turnout.testing import VirtualClock, open_test_app

ALL = (
    '["review.requested", "review.reminder", "review.escalated", "review.closed", "run.failed", "run.finished", '
    '"run.cancelled", "thread.set_aside"]'
)


def channels(folder: Path, **lines: str) -> Path:
    """A turnout.toml with these channels, none of which can be reached."""
    text = ""
    for name, more in lines.items():
        text += f'[notify.{name}]\nwebhook = "http://127.0.0.1:1/"\nsecret_env = "HOOK_SECRET"\n{more}\n'
    return toml(folder, text)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)


async def told(app: App) -> list[tuple[str, str]]:
    return sorted((row.channel, row.event) for row in await app.outbox(limit=1000))


async def test_a_channel_is_told_of_its_graphs_roles_tenants_and_urgency(tmp_path: Path) -> None:
    path = channels(
        tmp_path, every="", shop='graphs = ["shop"]', finance='roles = ["finance", "x"]', legal='roles = ["legal"]',
        acme='tenants = ["acme"]', urgent="priority = 5", failures='events = ["run.failed"]',
    )  # fmt: skip
    async with open_test_app(graphs=[refunds(), refunds("shop")], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "1"}, thread="plain")
        assert {channel for channel, _ in await told(app)} == {"every", "finance"}
        await app.run("shop", {"order": "2"}, thread="other", tenant="acme", priority=5)
        rows = await app.outbox()
        assert {row.channel for row in rows if row.thread == "other"} == {
            "every",
            "shop",
            "finance",
            "acme",
            "urgent",
        }
        assert isinstance(await app.run("refunds", {"order": "3", "how": "fail"}, thread="bad"), Failed)
        rows = await app.outbox()
        assert {row.channel for row in rows if row.thread == "bad"} == {
            "every",
            "finance",
            "legal",
            "failures",
        }
        assert {row.event for row in rows if row.thread == "bad"} == {"run.failed"}


async def test_the_urgency_of_a_run_that_has_ended_is_that_which_it_had(tmp_path: Path) -> None:
    path = channels(tmp_path, urgent=f"priority = 5\nevents = {ALL}")
    async with open_test_app(graphs=[refunds()], settings=QUICK, config=path) as app:
        assert isinstance(await app.run("refunds", {"order": "1", "how": "none"}, priority=5), Finished)
        assert isinstance(await app.run("refunds", {"order": "1", "how": "none"}, priority=4), Finished)
        assert await told(app) == [("urgent", "run.finished")]


async def test_reminders_come_at_their_times_and_stop_when_the_review_is_closed(tmp_path: Path) -> None:
    path = channels(tmp_path, hook="remind_after = [20, 40, 90]\nremind_before = [10]")
    clock = VirtualClock()
    async with open_test_app(graphs=[refunds()], settings=QUICK, config=path, clock=clock) as app:
        await app.run("refunds", {"order": "1", "how": "due"}, thread="t")
        [review] = await app.reviews()
        rows = [row for row in await app.outbox() if row.event == "review.reminder"]
        after = sorted((row.due_at - review.asked_at).total_seconds() for row in rows)
        assert after == [20, 40, 50], "none after it was due; 10 s before it was due"
        await app.resolve(review, approve(by="dana"))
        rows = [row for row in await app.outbox() if row.event == "review.reminder"]
        assert {row.status for row in rows} == {"withdrawn"}


async def test_a_due_time_that_passes_escalates_and_reminds_the_others(tmp_path: Path) -> None:
    path = channels(
        tmp_path,
        finance='roles = ["finance"]\nremind_after = [20]',
        chief='roles = ["chief"]\nremind_after = [20]',
    )
    clock = VirtualClock()
    async with open_test_app(graphs=[refunds()], settings=QUICK, config=path, clock=clock) as app:
        await app.run("refunds", {"order": "1", "how": "escalate"}, thread="t")
        assert await told(app) == [("finance", "review.reminder"), ("finance", "review.requested")]
        await clock.advance(61)
        rows = {(row.channel, row.event): row for row in await app.outbox()}
        escalated = rows["chief", "review.escalated"]
        assert escalated.facts["roles"] == ["chief"]
        assert (rows["chief", "review.reminder"].due_at - escalated.created_at).total_seconds() == 20
        assert rows["finance", "review.reminder"].status == "withdrawn"


async def test_a_due_time_that_decides_closes_the_review(tmp_path: Path) -> None:
    path = channels(tmp_path, hook='events = ["review.closed"]')
    clock = VirtualClock()
    async with open_test_app(graphs=[refunds()], settings=QUICK, config=path, clock=clock) as app:
        await app.run("refunds", {"order": "1", "how": "due"}, thread="t")
        await clock.advance(61)
        [row] = await app.outbox()
        assert (row.event, row.facts["outcome"], row.facts["by"]) == ("review.closed", "reject", [])


async def test_a_cancelled_run_closes_its_review(tmp_path: Path) -> None:
    path = channels(tmp_path, hook='events = ["review.closed", "run.cancelled"]')
    async with open_test_app(graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "1"}, thread="t")
        await app.cancel("t", by="eve", reason="twice")
        await app.wait("t/1")
        found = {row.event: row.facts for row in await app.outbox()}
        assert found["review.closed"]["outcome"] == "withdrawn"
        assert (found["run.cancelled"]["by"], found["run.cancelled"]["reason"]) == ("eve", "twice")


async def test_a_reminder_whose_review_was_closed_by_a_process_without_channels_is_not_sent(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    path = toml(
        tmp_path,
        f'[notify.hook]\nwebhook = "{receiver.url}"\nsecret_env = "HOOK_SECRET"\nremind_after = [1]\nevents = ["review.reminder"]\n',
    )
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "1"}, thread="t")
        await app.run("refunds", {"order": "2"}, thread="open")
        async with open_test_app(store, graphs=[refunds()], work=False, config="") as other:
            [review] = await other.reviews(thread="t")
            await other.resolve(review, approve(by="dana"))
        await until(lambda: receiver.got)
        async with asyncio.timeout(10):  # the two are on their way at once
            while any(row.status == "waiting" for row in await app.outbox()):
                await asyncio.sleep(0.02)
        found = {row.thread: row.status for row in await app.outbox()}
        assert found == {"t": "withdrawn", "open": "sent"}
        assert [said.data["data"]["thread"] for said in receiver.got] == ["open"]


async def test_a_thread_that_is_set_aside_is_told_of_once(tmp_path: Path) -> None:
    path = channels(tmp_path, hook="")
    async with open_test_app(graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "1", "how": "none"}, thread="t")
        assert await app.set_aside("t", "it rings", by="dana")
        assert not await app.set_aside("t", "again")
        [row] = await app.outbox()
        assert (row.event, row.thread, row.facts["reason"]) == ("thread.set_aside", "t", "it rings (by dana)")


async def test_without_channels_nothing_is_written(tmp_path: Path, store: str) -> None:
    for config in ("", toml(tmp_path, "[notify]\nbase_url = 'https://x.example'\n")):
        async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=config) as app:
            assert isinstance(await app.run("refunds", {"order": "1"}), Paused)
            assert isinstance(await app.run("refunds", {"order": "1", "how": "fail"}), Failed)
            assert await app.outbox() == []
            assert app.store.notices is None


async def test_a_notice_of_a_fork_is_of_the_fork(tmp_path: Path) -> None:
    path = channels(tmp_path, hook="")
    async with open_test_app(graphs=[refunds()], settings=Settings(sweep=0.05), config=path) as app:
        await app.run("refunds", {"order": "1"}, thread="t")
        entries = await app.entries("t")
        before = next(entry.seq for entry in entries if entry.kind == "run.started")
        branch = await app.fork("t", at=before, name="branch")
        await app.wait(branch)
        assert sorted(row.thread for row in await app.outbox()) == ["branch", "t"]
        assert len({row.id for row in await app.outbox()}) == 2
        assert (await app.replay("branch")).identical
        await app.whatif("t")
        assert len(await app.outbox()) == 2, "a replay and a what-if tell nobody"


async def test_a_reminder_of_a_thread_that_moved_to_another_store_is_not_sent(
    tmp_path: Path, receiver: Receiver, store: str
) -> None:
    path = toml(
        tmp_path,
        f'[notify.hook]\nwebhook = "{receiver.url}"\nsecret_env = "HOOK_SECRET"\nremind_after = [2]\nevents = ["review.reminder"]\n',
    )
    async with open_test_app(store, graphs=[refunds()], settings=QUICK, config=path) as app:
        await app.run("refunds", {"order": "1"}, thread="gone")
        await app.run("refunds", {"order": "2"}, thread="stays")
        await app.export_to(str(tmp_path / "house.jsonl"), ["gone"], move=True)
        await until(lambda: receiver.got)
        found = {row.thread: row.status for row in await app.outbox()}
        assert (found["gone"], receiver.got[0].data["data"]["thread"]) == ("withdrawn", "stays")
