"""Promise 13: bad input gets a clear error and changes nothing."""

import importlib
import inspect
import pkgutil

import click
import pytest
from tests.promises.bench import app_on, dump, finish, load

import turnout
from turnout import Judgement, approve, edit, errors, landed, reject, respond
from turnout.errors import (
    DecisionNotAllowed,
    ForkRefused,
    InputInvalid,
    KeyReused,
    ReviewStale,
    SettingsInvalid,
    StoreDamaged,
    StoreUnavailable,
    ThreadBusy,
    TurnoutError,
    UnknownEntry,
    UnknownGraph,
    UnknownReview,
    UnknownRun,
    UnknownThread,
)
from turnout.wiring import open_store

DESK = """
class S(BaseModel):
    order: str
    amount: int = 0

desk = Graph("desk", state=S)

@desk.node
async def ask(state, ctx):
    answer = await ctx.review("pay?", payload={"amount": 70}, allowed=["approve", "edit", "reject"], roles=["finance"],
                              separate=True)
    return {"amount": answer.payload["amount"]}

desk.start(ask)
desk.edge(ask, END)

other = Graph("other", state=S)
other.node(ask)
other.start(ask)
other.edge(ask, END)
"""

BAD = {
    "an unknown graph": (UnknownGraph, "desk", lambda a, r: a.start("dsek", {"order": "A"})),
    "a missing field": (InputInvalid, "order", lambda a, r: a.start("desk", {})),
    "an unknown field": (InputInvalid, "amuont", lambda a, r: a.start("desk", {"order": "A", "amuont": 1})),
    "a wrong type": (InputInvalid, "amount", lambda a, r: a.start("desk", {"order": "A", "amount": "x"})),
    "a field that is no data": (InputInvalid, "the input", lambda a, r: a.start("desk", {"the input": object()})),
    "a name with spaces": (InputInvalid, "a b", lambda a, r: a.start("desk", {"order": "A"}, thread="a b")),
    "an empty name": (InputInvalid, "name", lambda a, r: a.start("desk", {"order": "A"}, thread="")),
    "a name that is too long": (InputInvalid, "200", lambda a, r: a.start("desk", {"order": "A"}, thread="x" * 201)),
    "a thread of another graph": (InputInvalid, "other", lambda a, r: a.start("other", {"order": "A"}, thread="t")),
    "a key with another input": (KeyReused, "k1", lambda a, r: a.start("desk", {"order": "B"}, thread="t", idempotency_key="k1")),
    "a busy thread": (ThreadBusy, "active", lambda a, r: a.start("desk", {"order": "B"}, thread="t", if_active="refuse")),
    "an unknown thread to wait for": (UnknownThread, "nobody", lambda a, r: a.wait("nobody/1")),
    "an unknown run": (UnknownRun, "run 9", lambda a, r: a.wait("t/9")),
    "something that is no run": (UnknownRun, "thread/1", lambda a, r: a.wait("t")),
    "an unknown thread to cancel": (UnknownThread, "nobody", lambda a, r: a.cancel("nobody")),
    "an unknown run to cancel": (UnknownRun, "9", lambda a, r: a.cancel("t", run=9)),
    "an unknown thread to signal": (UnknownThread, "nobody", lambda a, r: a.signal("nobody", "go")),
    "a signal that is no data": (InputInvalid, "payload", lambda a, r: a.signal("t", "go", object())),
    "an unknown review": (UnknownReview, "rev-x", lambda a, r: a.resolve("rev-x", approve(by="dana"))),
    "a decision by nobody": (InputInvalid, "name", lambda a, r: a.resolve(r, approve(by=" "))),
    "a decision that isn't allowed": (DecisionNotAllowed, "approve, edit, reject", lambda a, r: a.resolve(r, respond("hi", by="dana"))),
    "a word that is no decision": (DecisionNotAllowed, "maybe", lambda a, r: a.resolve(r, Judgement("maybe", "dana"))),
    "landed on a question": (DecisionNotAllowed, "landed", lambda a, r: a.resolve(r, landed(by="dana"))),
    "a role that may not": (DecisionNotAllowed, "finance", lambda a, r: a.resolve(r, approve(by="dana", roles=["sales"]))),
    "the requester's own decision": (DecisionNotAllowed, "kim", lambda a, r: a.resolve(r, approve(by="kim"))),
    "a decision on stale content": (ReviewStale, "again", lambda a, r: a.resolve(r.id, approve(by="dana", shown="0" * 16))),
    "an edit of an unknown field": (InputInvalid, "amuont", lambda a, r: a.resolve(r, edit({"amuont": 1}, by="dana"))),
    "an edit of another type": (InputInvalid, "amount", lambda a, r: a.resolve(r, edit({"amount": "x"}, by="dana"))),
    "an edit that is no object": (InputInvalid, "object", lambda a, r: a.resolve(r, edit(7, by="dana"))),
    "a reject with no data for a reason": (InputInvalid, "name", lambda a, r: a.resolve(r, reject(by=""))),
    "an unknown thread to explain": (UnknownThread, "nobody", lambda a, r: a.explain("nobody")),
    "an unknown entry to explain": (UnknownEntry, "99", lambda a, r: a.explain("t", at=99)),
    "an unknown entry to look at": (UnknownEntry, "-1", lambda a, r: a.state("t", at=-1)),
    "an unknown thread to replay": (UnknownThread, "nobody", lambda a, r: a.replay("nobody")),
    "an unknown thread to rerun": (UnknownThread, "nobody", lambda a, r: a.whatif("nobody")),
    "an unknown thread to fork": (UnknownThread, "nobody", lambda a, r: a.fork("nobody")),
    "an unknown entry to fork at": (UnknownEntry, "99", lambda a, r: a.fork("t", at=99)),
    "a fork with an unknown field": (InputInvalid, "nothing", lambda a, r: a.fork("t", at=3, update={"nothing": 1})),
    "a fork over another thread": (ForkRefused, "t", lambda a, r: a.fork("t", at=3, name="t")),
    "an unknown thread to verify": (UnknownThread, "nobody", lambda a, r: a.verify("nobody")),
    "a head that is none": (InputInvalid, "turnout head", lambda a, r: a.verify(against={"x": 1})),
    "an unknown thread's head": (UnknownThread, "nobody", lambda a, r: a.head("nobody")),
}  # fmt: skip


