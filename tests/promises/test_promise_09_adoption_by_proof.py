"""Promise 9: a new version adopts an in-flight run only by proof."""

import asyncio

import pytest
from tests.promises.bench import app_on, dump, finish, kinds, load

from turnout import Finished, Paused, approve
from turnout.errors import StateInvalid

DESK = """
class S(BaseModel):
    order: str = "A"
    amount: int = 0
    receipt: str = ""

called = []

@tool(effect="read")
async def price(order: str) -> int:
    called.append(f"price {order}")
    return 70

@tool(effect="write")
async def pay(order: str, amount: int) -> str:
    called.append(f"pay {order} {amount}")
    return f"R-{order}-{amount}"

@tool(effect="write")
async def hold(order: str) -> str:
    called.append(f"hold {order}")
    return "held"

desk = Graph("desk", state=S, tools=[price, pay, hold])

@desk.node
async def look_up(state, ctx):
    return {"amount": 7}

@desk.node
async def ask(state, ctx):
    amount = await ctx.call(price, order=state.order)
    answer = await ctx.review("pay?", payload={"amount": amount})
    return {"amount": amount}

@desk.node
async def settle(state, ctx):
    return {"receipt": await ctx.call(pay, order=state.order, amount=state.amount)}

desk.start(look_up)
desk.edge(look_up, ask)
desk.edge(ask, settle)
desk.edge(settle, END)
"""


def version(tmp_path, *changes):
    source = DESK
    for old, new in changes:
        assert source.count(old) >= 1
        source = source.replace(old, new)
    return load(tmp_path, source)


async def waiting(tmp_path, *changes):
    """A run of version 1 that waits for a person."""
    v1 = version(tmp_path, *changes)
    async with app_on(tmp_path / "t.db", v1.desk) as app:
        await app.start("desk", {}, thread="t")
        assert isinstance(await finish(app), Paused)
    return v1


async def decided(app):
    [review] = await app.reviews()
    await app.resolve(review.id, approve(by="dana"))


