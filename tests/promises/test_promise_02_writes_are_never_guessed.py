"""Promise 2: write effects are never guessed."""

import asyncio

import pytest
from tests.promises.bench import Dying, Later, Watched, app_on, finish, kinds, load, sql, until_death

from turnout import Failed, Finished, Paused, did_not_happen, landed
from turnout.stores.sqlite import SqliteStore
from turnout.testing import VirtualClock

PAY = """
class S(BaseModel):
    receipt: str = ""

sent, looked, answers = [], [], []

def said(*words):
    answers.extend(words)

async def became(amount: int, idempotency_key: str):
    looked.append((amount, idempotency_key))
    word = answers.pop(0)
    if isinstance(word, Exception):
        raise word
    return word

@tool(effect="write", {options})
async def pay(amount: int{key}) -> str:
    sent.append({sent})
    if answers and answers[0] == "breaks":
        answers.pop(0)
        raise ConnectionError("the line went dead")
    if answers and answers[0] == "refused":
        answers.pop(0)
        raise DidNotHappen("the bank refused it")
    return f"receipt {{len(sent)}}"

desk = Graph("desk", state=S, tools=[pay])

@desk.node(retry=Retry(attempts=2, wait=0.0, on=({retried},)))
async def work(state, ctx):
    return {{"receipt": await ctx.call(pay, amount=7)}}

desk.start(work)
desk.edge(work, END)
"""


def desk(tmp_path, *, reconcile=False, takes_key=False, retried="Exception"):
    options = "reconcile=became" if reconcile else ""
    key, sent = (", idempotency_key: str", "idempotency_key") if takes_key else ("", "amount")
    return load(tmp_path, PAY.format(options=options, key=key, sent=sent, retried=retried))


async def crashed(tmp_path, m, kind="effect.settled"):
    """The process dies after the write was sent, before its outcome is on record."""
    async with until_death(Dying(tmp_path / "t.db", kind), m.desk, {}):
        assert len(m.sent) == 1


async def test_a_write_is_on_record_as_intended_before_it_is_sent_and_settled_after(tmp_path):
    seen = {}
    m = desk(tmp_path, takes_key=True)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        inner = m.pay.fn

        async def looking(amount, idempotency_key):
            rows = await app.store.read("t")
            seen["while"] = [row.kind for row in rows]
            seen["key"] = getattr((await app.entries("t"))[-1].body, "idempotency_key", "")
            return await inner(amount, idempotency_key)

        object.__setattr__(m.pay, "fn", looking)
        await app.start("desk", {}, thread="t")
        await finish(app)
        after = await kinds(app)
    assert seen["while"][-1] == "effect.intended"
    assert after[after.index("effect.intended") + 1] == "effect.settled"
    assert m.sent == [seen["key"]]
    assert len(seen["key"]) == 32


async def test_a_landed_write_is_not_sent_again(tmp_path):
    m = desk(tmp_path, reconcile=True)
    await crashed(tmp_path, m)
    m.said(m.Landed("found receipt"))
    async with app_on(tmp_path / "t.db", m.desk, clock=Later()) as app:
        outcome = await finish(app)
        [_, settled] = [x.body for x in await app.entries("t") if x.kind.startswith("effect.")]
    assert outcome.state.receipt == "found receipt"
    assert len(m.sent) == 1
    assert (settled.outcome, settled.how) == ("landed", "reconcile")


async def test_a_write_that_did_not_happen_is_sent_once_more(tmp_path):
    m = desk(tmp_path, reconcile=True)
    await crashed(tmp_path, m)
    m.said(m.DID_NOT_HAPPEN)
    async with app_on(tmp_path / "t.db", m.desk, clock=Later()) as app:
        outcome = await finish(app)
    assert outcome.state.receipt == "receipt 2"
    assert len(m.looked) == 1


async def test_what_can_not_be_told_yet_is_asked_again_later_and_nothing_is_sent(tmp_path):
    m = desk(tmp_path, reconcile=True)
    clock = VirtualClock()
    async with app_on(tmp_path / "t.db", m.desk, clock=clock) as app:
        m.said("breaks", m.CANNOT_TELL, m.CANNOT_TELL, m.Landed("at last"))
        await app.start("desk", {}, thread="t")
        async with asyncio.timeout(20):  # not a number of turns: on a busy machine each brings it less far
            while len(m.looked) < 3:
                await clock.advance(1)
        outcome = await finish(app)
    assert outcome.state.receipt == "at last"
    assert len(m.sent) == 1


async def test_a_write_that_takes_its_key_is_sent_again_with_the_same_key(tmp_path):
    m = desk(tmp_path, takes_key=True)
    await crashed(tmp_path, m)
    async with app_on(tmp_path / "t.db", m.desk, clock=Later()) as app:
        outcome = await finish(app)
        replayed = await app.replay("t")
    assert isinstance(outcome, Finished)
    assert len(m.sent) == 2
    assert m.sent[0] == m.sent[1]
    assert replayed.identical


@pytest.mark.parametrize(("verdict", "receipt", "sent"), [(landed("R-1", by="dana"), "R-1", 1),
                                                          (did_not_happen(by="dana"), "receipt 2", 2)])  # fmt: skip