@pytest.fixture
async def desk(tmp_path):
    """A thread that waits for a person."""
    m = load(tmp_path, DESK)
    async with app_on(tmp_path / "t.db", m.desk, m.other) as app:
        await app.start("desk", {"order": "A"}, thread="t", idempotency_key="k1", by="kim")
        await finish(app)
    async with app_on(tmp_path / "t.db", m.desk, m.other, work=False) as app:
        yield app


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_refused_clearly_and_changes_nothing(desk, tmp_path, name):
    kind, hint, call = BAD[name]
    [review] = await desk.reviews()
    before = dump(tmp_path / "t.db")
    with pytest.raises(kind) as refused:
        await call(desk, review)
    assert type(refused.value) is kind
    assert hint in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) > 15
    assert refused.value.headline
    assert dump(tmp_path / "t.db") == before


async def test_what_was_refused_can_be_done_right_afterwards(desk):
    [review] = await desk.reviews()
    with pytest.raises(DecisionNotAllowed):
        await desk.resolve(review, approve(by="kim"))
    closed = await desk.resolve(review, edit({"amount": 5}, by="dana", roles=["finance"]))
    assert closed.status == "edit"


@pytest.mark.parametrize(
    ("url", "kind", "hint"),
    [
        ("mysql://x", SettingsInvalid, "sqlite:///"),
        ("sqlite:///{tmp}/no/such/folder/t.db", StoreUnavailable, "doesn't exist"),
        ("sqlite:///{tmp}/text.db", StoreDamaged, "not a"),
        ("sqlite:///{tmp}/foreign.db", StoreDamaged, "not a Turnout store"),
    ],
)
def test_a_store_that_can_not_be_used_says_why_and_is_left_as_it_was(tmp_path, url, kind, hint):
    import sqlite3

    (tmp_path / "text.db").write_text("this is a letter, not a database" * 100)
    with sqlite3.connect(tmp_path / "foreign.db") as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with pytest.raises(kind, match=hint):
        open_store(url.format(tmp=tmp_path))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name in before} == before


def error_classes():
    return [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, TurnoutError)]


def test_errors_are_one_tree_in_one_file():
    """What the command line shows is click's own kind of error; everything else is ours, and is in the tree."""
    for module in pkgutil.walk_packages(turnout.__path__, "turnout."):
        if module.name.endswith("__main__") or module.name.startswith(
            "turnout.demo"
        ):  # the demo is user code
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            if not inspect.isclass(thing) or not thing.__module__.startswith("turnout"):
                continue
            if issubclass(thing, Exception) and not issubclass(thing, click.ClickException):
                assert thing.__module__ == "turnout.errors", f"{module.name}.{name}"
                assert issubclass(thing, TurnoutError)


def test_the_tree_is_drawn_at_the_top_of_the_file():
    drawn = errors.__doc__
    for kind in error_classes():
        assert kind.__name__ in drawn, kind
        assert kind.__doc__, kind
