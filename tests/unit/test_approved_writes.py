"""What becomes of an approved write: crashes, retries, cancels, forks, transactions and gathers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.promises.bench import Dying, Later, app_on, sql, until_death
from tests.unit.desks import Desk, bodies, paused
from tests.unit.rules import folder
from tests.unit.runs import Work, chain, proven

from turnout import Cancelled, Context, DidNotHappen, Failed, Finished, Paused, Retry, approve, edit, tool
from turnout.core import entries as e
from turnout.testing import VirtualClock, open_test_app


@pytest.mark.parametrize(
    ("kind", "nth", "after"),
    [
        ("verdict.given", 1, False), ("verdict.given", 1, True), ("review.requested", 1, False),
        ("effect.intended", 1, False), ("effect.intended", 1, True), ("effect.settled", 1, False),
    ],
)  # fmt: skip
async def test_whenever_the_process_dies_the_call_is_approved_once_and_sent_once_with_its_key(
    tmp_path: Path, kind: str, nth: int, after: bool
) -> None:
    keys: set[str] = set()

    @tool(effect="write")
    async def pay(amount: int, idempotency_key: str) -> str:
        keys.add(idempotency_key)  # the receiver does it once a key
        return "paid"

    graph, rules, path = Desk().with_tool(pay), folder(tmp_path), tmp_path / "t.db"
    store = Dying(path, kind, nth, after=after)
    if kind.startswith("effect"):
        async with app_on(path, graph, policy=rules) as app:
            found = (await paused(app)).reviews[0]
        async with app_on(path, work=False) as elsewhere:
            await elsewhere.resolve(found, approve(by="dana"))
        async with app_on(store, graph, policy=rules, clock=Later()):
            await asyncio.wait_for(store.dead.wait(), 10)
    else:
        async with until_death(store, graph, {"n": 500}, policy=rules):
            pass
        assert keys == set()
    later = Later()
    later.now = lambda: Later.now(later) + 3_600_000_000  # type: ignore[method-assign]
    async with app_on(path, graph, policy=rules, clock=later) as app:
        outcome = await app.wait("t/1", timeout=20)
        if isinstance(outcome, Paused):
            await app.resolve(outcome.reviews[0], approve(by="dana"))
            outcome = await app.wait("t/1", timeout=20)
        assert isinstance(outcome, Finished), outcome
        await proven(app)
        assert len(await app.reviews(status="")) == 1
    assert len(keys) == 1


async def test_a_write_that_was_sent_as_edited_is_looked_into_and_sent_again_as_edited(
    tmp_path: Path,
) -> None:
    sent: list[tuple[int, str]] = []

    @tool(effect="write")
    async def pay(amount: int, idempotency_key: str) -> str:
        sent.append((amount, idempotency_key))
        if len(sent) == 1:
            raise ConnectionError("the line went dead")
        return "paid"

    clock = VirtualClock()
    async with open_test_app(graphs=[Desk().with_tool(pay)], policy=folder(tmp_path), clock=clock) as app:
        await app.resolve((await paused(app)).reviews[0], edit({"amount": 300}, by="dana"))
        for _ in range(20):
            await clock.advance(5)
        outcome = await app.wait("t/1")
        await proven(app)
        assert len(await bodies(app, e.VerdictGiven)) == 2
    assert isinstance(outcome, Finished)
    assert sent == [(300, sent[0][1])] * 2


async def test_a_yes_holds_for_the_next_try_of_a_call_that_has_proven_that_it_did_not_happen(
    tmp_path: Path,
) -> None:
    desk = Desk()
    desk.trouble.append(DidNotHappen("the bank is closed"))
    graph = desk.with_tool(desk.pay, retry=Retry(attempts=2, wait=0))
    async with open_test_app(graphs=[graph], policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("t/1"), Finished)
        await proven(app)
        assert len(await app.reviews(status="")) == 1
    assert desk.sent == [500]


async def test_a_run_that_is_cancelled_while_it_waits_for_a_yes_sends_nothing(tmp_path: Path) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        found = (await paused(app)).reviews[0]
        await app.cancel("t")
        outcome = await app.wait("t/1")
        assert isinstance(outcome, Cancelled)
        assert outcome.writes == []
        assert (await app.review(found.id)).status == "withdrawn"
        await proven(app)
    assert desk.sent == []


async def test_a_fork_does_not_send_on_its_parents_approval(tmp_path: Path) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], approve(by="dana"))
        await app.wait("t/1")
        decided = next(x.seq for x in await app.entries("t") if x.kind == "review.decided")
        for at in (decided - 1, decided):
            fork = await app.fork("t", at=at, name=f"fork-{at}")
            outcome = await app.wait(fork)
            assert isinstance(outcome, Paused), outcome
            assert desk.sent == [500]
        await app.resolve(outcome.reviews[0], approve(by="carl"))
        assert isinstance(await app.wait(fork), Finished)
        await proven(app, fork.thread)
    assert desk.sent == [500, 500]


async def test_a_transactional_write_is_governed_and_lands_with_its_verdict(tmp_path: Path) -> None:
    @tool(effect="write", transactional=True)
    async def pay(amount: int, transaction: Any) -> str:
        transaction.execute("CREATE TABLE IF NOT EXISTS paid (amount INTEGER)")
        transaction.execute("INSERT INTO paid VALUES (?)", (amount,))
        return "paid"

    path = tmp_path / "t.db"
    async with app_on(path, Desk().with_tool(pay), policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], edit({"amount": 350}, by="dana"))
        assert isinstance(await app.wait("t/1"), Finished)
        assert isinstance(await app.run("g", {"n": 5000}, thread="u"), Failed)
        await proven(app)
        await proven(app, "u")
    assert sql(path, "SELECT amount FROM paid") == [(350,)]


async def test_calls_in_a_gather_are_each_decided_and_wait_together(tmp_path: Path) -> None:
    desk = Desk()

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        found = await asyncio.gather(*(ctx.call(desk.pay, amount=n) for n in (50, 500, 600)))
        return {"log": list(found)}

    async with open_test_app(graphs=[chain(work, tools=[desk.pay])], policy=folder(tmp_path)) as app:
        outcome = await app.run("g", {}, thread="t")
        assert desk.sent == [50]
        assert isinstance(outcome, Paused)
        for review in outcome.reviews:
            await app.resolve(review, approve(by="dana"))
        assert len(outcome.reviews) == 2
        outcome = await app.wait("t/1")
        await proven(app)
    assert isinstance(outcome, Finished)
    assert sorted(desk.sent) == [50, 500, 600]
