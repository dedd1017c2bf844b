"""Promise 3: output commit."""

import asyncio

import pytest
from tests.promises.bench import Watched, app_on, finish, load

from turnout import Finished, approve
from turnout.errors import StoreUnavailable
from turnout.stores.sqlite import SqliteStore
from turnout.testing import ScriptedModel

DESK = """
class S(BaseModel):
    out: str = ""

world = []

@tool(effect="read")
async def look(x: str) -> str:
    world.append(f"look {x}")
    return x

@tool(effect="pure")
async def reckon(x: str) -> str:
    return x

@tool(effect="write")
async def send(x: str) -> str:
    world.append(f"send {x}")
    return x

desk = Graph("desk", state=S, tools=[look, reckon, send])

@desk.node
async def begin(state, ctx):
    return {}

@desk.node
async def work(state, ctx):
    BODY
    return {}

desk.start(begin)
desk.edge(begin, work)
desk.edge(work, END)
"""


def desk(tmp_path, body="pass"):
    return load(tmp_path, DESK.replace("BODY", body))


def watched(tmp_path, before=None):
    return Watched(SqliteStore(str(tmp_path / "t.db")), before)


async def commits(tmp_path, body):
    m, store = desk(tmp_path, body), watched(tmp_path)
    async with app_on(store, m.desk, models={"m": ScriptedModel(["hi"] * 9)}) as app:
        await app.start("desk", {}, thread=f"t{len(body)}")
        assert isinstance(await finish(app, f"t{len(body)}/1"), Finished)
    return len(store.appends)


async def fetch():
    return 1


async def test_a_plain_step_is_one_commit(tmp_path):
    store = watched(tmp_path)
    steps = "\n".join(f"@desk.node\nasync def n{i}(state, ctx):\n    return {{}}\n" for i in range(10))
    routes = "\n".join(f"desk.edge(n{i}, n{i + 1})" for i in range(9))
    m = load(
        tmp_path,
        f"class S(BaseModel):\n    out: str = ''\ndesk = Graph('desk', state=S)\n{steps}\n"
        f"desk.start(n0)\n{routes}\ndesk.edge(n9, END)\n",
    )
    async with app_on(store, m.desk) as app:
        await app.start("desk", {}, thread="t")
        await finish(app)
    found = store.kinds("t")
    assert found == [
        ["input.received"],
        ["run.started", "decision"],
        *[["step.finished", "decision"]] * 9,
        ["step.finished", "decision", "run.finished"],
    ]


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ("await ctx.call(look, x='a')", 1),
        ("await ctx.model('m', messages='hello')", 1),
        ("await ctx.once('fetch', abs, -1)", 1),
        ("await ctx.call(send, x='a')", 2),
        ("await ctx.now(); await ctx.random(); await ctx.uuid(); await ctx.call(reckon, x='a')", 0),
        ("await ctx.now(); await ctx.call(look, x='a'); await ctx.random()", 1),
        ("await ctx.call(look, x='a'); await ctx.call(send, x='b'); await ctx.call(look, x='c')", 4),
    ],
)
async def test_an_expensive_effect_is_one_more_commit_a_write_two_and_the_rest_none(tmp_path, body, more):
    assert await commits(tmp_path, body) - await commits(tmp_path, "pass") == more


def held(kind):
    """A gate that holds every append with an entry of `kind`."""
    reached, go = asyncio.Event(), asyncio.Event()

    async def before(change):
        if kind in [row.kind for row in change.rows]:
            reached.set()
            await asyncio.wait_for(go.wait(), 5)

    return before, reached, go


async def test_no_write_is_sent_before_its_intent_is_durable(tmp_path):
    m = desk(tmp_path, "await ctx.call(send, x='a')")
    before, reached, go = held("effect.intended")
    async with app_on(watched(tmp_path, before), m.desk) as app:
        await app.start("desk", {}, thread="t")
        await asyncio.wait_for(reached.wait(), 5)
        await asyncio.sleep(0.05)
        assert m.world == []
        go.set()
        await finish(app)
    assert m.world == ["send a"]


