"""The helpers for users' own tests: the scripted model, the virtual clock, seeded chance, the test app."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from turnout import END, Failed, Finished, Graph, ModelReply, ToolCall
from turnout.core.messages import ModelRequest
from turnout.errors import ModelFailed
from turnout.testing import ScriptedModel, SeededChance, VirtualClock, open_test_app

DAY = 86_400_000_000


class S(BaseModel):
    words: list[str] = []


def asking(*questions: str) -> Graph:
    g = Graph("g", state=S)

    @g.node
    async def work(state: S, ctx):
        return {"words": [(await ctx.model("m", messages=q)).text for q in questions]}

    g.start(work)
    g.edge(work, END)
    return g


def request(text: str) -> ModelRequest:
    return ModelRequest(alias="m", messages=[{"role": "user", "content": text}])


async def test_a_scripted_model_plays_its_lines_in_order_and_keeps_what_it_was_asked():
    model = ScriptedModel(["one", ModelReply(text="two", tool_calls=(ToolCall(id="1", name="t"),))])
    emitted: list[object] = []
    first = await model.complete(request("a"), emitted.append)
    second = await model.complete(request("b"), emitted.append)
    assert (first.text, second.text, second.tool_calls[0].name) == ("one", "two", "t")
    assert [r.messages[0].content for r in model.requests] == ["a", "b"]
    assert emitted == [{"text": "one"}, {"text": "two"}]


async def test_a_scripted_model_at_its_end_says_so():
    model = ScriptedModel(["only"])
    await model.complete(request("a"), lambda event: None)
    with pytest.raises(ModelFailed, match="at its end after 1 lines"):
        await model.complete(request("b"), lambda event: None)


async def test_a_scripted_model_raises_what_its_script_holds():
    with pytest.raises(ConnectionError, match="down"):
        await ScriptedModel([ConnectionError("down")]).complete(request("a"), lambda event: None)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_scripted_model_can_ask_a_function(is_async):
    def echo(asked: ModelRequest) -> str:
        return asked.messages[0].content.upper()

    async def later(asked: ModelRequest) -> str:
        return echo(asked)

    model = ScriptedModel(later if is_async else echo)
    assert (await model.complete(request("hi"), lambda event: None)).text == "HI"


async def test_a_test_app_runs_in_memory_with_its_models():
    model = ScriptedModel(["x", "y"])
    async with open_test_app(graphs=[asking("a", "b")], models={"m": model}) as app:
        outcome = await app.run("g", {})
    assert isinstance(outcome, Finished)
    assert outcome.state == S(words=["x", "y"])


async def test_two_test_apps_share_nothing():
    async with open_test_app(graphs=[asking()]) as one, open_test_app(graphs=[asking()]) as two:
        await one.run("g", {}, thread="t")
        assert await two.threads() == []


async def test_a_test_app_catches_a_node_that_changes_the_state_it_was_handed():
    g = Graph("g", state=S)

    @g.node
    async def work(state: S, ctx):
        state.words.append("sneaked in")
        return {}

    g.start(work)
    g.edge(work, END)
    async with open_test_app(graphs=[g]) as app:
        outcome = await app.run("g", {})
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "StateMutated"


async def test_a_virtual_clock_moves_only_when_told_and_fires_in_order():
    clock = VirtualClock()
    start, fired = clock.now(), []
    clock.call_at(start + 3_000_000, lambda: fired.append(("c", clock.now() - start)))
    clock.call_at(start + 1_000_000, lambda: fired.append(("a", clock.now() - start)))
    clock.call_at(start + 1_000_000, lambda: fired.append(("b", clock.now() - start)))
    clock.call_at(start + 2_000_000, lambda: fired.append(("never", 0))).cancel()
    await asyncio.sleep(0.01)
    assert (clock.now(), fired) == (start, [])
    await clock.advance(2)
    assert fired == [("a", 1_000_000), ("b", 1_000_000)]
    await clock.advance(days=1)
    assert fired[2:] == [("c", 3_000_000)]
    assert clock.now() == start + DAY + 2_000_000


async def test_a_timer_that_a_timer_sets_fires_in_the_same_advance():
    clock, fired = VirtualClock(), []

    def first() -> None:
        clock.call_at(clock.now() + 1_000_000, lambda: fired.append(clock.now()))

    clock.call_at(clock.now() + 1_000_000, first)
    start = clock.now()
    await clock.advance(5)
    assert fired == [start + 2_000_000]


async def test_a_moment_that_is_past_is_now():
    clock, fired = VirtualClock(), []
    clock.call_at(clock.now() - 1, lambda: fired.append("late"))
    await clock.settle()
    assert fired == ["late"]


async def test_a_whole_app_sleeps_for_months_on_a_virtual_clock():
    g = Graph("g", state=S)

    @g.node
    async def work(state: S, ctx):
        before = await ctx.now()
        await ctx.sleep(60 * 86_400.0)
        return {"words": [str((await ctx.now() - before).days)]}

    g.start(work)
    g.edge(work, END)
    clock = VirtualClock()
    async with open_test_app(graphs=[g], clock=clock) as app:
        run = await app.start("g", {})
        await clock.advance(1)
        assert (await app.threads())[0].status == "waiting"
        await clock.advance(days=60)
        assert (await app.wait(run, timeout=5)).state.words == ["60"]


def test_the_same_seed_gives_the_same_chance():
    one, two, other = SeededChance(7), SeededChance(7), SeededChance(8)
    drawn = [(c.random(), c.hex(32), c.hex(5)) for c in (one, two, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(x) for x in drawn[0][1:]] == [32, 5]
    assert 0 <= drawn[0][0] < 1


async def test_seeded_chance_makes_the_same_names_again():
    names = []
    for _ in range(2):
        async with open_test_app(graphs=[asking()], chance=SeededChance(1)) as app:
            names.append((await app.start("g", {})).thread)
    assert names[0] == names[1]
