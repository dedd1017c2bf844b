"""explain: the four questions, answered from the journal as data."""

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from tests.unit.refunds import Desk, desk, refunded, scripted

from turnout import END, Context, Finished, Graph, add, append, field, merge, rule
from turnout.errors import UnknownEntry
from turnout.service.explain import as_data, with_replay
from turnout.service.report import Report
from turnout.testing import open_test_app


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