async def test_otherwise_a_person_decides(tmp_path, verdict, receipt, sent):
    m = desk(tmp_path)
    await crashed(tmp_path, m)
    async with app_on(tmp_path / "t.db", m.desk, clock=Later()) as app:
        outcome = await finish(app)
        assert isinstance(outcome, Paused)
        assert len(m.sent) == 1
        [review] = await app.reviews()
        assert (review.purpose, review.allowed) == ("outcome", ("landed", "did_not_happen"))
        assert review.payload["arguments"] == {"amount": 7}
        await app.resolve(review, verdict)
        outcome = await finish(app)
    assert outcome.state.receipt == receipt
    assert len(m.sent) == sent


async def test_a_person_decides_when_reconcile_itself_fails(tmp_path):
    m = desk(tmp_path, reconcile=True)
    await crashed(tmp_path, m)
    m.said(RuntimeError("the bank's desk is closed"))
    async with app_on(tmp_path / "t.db", m.desk, clock=Later()) as app:
        outcome = await finish(app)
        [review] = await app.reviews()
    assert isinstance(outcome, Paused)
    assert "the bank's desk is closed" in review.payload["reconcile"]
    assert len(m.sent) == 1


async def test_an_error_that_proves_nothing_makes_the_outcome_unknown_and_nothing_is_retried(tmp_path):
    m = desk(tmp_path)
    m.said("breaks")
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.start("desk", {}, thread="t")
        outcome = await finish(app)
        found = await kinds(app)
    assert isinstance(outcome, Paused)
    assert len(m.sent) == 1
    assert "step.finished" not in found
    assert "step.failed" not in found


async def test_an_error_that_proves_it_did_not_happen_is_retried_freely(tmp_path):
    m = desk(tmp_path, retried="DidNotHappen")
    m.said("refused")
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.start("desk", {}, thread="t")
        outcome = await finish(app)
    assert outcome.state.receipt == "receipt 2"


async def test_a_run_that_fails_says_what_is_known_of_its_writes(tmp_path):
    m = load(
        tmp_path,
        PAY.format(options="", key="", sent="amount", retried="ValueError").replace(
            'return {"receipt": await ctx.call(pay, amount=7)}',
            'await ctx.call(pay, amount=7); raise KeyError("afterwards")',
        ),
    )
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.start("desk", {}, thread="t")
        outcome = await finish(app)
    assert isinstance(outcome, Failed)
    assert [(w.name, w.outcome) for w in outcome.writes] == [("pay", "landed")]
    assert len(m.sent) == 1


BOOK = """
class S(BaseModel):
    receipt: str = ""

calls = []

@tool(effect="write", transactional=True)
async def book(amount: int, transaction) -> str:
    transaction.execute("CREATE TABLE IF NOT EXISTS booked (amount INTEGER)")
    transaction.execute("INSERT INTO booked VALUES (?)", (amount,))
    calls.append(amount)
    {then}
    return f"receipt {{len(calls)}}"

desk = Graph("desk", state=S, tools=[book])

@desk.node(retry=Retry(attempts=2, wait=0.0))
async def work(state, ctx):
    return {{"receipt": await ctx.call(book, amount=7)}}

desk.start(work)
desk.edge(work, END)
"""


def booked(path):
    """What there is of it, for somebody with a connection of their own: rows, and entries that say that it landed."""
    tables = sql(path, "SELECT count(*) FROM sqlite_master WHERE name = 'booked'")
    rows = sql(path, "SELECT count(*) FROM booked")[0][0] if tables != [(0,)] else 0
    landed = "SELECT count(*) FROM entries WHERE kind = 'effect.settled' AND instr(body, CAST('\"landed\"' AS BLOB))"
    return rows, sql(path, landed)[0][0]


async def test_whoever_sees_what_a_transactional_tool_wrote_sees_the_entry_that_says_so(tmp_path):
    m, path, seen = load(tmp_path, BOOK.format(then="pass")), tmp_path / "t.db", []

    async def look(change):
        seen.append(booked(path))

    async with app_on(Watched(SqliteStore(str(path)), look), m.desk) as app:
        assert isinstance(await app.run("desk", {}, thread="t"), Finished)
        seen.append(booked(path))
    assert set(seen) == {(0, 0), (1, 1)}


async def test_what_a_transactional_tool_wrote_before_an_error_is_undone_and_it_may_be_tried_again(tmp_path):
    m = load(tmp_path, BOOK.format(then="if len(calls) == 1: raise ConnectionError('the line went dead')"))
    async with app_on(tmp_path / "t.db", m.desk) as app:
        outcome = await app.run("desk", {}, thread="t")
        assert (await app.reviews()) == []
    assert outcome.state.receipt == "receipt 2"
    assert booked(tmp_path / "t.db") == (1, 1)


async def test_a_transactional_tool_can_not_commit_by_itself(tmp_path):
    m = load(tmp_path, BOOK.format(then="transaction.commit(); raise ConnectionError('after the commit')"))
    async with app_on(tmp_path / "t.db", m.desk) as app:
        outcome = await app.run("desk", {}, thread="t")
    assert isinstance(outcome, Failed)
    assert "Turnout commits when the function returns" in outcome.error.message
    assert booked(tmp_path / "t.db") == (0, 0)


async def test_the_intent_survives_a_death_before_anything_was_sent(tmp_path):
    """The process dies right after the intent became durable: whether it was sent can't be known."""
    m = desk(tmp_path)
    async with until_death(Dying(tmp_path / "t.db", "effect.intended", after=True), m.desk, {}):
        assert m.sent == []
    async with app_on(tmp_path / "t.db", m.desk, clock=Later()) as app:
        outcome = await finish(app)
    assert isinstance(outcome, Paused)
    assert outcome.reviews[0].purpose == "outcome"
    assert m.sent == []