COMPATIBLE = {
    "a later node": ('"receipt": await ctx.call(pay, order=state.order', '"receipt": await ctx.call(pay, order="v2"'),
    "a closed node": ('return {"amount": 7}', 'return {"amount": 8}'),
    "a later route": ("desk.edge(ask, settle)", 'desk.route(ask, [rule("none", field("amount") == 0, to=END)], default=settle)'),
    "a field with a default": ('receipt: str = ""', 'receipt: str = ""\n    more: int = 3'),
    "what comes after the pause": ("    return {\"amount\": amount}\n", "    return {\"amount\": amount + 0}\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPATIBLE)
async def test_compatible_code_adopts_a_waiting_run(tmp_path, name):
    v1 = await waiting(tmp_path)
    v2 = version(tmp_path, COMPATIBLE[name])
    assert v1.desk.fingerprint != v2.desk.fingerprint
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        before = dump(tmp_path / "t.db")
        [flight] = await app.check_in_flight()
        assert flight.adopted
        assert (flight.before, flight.now) == (v1.desk.fingerprint, v2.desk.fingerprint)
        assert dump(tmp_path / "t.db") == before
        await decided(app)
        assert isinstance(await finish(app), Finished)
        [adopted] = [x.body for x in await app.entries("t") if x.kind == "run.adopted"]
        assert (adopted.before, adopted.fingerprint) == (v1.desk.fingerprint, v2.desk.fingerprint)
        assert any("ask.1" in line and "recorded effect" in line for line in adopted.proof)
        assert (await app.verify()).problems == []
    assert [x for x in v1.called + v2.called if x.startswith("price")] == ["price A"]
    assert len([x for x in v2.called if x.startswith("pay")]) == 1
    if name == "a later node":
        assert v2.called == ["pay v2 70"]


INCOMPATIBLE = {
    "other arguments": (("price, order=state.order", "price, order='B'"), "tool price", "tool price"),
    "an inserted call before": (
        ("    amount = await ctx.call(price, order=state.order)", "    await ctx.call(price, order='new')\n    amount = await ctx.call(price, order=state.order)"),
        "tool price", 'tool price({"order":"new"})',
    ),
    "a removed call": (("await ctx.call(price, order=state.order)", "70"), "tool price", "the step waits"),
    "another question": (('"pay?"', '"really pay?"'), "review pay?", "review really pay?"),
    "no question": (("    answer = await ctx.review(\"pay?\", payload={\"amount\": amount})\n", ""), "review pay?", "the step ended without asking for it"),
    "a renamed node": (("ask", "question"), "node 'ask'", "no such node"),
    "an error": (("    answer = ", "    raise ValueError('no')\n    answer = "), "review pay?", "the step fails: no"),
    "a state that doesn't fit": (('amount: int = 0', 'amount: int = 0\n    owner: int'), "a state that fits S", "owner"),
}  # fmt: skip


@pytest.mark.parametrize("name", INCOMPATIBLE)
async def test_incompatible_code_parks_the_run_with_the_divergence_shown(tmp_path, name):
    v1 = await waiting(tmp_path)
    change, expected, actual = INCOMPATIBLE[name]
    v2 = version(tmp_path, change)
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        [flight] = await app.check_in_flight()
        assert not flight.adopted
        assert expected in flight.divergence.expected
        assert actual in flight.divergence.actual
        await decided(app)
        outcome = await finish(app)
        assert isinstance(outcome, Paused)
        # once the decision is on record too, the proof may stumble over it rather than over what came before
        assert outcome.divergence is not None
        assert (await kinds(app))[-1] == "run.diverged"
        assert (await app.threads())[0].status == "diverged"
    assert v2.called == []
    async with app_on(tmp_path / "t.db", v2.desk) as app:  # it is not tried over and over
        await asyncio.sleep(0.15)
        assert (await kinds(app)).count("run.diverged") == 1
        assert v2.called == []
    assert v1.called == ["price A"]


async def parked(tmp_path):
    v1 = await waiting(tmp_path)
    v2 = version(tmp_path, INCOMPATIBLE["other arguments"][0])
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        await decided(app)
        assert (await finish(app)).divergence is not None
    return v1, v2


async def test_a_parked_run_is_picked_up_again_by_the_old_version(tmp_path):
    v1, _ = await parked(tmp_path)
    async with app_on(tmp_path / "t.db", v1.desk) as app:
        outcome = await until_finished(app)
        assert outcome.state.receipt == "R-A-70"
        assert (await app.replay("t")).identical
        assert (await app.verify()).ok
    assert v1.called == ["price A", "pay A 70"]


async def test_a_parked_run_is_picked_up_by_a_fixed_version(tmp_path):
    await parked(tmp_path)
    v3 = version(tmp_path, COMPATIBLE["a later node"])
    async with app_on(tmp_path / "t.db", v3.desk) as app:
        outcome = await until_finished(app)
        assert outcome.state.receipt == "R-v2-70"
        assert "run.adopted" in await kinds(app)
    assert v3.called == ["pay v2 70"]


async def until_finished(app, run="t/1"):
    async with asyncio.timeout(10):
        while True:
            outcome = await finish(app, run)
            if isinstance(outcome, Finished):
                return outcome
            await asyncio.sleep(0.01)


def migrating(tmp_path, before, *changes, nodes="{'ask': 'question'}", state="None"):
    declared = f"desk.migration('{before}', nodes={nodes}, state={state})\ndesk.start(look_up)"
    return version(tmp_path, *changes, ("desk.start(look_up)", declared))


async def test_a_declared_migration_takes_the_run_over(tmp_path):
    v1 = await waiting(tmp_path)
    v2 = migrating(
        tmp_path, v1.desk.fingerprint[:8], ("ask", "question"), ('order: str = "A"', 'item: str = "A"'),
        ("state.order", "state.item"), state="lambda old: {'item': old.pop('order') + '2', **old}",
    )  # fmt: skip
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        await app.signal("t", "wake up")
        async with asyncio.timeout(10):
            while not await app.reviews() or "run.migrated" not in await kinds(app):
                await asyncio.sleep(0.01)
        outcome = await finish(app)
        assert isinstance(outcome, Paused)
        await app.resolve(outcome.reviews[0].id, approve(by="dana"))
        assert (await finish(app)).state.receipt == "R-A2-70"
        assert (await app.verify()).problems == []
        assert [r.status for r in await app.reviews(status="")] in (
            ["withdrawn", "approve"],
            ["approve", "withdrawn"],
        )
    assert v2.called == ["price A2", "pay A2 70"]


async def test_a_migration_of_another_version_is_not_used(tmp_path):
    await waiting(tmp_path)
    v2 = migrating(tmp_path, "0123456789abcdef", ("ask", "question"))
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        await decided(app)
        assert (await finish(app)).divergence is not None
        assert "run.migrated" not in await kinds(app)


async def test_a_migration_is_refused_after_a_write(tmp_path):
    write = ("    answer = ", "    await ctx.call(hold, order=state.order)\n    answer = ")
    v1 = await waiting(tmp_path, write)
    assert "hold A" in v1.called
    v2 = migrating(tmp_path, v1.desk.fingerprint, write, ("ask", "question"))
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        await decided(app)
        outcome = await finish(app)
        assert outcome.divergence is not None
        assert "run.migrated" not in await kinds(app)
    assert v2.called == []


async def test_a_migration_to_a_state_that_does_not_fit_is_refused(tmp_path):
    v1 = await waiting(tmp_path)
    v2 = migrating(
        tmp_path, v1.desk.fingerprint, ("ask", "question"), state="lambda old: {**old, 'amount': 'many'}"
    )
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        await decided(app)
        assert (await finish(app)).divergence is not None


async def test_the_next_run_of_a_thread_starts_on_the_newest_version_with_its_state_validated(tmp_path):
    v1 = await waiting(tmp_path)
    async with app_on(tmp_path / "t.db", v1.desk) as app:
        await decided(app)
        await finish(app)
    v2 = version(tmp_path, ('receipt: str = ""', "more: int = 3"), ('"receipt": await', '"more": 1 if await'),
                 ("amount=state.amount)}", "amount=state.amount) else 2}"))  # fmt: skip
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        await app.start("desk", {"order": "B"}, thread="t")
        await finish(app, "t/2")
        assert await app.state("t") == {"order": "B", "amount": 7, "more": 3}  # receipt is gone, more is new
        started = [x.body for x in await app.entries("t") if x.kind == "run.started"]
        assert [s.fingerprint for s in started] == [v1.desk.fingerprint, v2.desk.fingerprint]
        await decided(app)
        assert isinstance(await finish(app, "t/2"), Finished)


async def test_an_input_to_a_carried_state_that_does_not_fit_is_refused(tmp_path):
    v1 = await waiting(tmp_path)
    async with app_on(tmp_path / "t.db", v1.desk) as app:
        await decided(app)
        await finish(app)
    v2 = version(tmp_path, ("amount: int = 0", "amount: int = 0\n    owner: int"))
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        before = dump(tmp_path / "t.db")
        with pytest.raises(StateInvalid, match="owner"):
            await app.start("desk", {"order": "B"}, thread="t")
        assert dump(tmp_path / "t.db") == before


async def test_a_run_stays_pinned_to_its_version_while_that_version_drives_it(tmp_path):
    v1 = await waiting(tmp_path)
    async with app_on(tmp_path / "t.db", v1.desk) as app:
        await decided(app)
        await finish(app)
        assert "run.adopted" not in await kinds(app)
        assert {x.body.graph for x in await app.entries("t") if x.kind == "decision"} == {v1.desk.label}


async def test_a_run_that_parts_from_its_own_version_is_not_tried_over_and_over(tmp_path):
    v1 = version(
        tmp_path, ('"pay?"', '"pay?" if not called.append("asked") and called.count("asked") < 2 else "no"')
    )
    async with app_on(tmp_path / "t.db", v1.desk) as app:
        await app.start("desk", {}, thread="t")
        assert isinstance(await finish(app), Paused)
        async with asyncio.timeout(10):
            while (await finish(app)).divergence is None:  # it asks another question the second time
                await decided(app)
        await asyncio.sleep(0.5)  # five sweeps
        before = (await app.threads())[0].epoch
        await asyncio.sleep(0.5)
        assert (await app.threads())[0].epoch == before
    assert v1.called.count("asked") <= 4
