"""Promise 8, fork: a new thread from any entry, sharing the prefix, with an edited state if wanted."""

import asyncio

import pytest
from tests.promises.bench import app_on, finish, load

from turnout import Cancelled, Failed, Finished, Paused, approve, did_not_happen, landed
from turnout.errors import ForkRefused, InputInvalid, UnknownEntry, UnknownThread

DESK = """
class S(BaseModel):
    order: str = "A"
    amount: int = 0
    extra: int = 0
    notes: Annotated[list[str], append] = []
    receipt: str = ""

called = []

@tool(effect="read")
async def price(order: str) -> int:
    called.append("price")
    return 70

@tool(effect="write")
async def pay(order: str, amount: int, idempotency_key: str) -> str:
    called.append(f"pay {idempotency_key}")
    return f"R-{order}-{amount}"

desk = Graph("desk", state=S, tools=[price, pay])

@desk.node
async def look_up(state, ctx):
    return {"amount": await ctx.call(price, order=state.order), "notes": [f"looked up on {ctx.thread}"]}

@desk.node
async def check(state, ctx):
    await ctx.sleep(0.01)
    return {"notes": [f"checked {ctx.item} {await ctx.call(price, order=str(ctx.item))}"]}

@desk.node
async def spread(state, ctx):
    return fan_out(check, [1, 2])

@desk.node
async def ask(state, ctx):
    answer = await ctx.review("pay?", payload={"amount": state.amount})
    return {"notes": [answer.summary], "extra": 1 if await ctx.random() < 2 else 0}

@desk.node
async def settle(state, ctx):
    receipt = await ctx.call(pay, order=state.order, amount=state.amount)
    return {"receipt": receipt, "notes": [str(await ctx.call(price, order="after"))]}

desk.start(look_up)
desk.edge(look_up, spread)
desk.edge(spread, check)
desk.route(check, [rule("nothing", field("amount") == 0, to=END)], default=ask)
desk.edge(ask, settle)
desk.edge(settle, END)
"""


async def to_its_end(app, run):
    """Answer whatever a run asks, until it has ended."""
    for _ in range(10):
        outcome = await finish(app, run)
        if not isinstance(outcome, Paused):
            return outcome
        assert outcome.divergence is None
        for review in outcome.reviews:
            verdict = landed("R-found", by="kim") if review.purpose == "outcome" else approve(by="kim")
            await app.resolve(review.id, verdict)
    raise AssertionError("it asks for ever")


async def recorded(app, thread="t"):
    run = await app.start("desk", {}, thread=thread)
    assert isinstance(await to_its_end(app, run), Finished)
    return await app.entries(thread)


async def check_fork(app, fork, shared):
    """A fork keeps its prefix, verifies and replays."""
    entries = await app.entries(fork)
    assert [(x.seq, x.digest) for x in entries[: len(shared)]] == [(x.seq, x.digest) for x in shared]
    assert entries[len(shared)].kind == "thread.forked"
    assert (await app.verify(fork)).problems == []
    replay = await app.replay(fork)
    assert replay.divergence is None, replay.divergence
    assert replay.entries == len(entries)


@pytest.mark.parametrize("update", [None, {"amount": 5}], ids=["as it was", "edited"])
async def test_every_entry_can_be_forked_at_or_is_refused_clearly(tmp_path, update):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        entries = await recorded(app)
        ends = {}
        for at in range(1, len(entries) + 1):
            m.called.clear()
            name = f"fork-{at}"
            [run] = await asyncio.gather(
                app.fork("t", at=at, update=update, name=name), return_exceptions=True
            )
            if isinstance(run, ForkRefused):
                assert f"entry {at} lies" in str(run)
                assert "fork at entry" in str(run)
                ends[at] = "refused"
                continue
            outcome = await to_its_end(app, run)
            ends[at] = type(outcome).__name__
            await check_fork(app, name, entries[:at])
        assert set(ends.values()) <= {"Finished", "refused"}
        refused = [at for at, end in ends.items() if end == "refused"]
        before_start = [x.seq for x in entries if x.kind == "input.received"]
        written = [x.seq for x in entries if x.step == "settle.1" and x.kind.startswith("effect.")]
        assert refused == ([] if update is None else [*before_start, *written])
        assert [x.digest for x in await app.entries("t")] == [
            x.digest for x in entries
        ]  # the parent is untouched


