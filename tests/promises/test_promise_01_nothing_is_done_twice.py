"""Promise 1: nothing is done twice by us."""

import asyncio

import pytest
from pydantic import BaseModel
from tests.promises.bench import Dying, Later, app_on, finish, kinds, load, until_death

from turnout import END, Context, Finished, Graph, Paused, approve, tool
from turnout.testing import ScriptedModel

DESK = """
class S(BaseModel):
    seen: Annotated[list, append] = []
    out: str = ""

asked, sent, code = [], [], {"mode": "as recorded"}

@tool(effect="read")
async def look(x: str) -> str:
    asked.append(x)
    return f"{x}{len(asked)}"

@tool(effect="write")
async def send(x: str) -> str:
    sent.append(x)
    return f"sent {x}"

desk = Graph("desk", state=S, tools=[look, send])
"""


def ending(node):
    return f"\ndesk.start({node})\ndesk.edge({node}, END)\n"


async def test_a_step_that_is_resumed_after_a_pause_gets_every_effect_from_the_journal(tmp_path):
    m = load(
        tmp_path,
        DESK
        + """
@desk.node
async def work(state, ctx):
    async def fetch(n):
        asked.append(n)
        return n * 2
    seen = [await ctx.call(look, x="a"), await ctx.call(send, x="b"), await ctx.once("fetch", fetch, 3),
            (await ctx.model("m", messages="hello")).text, await ctx.retrieve("docs", "q", k=1),
            str(await ctx.now()), await ctx.random(), str(await ctx.uuid())]
    code.setdefault("first", seen)
    await ctx.review("ok?")
    return {"seen": seen}
"""
        + ending("work"),
    )
    searched = []

    async def docs(query, k):
        searched.append(query)
        return [f"document {len(searched)}"]

    model = ScriptedModel(["hi", "another answer"])
    async with app_on(tmp_path / "t.db", m.desk, models={"m": model}, retrievers={"docs": docs}) as app:
        await app.start("desk", {}, thread="t")
        assert isinstance(await finish(app), Paused)
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana"))
        outcome = await finish(app)
    assert isinstance(outcome, Finished)
    assert outcome.state.seen == m.code["first"]
    assert (m.asked, m.sent, searched, len(model.requests)) == (["a", 3], ["b"], ["q"], 1)


async def test_a_step_that_is_resumed_after_a_crash_gets_what_was_durable(tmp_path):
    m = load(
        tmp_path,
        DESK
        + """
@desk.node
async def work(state, ctx):
    return {"seen": [await ctx.call(look, x="a"), await ctx.call(send, x="w"), await ctx.call(look, x="b")]}
"""
        + ending("work"),
    )
    dying = Dying(tmp_path / "t.db", "effect.recorded", nth=2)
    async with until_death(dying, m.desk, {}):
        assert (m.asked, m.sent) == (["a", "b"], ["w"])
    async with app_on(tmp_path / "t.db", m.desk, clock=Later()) as app:
        outcome = await finish(app)
    assert m.asked == [
        "a",
        "b",
        "b",
    ]  # the answer that had not become durable is asked for again, and no other
    assert m.sent == ["w"]
    assert outcome.state.seen == ["a1", "sent w", "b3"]


async def test_a_step_that_is_resumed_after_a_deploy_gets_every_recorded_effect(tmp_path):
    v1 = load(
        tmp_path,
        DESK
        + """
@desk.node
async def work(state, ctx):
    got = await ctx.call(look, x="a")
    await ctx.review("ok?")
    return {"out": got}
"""
        + ending("work"),
    )
    v2 = load(
        tmp_path,
        DESK
        + """
@desk.node
async def work(state, ctx):
    got = await ctx.call(look, x="a")
    await ctx.review("ok?")
    return {"out": got + ", " + await ctx.call(look, x="more")}
"""
        + ending("work"),
    )
    async with app_on(tmp_path / "t.db", v1.desk) as app:
        await app.start("desk", {}, thread="t")
        await finish(app)
    async with app_on(tmp_path / "t.db", v2.desk) as app:
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana"))
        outcome = await finish(app)
    assert outcome.state.out == "a1, more1"
    assert (v1.asked, v2.asked) == (["a"], ["more"])


async def resumed(tmp_path, node):
    """Run `node` to its pause, then resume it with `code["mode"]` set to "changed" (code that no fingerprint sees)."""
    m = load(tmp_path, DESK + node + ending("work"))
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.start("desk", {}, thread="t")
        assert isinstance(await finish(app), Paused)
        m.code["mode"] = "changed"
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana"))
        outcome = await finish(app)
        return m, outcome, await kinds(app)


