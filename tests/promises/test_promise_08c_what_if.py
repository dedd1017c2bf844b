"""Promise 8, what-if: recorded threads under another version; writes are never performed; the gap is marked."""

from tests.promises.bench import app_on, dump, finish, load

from turnout import Finished, approve
from turnout.testing import ScriptedModel

DESK = """
class S(BaseModel):
    order: str = "A"
    amount: int = 0
    words: str = ""
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

@desk.node
async def look_up(state, ctx):
    return {"amount": await ctx.call(price, order=state.order)}

@desk.node
async def think(state, ctx):
    return {"words": (await ctx.model("m", messages="Is this fine?")).text}

@desk.node
async def ask(state, ctx):
    answer = await ctx.review("pay?")
    return {}

@desk.node
async def settle(state, ctx):
    return {"receipt": await ctx.call(pay, order=state.order, amount=state.amount)}

@desk.node
async def bill(state, ctx):
    return {"receipt": await ctx.call(pay, order="bill", amount=state.amount)}

desk.start(look_up)
desk.edge(look_up, think)
desk.route(think, [rule("small", field("amount") < 50, to=settle), rule("huge", field("amount") > 500, to=bill)],
           default=ask)
desk.edge(ask, settle)
desk.edge(settle, END)
desk.edge(bill, END)
"""


async def recorded(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk, models={"m": ScriptedModel(["fine"])}) as app:
        await app.start("desk", {}, thread="t")
        await finish(app)
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana"))
        assert isinstance(await finish(app), Finished)
    return m


async def whatif(tmp_path, old="", new=""):
    """The recorded thread under the version where `old` is `new`. Nothing may be called and nothing may change."""
    await recorded(tmp_path)
    if old:
        assert DESK.count(old) == 1
    v2 = load(tmp_path, DESK.replace(old, new) if old else DESK)
    before = dump(tmp_path / "t.db")
    model = ScriptedModel([])
    async with app_on(tmp_path / "t.db", v2.desk, models={"m": model}, work=False) as app:
        found = await app.whatif("t")
    assert v2.called == []
    assert model.requests == []
    assert dump(tmp_path / "t.db") == before
    return found


async def test_the_same_version_does_the_same(tmp_path):
    found = await whatif(tmp_path)
    assert found.same
    assert found.gap is None
    assert found.answered == 4
    assert found.unused == []
    assert found.after.state["receipt"] == "R-A-70"
    assert found.after.status == "finished"


async def test_a_changed_rule_takes_another_path_answered_from_the_record(tmp_path):
    found = await whatif(tmp_path, 'field("amount") < 50', 'field("amount") < 90')
    assert not found.same
    assert found.gap is None
    assert found.before.steps == ["look_up.1", "think.1", "ask.1", "settle.1"]
    assert found.after.steps == ["look_up.1", "think.1", "settle.1"]
    assert found.after.decisions[2] == "think.1 -> settle (small)"
    assert found.unused == ["ask: review pay?"]
    assert found.changed_fields == {}


async def test_a_changed_rule_that_leads_to_what_was_never_done_marks_the_gap(tmp_path):
    found = await whatif(tmp_path, 'field("amount") > 500', 'field("amount") > 60')
    assert found.after.steps == ["look_up.1", "think.1"]
    assert found.gap.where == "step bill.1"
    assert found.gap.actual == 'tool pay({"amount":70,"order":"bill"})'
    assert found.after.state["receipt"] == ""


async def test_a_changed_prompt_marks_the_gap_at_the_model_call(tmp_path):
    found = await whatif(tmp_path, "Is this fine?", "Is this really fine?")
    assert found.gap.where == "step think.1"
    assert "model m" in found.gap.actual
    assert "really fine" in found.gap.actual
    assert found.after.steps == ["look_up.1"]
    assert found.answered == 1


async def test_a_changed_state_shows_in_the_fields(tmp_path):
    found = await whatif(tmp_path, ".text}", ".text.upper()}")
    assert found.gap is None
    assert found.changed_fields == {"words": ("fine", "FINE")}


async def test_every_run_of_a_thread_is_rerun(tmp_path):
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk, models={"m": ScriptedModel(["fine", "good"])}) as app:
        for n in (1, 2):
            await app.start("desk", {"order": f"o{n}"}, thread="t")
            await finish(app, f"t/{n}")
            [review] = await app.reviews()
            await app.resolve(review, approve(by="dana"))
            await finish(app, f"t/{n}")
        m.called.clear()
        found = await app.whatif("t")
        assert found.gap is None
        assert found.after.state["receipt"] == "R-o2-70"
        assert found.after.state["words"] == "good"
        assert found.same
    assert m.called == []


async def test_another_graph_object_can_be_handed_in(tmp_path):
    m = await recorded(tmp_path)
    v2 = load(tmp_path, DESK.replace('field("amount") < 50', 'field("amount") < 90'))
    async with app_on(tmp_path / "t.db", m.desk, work=False) as app:
        assert (await app.whatif("t")).same
        assert not (await app.whatif("t", v2.desk)).same


async def test_retries_and_caught_errors_are_answered_as_they_were(tmp_path):
    m = load(
        tmp_path,
        """
class S(BaseModel):
    out: str = ""
calls = []

@tool(effect="read")
async def shaky() -> str:
    calls.append(1)
    if len(calls) < 3:
        raise ConnectionError("down")
    return "up"

desk = Graph("desk", state=S, tools=[shaky])

@desk.node(retry=Retry(attempts=5, wait=0.0))
async def work(state, ctx):
    return {"out": await ctx.call(shaky)}

desk.start(work)
desk.edge(work, END)
""",
    )
    async with app_on(tmp_path / "t.db", m.desk) as app:
        await app.run("desk", {}, thread="t")
        found = await app.whatif("t")
        assert len(m.calls) == 3
        assert found.gap is None
        assert found.after.state["out"] == "up"
