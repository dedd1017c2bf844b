"""explain: the four questions, answered from the journal as data."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from tests.promises.bench import Dying, Later, app_on, until_death

from turnout import (
    END,
    Context,
    Failed,
    Finished,
    Graph,
    ModelReply,
    Paused,
    Retry,
    Usage,
    add,
    append,
    approve,
    edit,
    fan_out,
    field,
    landed,
    merge,
    parallel,
    rule,
    tool,
)
from turnout.errors import UnknownEntry
from turnout.service.app import App
from turnout.service.explain import as_data, with_replay
from turnout.service.report import Report
from turnout.testing import ScriptedModel, VirtualClock, open_test_app


class Desk(BaseModel):
    order: str
    amount: int = 0
    notes: Annotated[list[str], append] = []
    facts: Annotated[dict[str, int], merge] = {}
    receipt: str | None = None


@tool(effect="read")
async def order_total(order: str) -> int:
    return 9000


@tool(effect="write")
async def send_refund(order: str, amount: int, idempotency_key: str) -> str:
    return "R-1"


desk = Graph("desk", state=Desk, tools=[order_total, send_refund])


@desk.node
async def look_up(state: Desk, ctx: Context) -> dict[str, Any]:
    reply = await ctx.model("clerk", messages="What is it about?")
    return {
        "amount": await ctx.call(order_total, order=state.order),
        "notes": [reply.text],
        "facts": {"seen": 1},
    }


@desk.node
async def ask(state: Desk, ctx: Context) -> dict[str, Any]:
    decision = await ctx.review(
        "Refund?", payload={"amount": state.amount}, allowed=["approve", "edit", "reject"], roles=["finance"]
    )
    return {"amount": decision.payload["amount"]}


@desk.node
async def pay(state: Desk, ctx: Context) -> dict[str, Any]:
    return {"receipt": await ctx.call(send_refund, order=state.order, amount=state.amount)}


desk.start(look_up)
desk.route(look_up, [rule("small refund", field("amount") <= 5_000, to=pay)], default=ask)
desk.edge(ask, pay)
desk.edge(pay, END)

REPLY = ModelReply(
    text="a broken lamp", usage=Usage(input_tokens=12, output_tokens=5), cost_micros=420, model="clerk-1"
)


async def refunded(app: App) -> Report:
    outcome = await app.run("desk", {"order": "A-17"}, thread="case", by="eve", idempotency_key="k")
    assert isinstance(outcome, Paused)
    await app.resolve(
        outcome.reviews[0], edit({"amount": 100}, by="dana", roles=["finance"], comment="too much")
    )
    assert isinstance(await app.wait("case/1", timeout=10), Finished)
    return await app.explain("case")


def scripted() -> App:
    return open_test_app(graphs=[desk], models={"clerk": ScriptedModel([REPLY] * 3)})


async def test_the_first_question_has_the_state_and_what_each_step_changed_in_it() -> None:
    async with scripted() as app:
        report = await refunded(app)
    assert report.status == "finished"
    assert report.state["amount"] == 100
    assert report.at == report.head == len(report.entries)
    changes = {
        (found.step or found.what, change.field): change
        for found in report.state_changes
        for change in found.changes
    }
    assert (changes["input", "order"].before, changes["input", "order"].after) == (None, "A-17")
    amount = changes["look_up.1", "amount"]
    assert (amount.how, amount.before, amount.after) == ("set", 0, 9000)
    assert (changes["ask.1", "amount"].before, changes["ask.1", "amount"].after) == (9000, 100)
    notes = changes["look_up.1", "notes"]
    assert (notes.how, notes.items, notes.wrote) == ("append", 0, ["a broken lamp"])
    facts = changes["look_up.1", "facts"]
    assert (facts.how, facts.before, facts.wrote) == ("merge", {}, {"seen": 1})


class Tally(BaseModel):
    found: list[str] = []
    notes: Annotated[list[str], append] = []
    facts: Annotated[dict[str, int], merge] = {}
    count: Annotated[int, add] = 0
    share: float | int = 1


async def test_what_a_step_wrote_and_left_as_it_was_is_no_change() -> None:
    tally = Graph("tally", state=Tally)

    @tally.node
    async def same(state: Tally, ctx: Context) -> dict[str, Any]:
        return {"found": [], "notes": [], "facts": {"seen": 1}, "count": 0}

    @tally.node
    async def other(state: Tally, ctx: Context) -> dict[str, Any]:
        return {"found": [], "facts": {"seen": 1, "more": 2}, "share": 1.0}

    tally.start(same)
    tally.edge(same, other)
    tally.edge(other, END)
    async with open_test_app(graphs=[tally]) as app:
        assert isinstance(await app.run("tally", {"facts": {"seen": 1}}, thread="t"), Finished)
        report = await app.explain("t")
    changed = {found.step: {change.field for change in found.changes} for found in report.state_changes}
    assert "same.1" not in changed
    assert changed["other.1"] == {"share", "facts"}


async def test_the_second_question_has_every_call_with_arguments_result_outcome_tokens_and_cost() -> None:
    async with scripted() as app:
        report = await refunded(app)
    model, read, write = report.calls
    assert (model.kind, model.name, model.outcome, model.model) == ("model", "clerk", "answered", "clerk-1")
    assert (model.input_tokens, model.output_tokens, model.cost_micros) == (12, 5, 420)
    assert model.args["messages"][0]["content"] == "What is it about?"
    assert (read.name, read.args, read.result, read.write) == ("order_total", {"order": "A-17"}, 9000, False)
    assert (write.name, write.outcome, write.result) == ("send_refund", "landed", "R-1")
    assert write.write
    assert len(write.idempotency_key) == 32
    assert [found.how for found in write.settled] == ["call"]
    assert report.unknown_writes == ()
    assert (report.totals.calls, report.totals.model_calls, report.totals.cost_micros) == (3, 1, 420)


async def test_the_third_question_has_rule_values_alternatives_version_and_people() -> None:
    async with scripted() as app:
        report = await refunded(app)
    decision = next(found for found in report.decisions if found.after == "look_up.1")
    assert (decision.target, decision.rule, decision.reads) == ("ask", "default", {"amount": 9000})
    assert decision.alternatives == (("small refund", "pay"),)
    assert (decision.graph, decision.fingerprint) == ("desk", desk.fingerprint)
    [review] = report.reviews
    assert (review.question, review.payload, review.roles) == ("Refund?", {"amount": 9000}, ("finance",))
    assert (review.status, review.requester) == ("edit", "eve")
    assert review.closed_at is not None
    [said] = review.opinions
    assert (said.by, said.roles, said.decision, said.comment) == ("dana", ("finance",), "edit", "too much")
    assert said.payload == {"amount": 100}
    assert review.shown != said.shown
    assert [run.by for run in report.runs] == ["eve"]
    assert [(run.number, run.status, run.key, run.steps) for run in report.runs] == [(1, "finished", "k", 3)]


async def test_the_fourth_question_is_a_command_until_a_replay_was_made() -> None:
    async with scripted() as app:
        report = await refunded(app)
        assert report.replay.identical is None
        assert report.replay.command.startswith("turnout replay case")
        answered = with_replay(report, await app.replay("case"))
    assert answered.replay.identical is True
    assert answered.replay.entries == report.head


async def test_at_an_earlier_entry_only_what_was_known_then_is_told() -> None:
    async with scripted() as app:
        whole = await refunded(app)
        asked = whole.reviews[0].seq
        report = await app.explain("case", at=asked)
        with pytest.raises(UnknownEntry):
            await app.explain("case", at=whole.head + 1)
    assert (report.at, report.head) == (asked, whole.head)
    assert report.status == "waiting"
    assert report.state["amount"] == 9000
    [review] = report.reviews
    assert (review.status, review.closed_at, review.opinions) == ("open", None, ())
    step = report.steps[-1]
    assert (step.id, step.status, step.waits_for) == ("ask.1", "open", (f"review {review.id}",))
    assert [call.write for call in report.calls] == [False, False]


async def test_a_report_is_plain_json_and_shortens_nothing() -> None:
    long = "x" * 50_000
    async with scripted() as app:
        await app.run("desk", {"order": long}, thread="case")
        report = await app.explain("case")
    data = json.loads(json.dumps(as_data(report)))
    assert data["state"]["order"] == long
    assert data["calls"][1]["args"] == {"order": long}
    assert [entry["seq"] for entry in data["entries"]] == list(range(1, report.head + 1))
    assert data["entries"][0]["at"].endswith("Z")
    assert set(data) == set(Report.__dataclass_fields__)


async def test_a_long_list_is_not_told_again_by_every_step() -> None:
    loop = Graph("loop", state=Desk)

    @loop.node
    async def say(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"notes": ["n" * 200], "amount": state.amount + 1}

    loop.start(say)
    loop.route(say, [rule("enough", field("amount") >= 100, to=END)], default=say)
    async with open_test_app(graphs=[loop]) as app:
        await app.run("loop", {"order": "A"}, thread="case")
        size = len(json.dumps(as_data((await app.explain("case")).state_changes)))
    assert size < 100 * 700


async def test_an_unknown_write_is_named_with_how_it_was_looked_into_and_who_settled_it() -> None:
    tries: list[str] = []

    async def look(order: str, idempotency_key: str) -> object:
        tries.append(idempotency_key)
        raise ConnectionError("the ledger is away")

    @tool(effect="write", reconcile=look)
    async def post(order: str, idempotency_key: str) -> str:
        raise ConnectionError("cut off")

    books = Graph("books", state=Desk, tools=[post])

    @books.node
    async def write(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"receipt": await ctx.call(post, order=state.order)}

    books.start(write)
    books.edge(write, END)
    async with open_test_app(graphs=[books]) as app:
        outcome = await app.run("books", {"order": "A-17"}, thread="case")
        assert isinstance(outcome, Paused)
        before = await app.explain("case")
        await app.resolve(outcome.reviews[0], landed("R-9", by="dana"))
        await app.wait("case/1", timeout=10)
        after = await app.explain("case")
    [unknown] = before.unknown_writes
    assert (unknown.name, unknown.outcome, unknown.idempotency_key) == ("post", "unknown", tries[0])
    assert unknown.error is not None
    [call] = after.calls
    assert (call.outcome, call.result) == ("landed", "R-9")
    assert [(found.outcome, found.how, found.by) for found in call.settled] == [
        ("unknown", "call", ""),
        ("landed", "person", "dana"),
    ]
    assert after.unknown_writes == ()
    assert after.reviews[0].purpose == "outcome"


async def test_a_write_that_was_sent_again_with_its_key_is_one_call_sent_twice() -> None:
    answers = iter([ConnectionError("cut off"), "R-2"])

    @tool(effect="write")
    async def post(order: str, idempotency_key: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    books = Graph("books", state=Desk, tools=[post])

    @books.node
    async def write(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"receipt": await ctx.call(post, order=state.order)}

    books.start(write)
    books.edge(write, END)
    clock = VirtualClock()
    async with open_test_app(graphs=[books], clock=clock) as app:
        run = await app.start("books", {"order": "A-17"}, thread="case")
        await clock.advance(60)
        assert isinstance(await app.wait(run, timeout=10), Finished)
        report = await app.explain("case")
        [call] = report.calls
        sent_again = await app.explain("case", at=call.sent[1])
    assert len(call.sent) == 2
    assert [found.outcome for found in sent_again.unknown_writes] == ["unknown"]
    assert call.outcome == "landed"
    assert [found.outcome for found in call.settled] == ["unknown", "unknown", "landed"]


async def test_failures_retries_and_the_end_of_a_failed_run_are_told() -> None:
    shaky = Graph("shaky", state=Desk)

    @shaky.node(retry=Retry(attempts=2, wait=5))
    async def fall(state: Desk, ctx: Context) -> dict[str, Any]:
        raise ValueError(f"try {ctx.attempt}")

    shaky.start(fall)
    shaky.edge(fall, END)
    clock = VirtualClock()
    async with open_test_app(graphs=[shaky], clock=clock) as app:
        run = await app.start("shaky", {"order": "A"}, thread="case")
        await clock.advance(60)
        assert isinstance(await app.wait(run, timeout=10), Failed)
        report = await app.explain("case")
    [step] = report.steps
    assert (step.status, step.attempt) == ("failed", 2)
    assert [failure.error.message for failure in step.failures] == ["try 1", "try 2"]
    assert step.failures[0].retry_at is not None
    assert step.failures[1].retry_at is None
    [ended] = report.runs
    assert ended.status == "failed"
    assert ended.error is not None
    assert "try 2" in ended.error.message


async def test_branches_fan_outs_timers_signals_and_children_are_told() -> None:
    inner = Graph("inner", state=Desk)

    @inner.node
    async def nothing(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"amount": 7}

    inner.start(nothing)
    inner.edge(nothing, END)
    outer = Graph("outer", state=Desk)

    @outer.node
    async def left(state: Desk, ctx: Context) -> dict[str, Any]:
        await ctx.sleep(timedelta(days=1))
        return {"notes": ["left"]}

    @outer.node
    async def right(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"notes": [str(await ctx.signal("go"))]}

    @outer.node
    async def spread(state: Desk, ctx: Context) -> object:
        return fan_out(each, [1, 2, 3])

    @outer.node
    async def each(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"notes": [f"item {ctx.item}"]}

    @outer.node
    async def child(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"amount": (await ctx.run("inner", {"order": "c"}))["amount"]}

    @outer.node
    async def split(state: Desk, ctx: Context) -> dict[str, Any]:
        return {}

    outer.start(split)
    outer.edge(split, parallel(left, right, join=spread))
    outer.edge(left, spread)
    outer.edge(right, spread)
    outer.edge(spread, each)
    outer.edge(each, child)
    outer.edge(child, END)
    clock = VirtualClock()
    async with open_test_app(graphs=[outer, inner], clock=clock) as app:
        run = await app.start("outer", {"order": "A"}, thread="case")
        await clock.settle()
        waiting = await app.explain("case")
        await app.signal("case", "go", {"n": 1}, by="eve")
        await clock.advance(days=2)
        assert isinstance(await app.wait(run, timeout=10), Finished)
        report = await app.explain("case")
    assert {step.id.split(".")[0] for step in waiting.steps if step.status == "open"} == {"left", "right"}
    assert {wait.kind for wait in waiting.waits if wait.ended_seq is None} == {"timer", "signal"}
    waits = {wait.kind: wait for wait in report.waits}
    assert waits["timer"].due_at is not None
    assert waits["signal"].result == {"n": 1}
    assert (waits["child"].name, waits["child"].result["amount"]) == ("inner", 7)
    assert all(wait.ended_seq is not None for wait in report.waits)
    assert [(signal.name, signal.by) for signal in report.signals] == [("go", "eve")]
    pair, items = report.splits
    assert (pair.nodes, pair.join, pair.items) == (("left", "right"), "spread", 0)
    assert (items.nodes, items.join, items.items) == (("each",), None, 3)
    assert pair.joined_seq is not None
    assert items.joined_seq is not None
    assert [step.item for step in report.steps if step.node == "each"] == [1, 2, 3]
    joined = next(
        found for found in report.state_changes if found.what == "join" and found.seq == items.joined_seq
    )
    assert joined.changes[0].wrote == ["item 1", "item 2", "item 3"]


async def test_a_fork_names_its_parent_and_does_not_take_over_the_parents_open_review() -> None:
    async with scripted() as app:
        outcome = await app.run("desk", {"order": "A-17"}, thread="case")
        assert isinstance(outcome, Paused)
        head = (await app.explain("case")).head
        await app.fork("case", at=head, update={"amount": 10}, name="branch", by="zoe")
        await app.wait("branch/1", timeout=10)
        report = await app.explain("branch")
        await app.cancel("case", by="eve", reason="enough")
        await app.wait("case/1", timeout=10)
        cancelled = await app.explain("case")
    [fork] = report.forks
    assert (fork.parent, fork.entry, fork.by) == ("case", head, "zoe")
    old, new = report.reviews
    assert (old.thread, old.status) == ("case", "withdrawn")
    assert (new.thread, new.status, new.payload) == ("branch", "open", {"amount": 10})
    assert [entry.thread for entry in report.entries[:head]] == ["case"] * head
    edited = next(found for found in report.state_changes if found.what == "fork")
    assert (edited.changes[0].before, edited.changes[0].after) == (9000, 10)
    [review] = cancelled.reviews
    assert review.status == "withdrawn"
    assert review.closed_at is not None
    assert (cancelled.runs[0].cancelled_by, cancelled.runs[0].reason) == ("eve", "enough")


async def test_every_run_of_a_conversation_is_told() -> None:
    async with scripted() as app:
        await refunded(app)
        again = await app.run("desk", {"order": "A-18"}, thread="case")
        assert isinstance(again, Paused)
        await app.start("desk", {"order": "A-19"}, thread="case")
        report = await app.explain("case")
        await app.resolve(again.reviews[0], approve(by="dana"))
    assert [(run.number, run.status) for run in report.runs] == [
        (1, "finished"),
        (2, "waiting"),
        (3, "queued"),
    ]


async def test_who_went_on_in_the_middle_of_a_run_is_told_and_a_pause_is_none(tmp_path: Path) -> None:
    """A worker dies with a step under way; another one takes over. That a third one goes on after a review is usual."""
    path = tmp_path / "t.db"
    clerk = {"clerk": ScriptedModel([REPLY])}
    dying = Dying(path, "review.requested")
    async with until_death(dying, desk, {"order": "A-17"}, thread="case", models=clerk):
        pass
    async with app_on(path, desk, clock=Later(), models=clerk) as app:
        paused = await app.wait("case/1", timeout=10)
        assert isinstance(paused, Paused)
        await app.resolve(paused.reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("case/1", timeout=10), Finished)
        report = await app.explain("case")
        entries = await app.entries("case")
    [told] = report.takeovers
    first = next(entry for entry in entries if entry.epoch == 2)
    assert (told.seq, told.run, told.before, told.epoch) == (first.seq, 1, 1, 2)
    assert max(entry.epoch for entry in entries) > 2
