"""Promise 4: one writer."""

import asyncio

import pytest
from tests.promises.bench import app_on, finish, kinds, load

from turnout import Finished, approve, reject
from turnout.core import entries as e
from turnout.errors import KeyReused, ReviewClosed, StaleWriter
from turnout.runtime.clock import SystemClock
from turnout.runtime.journal import Journal
from turnout.stores.sqlite import SqliteStore

DESK = """
class S(BaseModel):
    n: int = 0
    decided: str = ""

sent = []

@tool(effect="write")
async def send(x: str) -> str:
    sent.append(x)
    return x

desk = Graph("desk", state=S, tools=[send])

@desk.node
async def work(state, ctx):
    answer = await ctx.review("ok?")
    await ctx.call(send, x=answer.decision)
    return {"decided": answer.decision}

desk.start(work)
desk.edge(work, END)

plain = Graph("plain", state=S)

@plain.node
async def count(state, ctx):
    return {"n": state.n + 1}

plain.start(count)
plain.edge(count, END)
"""


async def test_the_append_of_a_stale_writer_is_refused_whatever_it_believes(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk, work=False) as app:
        await app.start("desk", {}, thread="t")
    one, two = SqliteStore(str(tmp_path / "t.db")), SqliteStore(str(tmp_path / "t.db"))
    now = SystemClock().now()
    [lease] = await one.claim("one", now, now + 10, 1)
    mine = await Journal.load(one, SystemClock(), "t", lease=lease)
    mine.stage([e.Draft(1, "", e.RunStarted(graph="desk", fingerprint="f", delta={}))])
    [newer] = await two.claim("two", now + 11, now + 10_000_000, 1)  # the first one slept past its lease
    with pytest.raises(StaleWriter):
        await mine.commit()
    theirs = await Journal.load(two, SystemClock(), "t", lease=newer)
    theirs.stage([e.Draft(1, "", e.RunStarted(graph="desk", fingerprint="g", delta={}))])
    assert await theirs.commit()
    with pytest.raises(StaleWriter):
        await mine.commit()
    found = await two.read("t")
    assert [(row.kind, row.epoch) for row in found] == [("input.received", 0), ("run.started", newer.epoch)]
    await one.close()
    await two.close()


async def test_two_workers_on_one_store_run_each_thread_once(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as one, app_on(tmp_path / "t.db", m.desk) as two:
        runs = [await app.start("desk", {}, thread=f"t{n}") for n in range(8) for app in (one, two)]
        assert len({str(run) for run in runs}) == 16
        await asyncio.gather(*(finish(one, f"t{n}/1") for n in range(8)))
        for n in range(8):
            [review] = await two.reviews(thread=f"t{n}")
            await two.resolve(review, approve(by="dana"))
        await asyncio.gather(*(finish(two, f"t{n}/1") for n in range(8)))
        for n in range(8):
            assert (await kinds(one, f"t{n}")).count("effect.intended") == 1
    assert len(m.sent) == 8


async def test_a_review_resolved_twice_shows_the_second_caller_the_first_decision(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.start("desk", {}, thread="t")
        await finish(app)
        [review] = await app.reviews()
        await app.resolve(review, reject(by="dana", comment="too much"))
        with pytest.raises(ReviewClosed, match="reject by dana") as conflict:
            await app.resolve(review, approve(by="kim"))
        assert conflict.value.first["decision"] == "reject"
        assert conflict.value.first["by"] == "dana"
        assert conflict.value.first["comment"] == "too much"
        await finish(app)
        assert (await kinds(app)).count("review.decided") == 1
        assert (await app.state("t"))["decided"] == "reject"


async def test_a_review_resolved_at_once_from_two_processes_has_one_effect(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as one, app_on(tmp_path / "t.db", m.desk, work=False) as two:
        for n in range(5):
            thread = f"t{n}"
            await one.start("desk", {}, thread=thread)
            await finish(one, f"{thread}/1")
            [review] = await one.reviews(thread=thread)
            results = await asyncio.gather(
                one.resolve(review, approve(by="dana")),
                two.resolve(review, reject(by="kim")),
                two.resolve(review, approve(by="lee")),
                return_exceptions=True,
            )
            closed = [r for r in results if isinstance(r, ReviewClosed)]
            assert len(closed) == 2
            await finish(one, f"{thread}/1")
            entries = await one.entries(thread)
            [decided] = [x.body for x in entries if x.kind == "review.decided"]
            assert {c.first["by"] for c in closed} == {decided.by}
    assert len(m.sent) == 5


async def test_an_input_sent_twice_with_one_key_is_one_run(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.plain) as app:
        first = await app.start("plain", {"n": 1}, idempotency_key="req-1")
        assert isinstance(await finish(app, first), Finished)
        again = await app.start("plain", {"n": 1}, idempotency_key="req-1")
        assert again == first
        assert (first.new, again.new) == (True, False)
        assert len(await app.threads()) == 1
        assert (await kinds(app, first.thread)).count("input.received") == 1
        with pytest.raises(KeyReused, match="req-1"):
            await app.start("plain", {"n": 2}, idempotency_key="req-1")
        with pytest.raises(KeyReused):
            await app.start("plain", {"n": 1}, thread="elsewhere", idempotency_key="req-1")
        assert len(await app.threads()) == 1


async def test_an_input_sent_many_times_at_once_with_one_key_is_one_run(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.plain) as one, app_on(tmp_path / "t.db", m.plain) as two:
        calls = [
            app.start("plain", {}, thread="t", idempotency_key="k") for _ in range(10) for app in (one, two)
        ]
        runs = await asyncio.gather(*calls)
        assert {str(run) for run in runs} == {"t/1"}
        assert [run.new for run in runs].count(True) == 1
        await finish(one)
        assert (await kinds(one)).count("input.received") == 1
        assert (await one.state("t"))["n"] == 1