async def test_an_inserted_call_is_never_handed_another_calls_answer(tmp_path):
    m, outcome, _ = await resumed(
        tmp_path,
        """
@desk.node
async def work(state, ctx):
    seen = []
    if code["mode"] == "changed":
        seen.append(await ctx.call(look, x="inserted"))
    seen.append(await ctx.call(look, x="a"))
    await ctx.review("ok?")
    return {"seen": seen}
""",
    )
    assert m.asked == ["a", "inserted"]
    assert outcome.state.seen == ["inserted2", "a1"]


async def test_a_call_with_other_arguments_is_another_call(tmp_path):
    m, outcome, entries = await resumed(
        tmp_path,
        """
@desk.node
async def work(state, ctx):
    got = await ctx.call(look, x="a" if code["mode"] == "as recorded" else "b")
    await ctx.review("ok?")
    return {"out": got}
""",
    )
    assert m.asked == ["a", "b"]
    assert isinstance(
        outcome, Paused
    )  # it ended without asking for a's answer, which is on record: a divergence
    assert entries[-1] == "run.diverged"


async def test_the_same_call_twice_gets_each_its_own_answer(tmp_path):
    m, outcome, _ = await resumed(
        tmp_path,
        """
@desk.node
async def work(state, ctx):
    seen = [await ctx.call(look, x="a"), await ctx.call(look, x="a")]
    await ctx.review("ok?")
    return {"seen": seen + [await ctx.call(look, x="a")]}
""",
    )
    assert outcome.state.seen == ["a1", "a2", "a3"]
    assert m.asked == ["a"] * 3


async def test_a_write_that_is_not_on_record_while_a_recorded_one_is_unclaimed_sends_nothing(tmp_path):
    m, outcome, entries = await resumed(
        tmp_path,
        """
@desk.node
async def work(state, ctx):
    out = await ctx.call(send, x="A" if code["mode"] == "as recorded" else "B")
    await ctx.review("ok?")
    return {"out": out}
""",
    )
    assert m.sent == ["A"]
    assert isinstance(outcome, Paused)
    divergence = outcome.divergence
    assert divergence.where == "step work.1"
    assert divergence.expected == 'tool send({"x":"A"})'
    assert divergence.actual == 'tool send({"x":"B"})'
    assert entries[-1] == "run.diverged"


async def test_a_new_write_after_all_recorded_ones_were_claimed_is_sent(tmp_path):
    m, outcome, _ = await resumed(
        tmp_path,
        """
@desk.node
async def work(state, ctx):
    out = await ctx.call(send, x="A")
    await ctx.review("ok?")
    return {"out": out + " and " + await ctx.call(send, x="B")}
""",
    )
    assert m.sent == ["A", "B"]
    assert outcome.state.out == "sent A and sent B"


@pytest.mark.parametrize("call", ["send, x='A'", "look, x='A'"])
async def test_a_step_that_ends_with_recorded_effects_unclaimed_has_diverged(tmp_path, call):
    _m, outcome, entries = await resumed(
        tmp_path,
        f"""
@desk.node
async def work(state, ctx):
    if code["mode"] == "as recorded":
        await ctx.call({call})
    await ctx.review("ok?")
    return {{"out": "done"}}
""",
    )
    assert isinstance(outcome, Paused)
    assert outcome.divergence.actual == "the step ended without asking for it"
    assert outcome.divergence.expected.startswith(f"tool {call.partition(',')[0]}")
    assert "step.finished" not in entries


async def test_a_cancelled_commit_does_not_put_an_entry_on_record_twice(tmp_path):
    """A cancel reaches a step while the intent of its write is being made durable."""
    from tests.promises.bench import Watched

    from turnout.stores.sqlite import SqliteStore

    class S(BaseModel):
        out: str = ""

    sent = []

    @tool(effect="write")
    async def send(x: str) -> str:
        sent.append(x)
        return x

    g = Graph("g", state=S, tools=[send])

    @g.node
    async def work(state: S, ctx: Context):
        return {"out": await ctx.call(send, x="a")}

    g.start(work)
    g.edge(work, END)
    holding, asked = asyncio.Event(), asyncio.Event()

    async def hold(change):
        if any(row.kind == "effect.intended" for row in change.rows):
            holding.set()
            await asked.wait()

    store = Watched(SqliteStore(str(tmp_path / "t.db")), hold)
    async with app_on(store, g) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.wait_for(holding.wait(), 5)
        cancel = asyncio.ensure_future(app.cancel("t", by="dana"))
        await asyncio.sleep(0.05)
        asked.set()
        await cancel
        await finish(app, run)
        found = await kinds(app)
    assert found.count("effect.intended") <= 1
    assert len(sent) <= 1
