"""Promise 8, replay: exact, or the first divergence named (expected, actual, where)."""

import pytest
from tests.promises.bench import app_on, finish, kinds, load

from turnout import Cancelled, Failed, Finished, approve

WORLD = """
class S(BaseModel):
    order: str = "A"
    amount: int = 0
    notes: Annotated[list[str], append] = []
    receipt: str = ""

called = []

@tool(effect="read")
async def price(order: str) -> int:
    called.append("price")
    return 70

@tool(effect="write")
async def pay(order: str, amount: int) -> str:
    called.append("pay")
    return f"R-{order}-{amount}"

desk = Graph("desk", state=S, tools=[price, pay])
"""
NODES = """
@desk.node
async def look_up(state, ctx):
    return {"amount": await ctx.call(price, order=state.order), "notes": ["looked up"]}

@desk.node
async def ask(state, ctx):
    return {"notes": [(await ctx.review("pay?")).summary]}

@desk.node
async def settle(state, ctx):
    return {"receipt": await ctx.call(pay, order=state.order, amount=state.amount)}

desk.start(look_up)
desk.route(look_up, [rule("large", field("amount") > 50, to=ask)], default=settle)
desk.edge(ask, settle)
desk.edge(settle, END)
"""


async def recorded(tmp_path):
    """A finished run of the first version."""
    m = load(tmp_path, WORLD + NODES)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.start("desk", {}, thread="t")
        await finish(app)
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana"))
        assert isinstance(await finish(app), Finished)
        assert m.called == ["price", "pay"]
    return m


async def test_a_replay_calls_nothing_and_reproduces_every_entry(tmp_path):
    m = await recorded(tmp_path)
    m.called.clear()
    async with app_on(tmp_path / "t.db", m.desk, work=False) as app:
        replay = await app.replay("t")
        assert replay.identical
        assert replay.entries == len(await app.entries("t"))
        assert replay.view.state == await app.state("t")
    assert m.called == []


async def test_code_that_is_only_written_otherwise_replays_identically(tmp_path):
    await recorded(tmp_path)
    v2 = load(
        tmp_path,
        WORLD
        + NODES.replace(
            '    return {"notes": [(await ctx.review("pay?")).summary]}',
            '    answer = await ctx.review("pay?")\n    said = [answer.summary]\n    return {"notes": said}',
        ),
    )
    async with app_on(tmp_path / "t.db", v2.desk, work=False) as app:
        replay = await app.replay("t")
    assert replay.divergence is None
    assert v2.called == []


