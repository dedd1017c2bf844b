"""Promise 10: data only."""

import ast
import datetime as dt
import decimal
import json
import pickle
from pathlib import Path

import pytest
from pydantic import BaseModel
from tests.promises.bench import app_on, finish, sql

import turnout
from turnout import END, Failed, Finished, Graph, approve, tool
from turnout.core import entries as e
from turnout.errors import JournalDamaged, TurnoutError


class Line(BaseModel):
    item: str
    price: decimal.Decimal


class S(BaseModel):
    when: dt.datetime | None = None
    lines: list[Line] = []
    kinds: str = ""


@tool(effect="read")
async def fetch() -> list[Line]:
    return [Line(item="pen", price=decimal.Decimal("1.50"))]


desk = Graph("desk", state=S, tools=[fetch])


@desk.node
async def work(state: S, ctx):
    lines = await ctx.call(fetch)
    await ctx.review("ok?")
    return {"lines": lines, "when": await ctx.now()}


@desk.node
async def look(state: S, ctx):
    [line] = state.lines
    return {"kinds": f"{type(state.when).__name__} {type(line).__name__} {type(line.price).__name__}"}


desk.start(work)
desk.edge(work, look)
desk.edge(look, END)


async def recorded(tmp_path, *, done=True):
    async with app_on(tmp_path / "t.db", desk) as app:
        await app.start(desk, {}, thread="t")
        await finish(app)
        if done:
            [review] = await app.reviews()
            await app.resolve(review, approve(by="dana"))
            assert isinstance(await finish(app), Finished)
        return await app.state("t")


async def test_the_journal_is_json_of_declared_types(tmp_path):
    await recorded(tmp_path)
    rows = sql(tmp_path / "t.db", "SELECT kind, body FROM entries ORDER BY seq")
    for kind, body in rows:
        assert isinstance(json.loads(body), dict)
        assert type(e.decode_body(kind, body)) is e.BODIES[kind]


async def test_what_is_read_back_has_its_declared_types(tmp_path):
    state = await recorded(tmp_path)
    assert state["kinds"] == "datetime Line Decimal"
    assert state["lines"] == [{"item": "pen", "price": "1.50"}]


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


async def touch(app):
    """Everything that reads a journal."""
    [review] = await app.reviews(status="")
    for ask in (
        lambda: app.entries("t"),
        lambda: app.state("t"),
        lambda: app.replay("t"),
        lambda: app.whatif("t"),
        lambda: app.verify("t"),
        lambda: app.fork("t"),
        lambda: app.resolve(review.id, approve(by="dana")),
        lambda: app.wait("t/1", timeout=0.3),
    ):
        try:
            await ask()
        except (TurnoutError, TimeoutError):
            pass


async def test_nothing_stored_is_ever_unpickled(tmp_path):
    await recorded(tmp_path, done=False)
    bomb = pickle.dumps(Bomb(str(tmp_path / "exploded")))
    sql(tmp_path / "t.db", "UPDATE entries SET body = ? WHERE seq = 4", bomb)
    sql(tmp_path / "t.db", "INSERT OR REPLACE INTO snapshots VALUES (1, 3, ?)", bomb)
    sql(tmp_path / "t.db", "UPDATE stored_values SET body = ?", bomb)
    async with app_on(tmp_path / "t.db", desk) as app:
        await touch(app)
        assert not (await app.verify()).ok
    assert not (tmp_path / "exploded").exists()
    assert pickle.loads(bomb).close() is None  # the bomb itself does work
    assert (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "body",
    [
        b'{"review": 1}',
        b'{"__reduce__": ["os.system", "true"]}',
        b'{"effect": "tool", "name": ["x"], "key": "k"}',
        b"not json",
        b"",
        b'{"$packed":{"result":{"$ref":"nowhere"}}}',
    ],
)
async def test_an_entry_that_is_not_of_its_declared_type_is_an_error_that_names_it(tmp_path, body):
    await recorded(tmp_path)
    sql(tmp_path / "t.db", "UPDATE entries SET body = ? WHERE seq = 4", body)
    async with app_on(tmp_path / "t.db", desk, work=False) as app:
        with pytest.raises(JournalDamaged, match=r"thread t: entry 4|stored value"):
            await app.entries("t")


async def test_what_is_not_plain_data_never_gets_into_the_journal():
    g = Graph("g", state=S)

    @g.node
    async def bad(state: S, ctx):
        await ctx.once("thing", lambda: object())
        return {}

    g.start(bad)
    g.edge(bad, END)
    async with app_on("sqlite://", g) as app:
        outcome = await app.run(g, {}, thread="t")
        assert isinstance(outcome, Failed)
        assert "object" in outcome.error.message
        with pytest.raises(TurnoutError):
            await app.signal("t", "x", object())


def test_no_module_knows_how_to_execute_data():
    """No pickle, marshal, shelve, eval, exec or yaml anywhere in the package."""
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "jsonpickle"}
    found = []
    for path in Path(turnout.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").partition(".")[0]}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = {node.func.id} & {"eval", "exec", "compile"}
            else:
                continue
            found += [
                f"{path.name}:{node.lineno} {name}"
                for name in names & (forbidden | {"eval", "exec", "compile"})
            ]
    assert found == []