async def test_no_effect_starts_before_what_was_paid_for_is_durable(tmp_path):
    m = desk(tmp_path, "await ctx.call(look, x='paid'); await ctx.call(look, x='next')")
    before, reached, go = held("effect.recorded")
    async with app_on(watched(tmp_path, before), m.desk) as app:
        await app.start("desk", {}, thread="t")
        await asyncio.wait_for(reached.wait(), 5)
        await asyncio.sleep(0.05)
        assert m.world == ["look paid"]
        go.set()
        await finish(app)


async def test_no_result_reaches_the_caller_before_it_is_durable(tmp_path):
    m = desk(tmp_path)
    before, reached, go = held("run.finished")
    async with app_on(watched(tmp_path, before), m.desk) as app:
        await app.start("desk", {}, thread="t")
        waiting = asyncio.ensure_future(finish(app))
        await asyncio.wait_for(reached.wait(), 5)
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert (await app.threads())[0].status == "running"
        go.set()
        assert isinstance(await waiting, Finished)


async def test_nobody_is_asked_before_the_question_is_durable(tmp_path):
    m = desk(tmp_path, "await ctx.review('ok?')")
    before, reached, go = held("review.requested")
    async with app_on(watched(tmp_path, before), m.desk) as app:
        await app.start("desk", {}, thread="t")
        events = []

        async def listen():
            async for event in app.stream("t"):
                events.append(getattr(event, "kind", event))

        listening = asyncio.ensure_future(listen())
        await asyncio.wait_for(reached.wait(), 5)
        await asyncio.sleep(0.05)
        assert await app.reviews() == []
        assert "review.requested" not in events
        go.set()
        await finish(app)
        assert "review.requested" in events
        assert len(await app.reviews()) == 1
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_store_that_refuses_lets_nothing_out(tmp_path):
    m = desk(tmp_path, "await ctx.call(send, x='a')")

    async def refuse(change):
        if "effect.intended" in [row.kind for row in change.rows]:
            raise StoreUnavailable("the disk is full")

    async with app_on(watched(tmp_path, refuse), m.desk) as app:
        run = await app.start("desk", {}, thread="t")
        with pytest.raises(TimeoutError):
            await app.wait(run, timeout=0.3)
    assert m.world == []


async def test_a_decision_reaches_its_caller_only_when_it_is_durable(tmp_path):
    m = desk(tmp_path, "await ctx.review('ok?'); await ctx.call(send, x='a')")
    before, reached, go = held("review.decided")
    async with app_on(watched(tmp_path, before), m.desk) as app:
        await app.start("desk", {}, thread="t")
        await finish(app)
        [review] = await app.reviews()
        deciding = asyncio.ensure_future(app.resolve(review, approve(by="dana")))
        await asyncio.wait_for(reached.wait(), 5)
        await asyncio.sleep(0.05)
        assert not deciding.done()
        assert m.world == []
        go.set()
        await deciding
        await finish(app)
    assert m.world == ["send a"]


async def test_threads_that_run_at_once_share_commits(tmp_path):
    m = desk(tmp_path, "await ctx.call(look, x='a')")
    inner = SqliteStore(str(tmp_path / "t.db"))
    inner._writer.typical = 1.0  # a disk that really syncs
    store, commits = Watched(inner), []
    inner._writer.db.set_trace_callback(
        lambda statement: commits.append(1) if statement == "COMMIT" else None
    )
    async with app_on(store, m.desk) as app:
        runs = await asyncio.gather(*(app.start("desk", {}, thread=f"t{n}") for n in range(64)))
        await asyncio.gather(*(finish(app, run) for run in runs))
        made, durable = len(store.appends), len(commits)
    assert made == 64 * 5
    assert durable < made / 2