CHANGES = {
    "a changed node result": (
        ('"notes": ["looked up"]', '"notes": ["checked"]'),
        ("look_up.1", "looked up", "checked", 5),
    ),
    "a changed route": (
        ('rule("large", field("amount") > 50, to=ask)', 'rule("large", field("amount") > 90, to=ask)'),
        ("decision", '"target":"ask"', '"target":"settle"', 6),
    ),
    "a changed name of a rule": (
        ('rule("large"', 'rule("big"'),
        ("decision", '"rule":"large"', '"rule":"big"', 6),
    ),
    "changed arguments": (
        ("price, order=state.order)", 'price, order=state.order + "!")'),
        ("look_up.1", "tool price", 'tool price({"order":"A!"})', 4),
    ),
    "an inserted call": (
        ("async def settle(state, ctx):\n", "async def settle(state, ctx):\n    await ctx.call(price, order='B')\n"),
        ("settle.1", 'tool pay({"amount":70,"order":"A"})', 'tool price({"order":"B"})', 11),
    ),
    "an inserted call at the end": (
        ('    return {"notes": [(await ctx.review("pay?")).summary]}',
         '    said = (await ctx.review("pay?")).summary\n    await ctx.call(price, order="B")\n    return {"notes": [said]}'),
        ("ask.1", "approved by dana", 'tool price({"order":"B"})', 9),
    ),
    "a removed call": (
        ('{"receipt": await ctx.call(pay, order=state.order, amount=state.amount)}', '{"receipt": "R-A-70"}'),
        ("settle.1", 'tool pay({"amount":70,"order":"A"})', "the step ended without asking for it", 11),
    ),
    "a changed question": (
        ('ctx.review("pay?")', 'ctx.review("really pay?")'),
        ("ask.1", "review pay?", "review really pay?", 7),
    ),
    "an error where there was none": (
        ("async def settle(state, ctx):\n", "async def settle(state, ctx):\n    raise ValueError('no')\n"),
        ("settle.1", 'tool pay({"amount":70,"order":"A"})', "no", 11),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
async def test_changed_code_is_shown_the_first_divergence(tmp_path, name):
    await recorded(tmp_path)
    (old, new), (where, expected, actual, seq) = CHANGES[name]
    assert NODES.count(old) == 1
    v2 = load(tmp_path, WORLD + NODES.replace(old, new))
    async with app_on(tmp_path / "t.db", v2.desk, work=False) as app:
        replay = await app.replay("t")
    assert not replay.identical
    found = replay.divergence
    assert where in found.where
    assert expected in found.expected
    assert actual in found.actual
    assert found.seq == seq
    assert v2.called == []


async def test_a_renamed_node_is_the_first_divergence(tmp_path):
    await recorded(tmp_path)
    v2 = load(tmp_path, WORLD + NODES.replace("ask", "question"))
    async with app_on(tmp_path / "t.db", v2.desk, work=False) as app:
        replay = await app.replay("t")
    assert replay.divergence.seq == 6
    assert '"target":"ask"' in replay.divergence.expected
    assert '"target":"question"' in replay.divergence.actual
    assert replay.entries == 5


async def test_a_changed_first_state_is_the_first_divergence(tmp_path):
    await recorded(tmp_path)
    v2 = load(tmp_path, (WORLD + NODES).replace("amount: int = 0", "amount: int = 1"))
    async with app_on(tmp_path / "t.db", v2.desk, work=False) as app:
        replay = await app.replay("t")
    assert replay.divergence.seq == 2
    assert "run.started" in replay.divergence.where


MORE = {
    "branches and a fan-out": """
@desk.node
async def begin(state, ctx):
    return fan_out(each, [1, 2, 3], {"amount": 1})

@desk.node
async def each(state, ctx):
    return {"notes": [f"{ctx.item} {await ctx.call(price, order=str(ctx.item))}"]}

@desk.node
async def left(state, ctx):
    return {"receipt": await ctx.call(pay, order="l", amount=1)}

@desk.node
async def right(state, ctx):
    await ctx.sleep(0.01)
    return {"notes": [str(await ctx.random()), str(await ctx.now())]}

desk.start(begin)
desk.edge(begin, each)
desk.edge(each, parallel(left, right))
desk.edge(left, END)
desk.edge(right, END)
""",
    "a failure": """
@desk.node
async def begin(state, ctx):
    await ctx.call(pay, order="l", amount=1)
    raise ValueError("this is wrong")

desk.start(begin)
desk.edge(begin, END)
""",
    "retries": """
@desk.node(retry=Retry(attempts=3, wait=0.0))
async def begin(state, ctx):
    if ctx.attempt < 3:
        await ctx.call(price, order=f"try {ctx.attempt}")
        raise ValueError("once more")
    return {"amount": await ctx.call(price, order="A")}

desk.start(begin)
desk.edge(begin, END)
""",
    "an update that doesn't fit": """
@desk.node
async def begin(state, ctx):
    return {"amount": "many"}

desk.start(begin)
desk.edge(begin, END)
""",
    "a route that fails": """
@desk.node
async def begin(state, ctx):
    return {}

def where(state) -> Literal["END"]:
    return "nowhere"

desk.start(begin)
desk.route(begin, where)
""",
    "a sync node": """
@desk.node
def begin(state, ctx):
    return {"amount": ctx.call(price, order="A"), "notes": [str(ctx.uuid())]}

desk.start(begin)
desk.edge(begin, END)
""",
    "a loop": """
@desk.node
async def begin(state, ctx):
    return {"amount": state.amount + 1, "notes": ["x" * 300]}

desk.start(begin)
desk.route(begin, [rule("enough", field("amount") >= 40, to=END)], default=begin)
""",
    "a caught error of a tool": """
@tool(effect="read")
async def broken() -> int:
    raise ConnectionError("down")

desk._add_tool(broken)

@desk.node
async def begin(state, ctx):
    try:
        await ctx.call(broken)
    except Exception as problem:
        return {"notes": [f"{type(problem).__name__}: {problem}"]}

desk.start(begin)
desk.edge(begin, END)
""",
}


@pytest.mark.parametrize("name", MORE)
async def test_every_shape_of_run_replays_identically(tmp_path, name):
    m = load(tmp_path, WORLD + MORE[name])
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.start("desk", {}, thread="t")
        assert isinstance(await finish(app), Finished | Failed)
        m.called.clear()
        replay = await app.replay("t")
        assert replay.divergence is None
        assert replay.entries == len(await app.entries("t"))
        assert (await app.verify("t")).problems == []
    assert m.called == []


async def test_a_cancelled_run_and_the_runs_after_it_replay_identically(tmp_path):
    m = load(tmp_path, WORLD + NODES)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        for n in range(1, 4):
            await app.start("desk", {"order": f"o{n}"}, thread="t")
            await finish(app, f"t/{n}")
            if n == 2:
                await app.cancel("t", by="dana", reason="no")
                assert isinstance(await finish(app, f"t/{n}"), Cancelled)
            else:
                [review] = await app.reviews()
                await app.resolve(review, approve(by="dana"))
                assert isinstance(await finish(app, f"t/{n}"), Finished)
        replay = await app.replay("t")
        assert replay.divergence is None
        assert (await kinds(app)).count("run.finished") == 2


async def test_a_waiting_run_replays_up_to_where_it_is(tmp_path):
    m = load(tmp_path, WORLD + NODES)
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.start("desk", {}, thread="t")
        await finish(app)
        replay = await app.replay("t")
        assert replay.divergence is None
        assert replay.entries == 7


async def test_an_altered_entry_is_a_divergence_of_the_replay(tmp_path):
    from tests.promises.bench import sql

    m = await recorded(tmp_path)
    sql(tmp_path / "t.db", "UPDATE entries SET body = CAST(replace(body, '70', '71') AS BLOB) WHERE seq = 4")
    async with app_on(tmp_path / "t.db", m.desk, work=False) as app:
        replay = await app.replay("t")
    assert replay.divergence is not None
    assert replay.divergence.seq == 4