async def test_a_fork_runs_on_the_edited_state(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        entries = await recorded(app)
        at = next(x.seq for x in entries if x.kind == "step.finished" and x.step == "look_up.1")
        outcome = await to_its_end(app, await app.fork("t", at=at, update={"amount": 5, "notes": ["edited"]}))
        assert outcome.state.receipt == "R-A-5"
        assert outcome.state.notes[1] == "edited"
        zero = await to_its_end(app, await app.fork("t", at=at, update={"amount": 0}))
        assert zero.state.receipt == ""


async def test_a_fork_asks_the_world_nothing_that_is_on_record_and_people_anew(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.start("desk", {}, thread="t")
        await finish(app)
        m.called.clear()
        fork = await app.fork("t")
        outcome = await finish(app, fork)
        assert m.called == []
        [mine] = await app.reviews(thread="t")
        [theirs] = outcome.reviews
        assert mine.id != theirs.id
        await app.resolve(theirs, approve(by="kim"))
        assert isinstance(await finish(app, fork), Finished)
        assert isinstance(await finish(app), Paused)  # the parent still waits


async def test_a_fork_makes_its_own_write_with_its_own_key(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        entries = await recorded(app)
        intended = next(x.seq for x in entries if x.kind == "effect.intended")
        await to_its_end(app, await app.fork("t", at=intended - 1))
        keys = [x for x in m.called if x.startswith("pay")]
    assert len(set(keys)) == 2


@pytest.mark.parametrize("happened", [True, False])
async def test_a_fork_inside_a_sent_write_asks_what_became_of_it_and_never_sends_it(tmp_path, happened):
    """It is the parent's, which may send it again, or undo it. One that the fork then makes has a key of its own."""
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        entries = await recorded(app)
        intended = next(x for x in entries if x.kind == "effect.intended")
        fork = await app.fork("t", at=intended.seq, name="f")
        paused = await finish(app, fork)
        [review] = paused.reviews
        assert review.payload["idempotency_key"] == intended.body.idempotency_key
        await app.resolve(review, landed("R-found", by="kim") if happened else did_not_happen(by="kim"))
        outcome = await finish(app, fork)
        assert outcome.state.receipt == ("R-found" if happened else "R-A-70")
        await check_fork(app, "f", entries[: intended.seq])
        keys = [x for x in m.called if x.startswith("pay")]
    assert len(keys) == len(set(keys)) == (1 if happened else 2)


async def test_a_fork_of_a_fork_verifies_and_replays(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        entries = await recorded(app)
        at = next(x.seq for x in entries if x.kind == "step.finished")
        await to_its_end(app, await app.fork("t", at=at, update={"amount": 9}, name="one"))
        one = await app.entries("one")
        for cut in range(at - 1, len(one) + 1):
            run = await app.fork("one", at=cut, name=f"two-{cut}")
            assert isinstance(await to_its_end(app, run), Finished | Failed | Cancelled)
            await check_fork(app, f"two-{cut}", one[:cut])
        assert (await app.verify()).problems == []


async def test_a_fork_of_a_finished_conversation_goes_on_with_its_next_input(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await recorded(app)
        fork = await app.fork("t", name="other")
        assert isinstance(await finish(app, fork), Finished)
        second = await app.start("desk", {"order": "B"}, thread="other")
        assert second.number == 2
        outcome = await to_its_end(app, second)
        assert outcome.state.receipt == "R-B-70"
        assert (await app.verify()).problems == []
        assert (await app.replay("other")).identical


async def test_a_fork_that_can_not_be_is_refused_and_changes_nothing(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await recorded(app)
        before = await app.threads()
        for error, call in (
            (UnknownThread, app.fork("nobody")),
            (UnknownEntry, app.fork("t", at=999)),
            (UnknownEntry, app.fork("t", at=0)),
            (InputInvalid, app.fork("t", at=5, update={"nothing": 1})),
            (InputInvalid, app.fork("t", at=5, update={"amount": "x"})),
            (ForkRefused, app.fork("t", name="t")),
            (InputInvalid, app.fork("t", name="with space")),
        ):
            with pytest.raises(error):
                await call
        assert await app.threads() == before
        await asyncio.gather(*(app.fork("t", name="same") for _ in range(1)))
        with pytest.raises(ForkRefused):
            await app.fork("t", name="same")
