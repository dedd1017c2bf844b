"""Promise 11: linear storage."""

import pytest
from pydantic import BaseModel
from tests.promises.bench import app_on, finish, load, sql

from turnout import END, Finished, Graph
from turnout.testing import ScriptedModel

LOOP = """
class S(BaseModel):
    left: int = 0
    messages: Annotated[list[str], append] = []

loop = Graph("loop", state=S, step_limit=10_000)

@loop.node
async def say(state, ctx):
    return {"left": state.left - 1, "messages": [f"message {state.left:6} " + "x" * 205]}

loop.start(say)
loop.route(say, [rule("done", field("left") <= 0, to=END)], default=say)
"""


async def bytes_a_step(tmp_path, n):
    m = load(tmp_path, LOOP)
    path = tmp_path / f"{n}.db"
    async with app_on(path, m.loop, settings=None) as app:
        await app.start("loop", {"left": n}, thread="t")
        outcome = await app.wait("t/1", timeout=120)
        assert isinstance(outcome, Finished)
        assert len(outcome.state.messages) == n
    return path.stat().st_size / n


async def test_bytes_a_step_are_flat_in_the_number_of_steps(tmp_path):
    sizes = {n: await bytes_a_step(tmp_path, n) for n in (100, 400, 1600)}
    assert sizes[1600] < 1.15 * sizes[400], sizes
    assert sizes[400] < 1.15 * sizes[100], sizes
    assert max(sizes.values()) < 3_500, sizes  # the file, with its snapshots and its empty pages
    [(entries,)] = sql(
        tmp_path / "1600.db", "SELECT sum(length(body) + length(digest) + length(kind)) FROM entries"
    )
    assert entries / 1600 < 1_500


class Chat(BaseModel):
    turns: int = 0
    said: str = ""


async def agent(tmp_path, turns):
    """One step that calls a model `turns` times, each time with the whole history."""
    g = Graph("agent", state=Chat)

    @g.node
    async def talk(state: Chat, ctx):
        history = [{"role": "user", "content": "begin " + "y" * 200}]
        for n in range(state.turns):
            reply = await ctx.model("m", messages=history)
            history += [
                {"role": "assistant", "content": reply.text},
                {"role": "user", "content": f"<question-{n}> " + "y" * 200},
            ]
        return {"said": history[-2]["content"]}

    g.start(talk)
    g.edge(talk, END)
    path = tmp_path / f"chat{turns}.db"
    model = ScriptedModel([f"<answer-{n}> " + "z" * 200 for n in range(turns)])
    async with app_on(path, g, models={"m": model}) as app:
        await app.start(g, {"turns": turns}, thread="t")
        assert isinstance(await finish(app), Finished)
        entries = await app.entries("t")
        asked = [x.body.args for x in entries if x.kind == "effect.recorded"]
        assert [len(a["messages"]) for a in asked] == [2 * n + 1 for n in range(turns)]  # each is whole again
        assert (await app.replay("t")).identical
        assert (await app.verify()).problems == []
    return b"".join(
        bytes(body)
        for table in ("entries", "stored_values")
        for (body,) in sql(path, f"SELECT body FROM {table}")
    )


async def test_the_message_history_of_a_prompt_is_stored_once(tmp_path):
    stored = await agent(tmp_path, 40)
    for n in range(39):
        assert stored.count(f"<question-{n}>".encode()) == 1
        # the reply on record, the same in the history of the next call, and the last one in the state
        assert stored.count(f"<answer-{n}>".encode()) <= 2


async def test_a_conversation_grows_with_what_was_said_not_with_its_square(tmp_path):
    sizes = {n: len(await agent(tmp_path, n)) for n in (20, 40, 80)}
    assert sizes[80] < 2.2 * sizes[40], sizes
    assert sizes[40] < 2.2 * sizes[20], sizes


@pytest.mark.parametrize("n", [1_200])
async def test_entries_hold_deltas_and_a_snapshot_only_when_they_outweigh_the_last_one(tmp_path, n):
    m = load(tmp_path, LOOP)
    from tests.promises.bench import Watched

    from turnout.stores.sqlite import SqliteStore

    store = Watched(SqliteStore(str(tmp_path / "t.db")))
    async with app_on(store, m.loop, settings=None) as app:
        await app.start("loop", {"left": n}, thread="t")
        assert isinstance(await app.wait("t/1", timeout=60), Finished)
        finished = [x for x in await app.entries("t") if x.kind == "step.finished"]
        assert all(len(x.body.delta["extend"]["messages"]) == 1 for x in finished)
    snapshots = [len(c.snapshot) for c in store.appends if c.snapshot is not None]
    written = sum(len(row.stored) for c in store.appends for row in c.rows)
    assert 2 <= len(snapshots) <= 10
    assert sum(snapshots) < 2 * written


async def test_a_journal_folds_to_the_same_state_with_and_without_its_snapshot(tmp_path):
    m = load(tmp_path, LOOP)
    async with app_on(tmp_path / "t.db", m.loop, settings=None) as app:
        await app.start("loop", {"left": 200}, thread="t")
        await app.wait("t/1", timeout=60)
        with_snapshot = await app.state("t")
        assert sql(tmp_path / "t.db", "SELECT count(*) FROM snapshots") == [(1,)]
        sql(tmp_path / "t.db", "DELETE FROM snapshots")
        assert await app.state("t") == with_snapshot
