"""Calls that policy wants a person's yes for: who says it, and what an approval is bound to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.promises.bench import Later, app_on
from tests.unit.desks import MODEL, Desk, bodies, paused
from tests.unit.rules import PAY, folder
from tests.unit.runs import Work, chain, proven

from turnout import Context, Failed, Finished, Paused, Tool, approve, edit, reject, tool
from turnout.core import entries as e
from turnout.errors import DecisionNotAllowed
from turnout.runtime.verdicts import Verdicts
from turnout.testing import ScriptedModel, VirtualClock, open_test_app

# --- approvals ----------------------------------------------------------------------------------------------------


async def test_a_call_that_wants_a_review_is_sent_when_a_person_says_yes_and_only_then(
    tmp_path: Path,
) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        found = (await paused(app)).reviews[0]
        assert (found.purpose, found.payload["amount"], found.roles, found.allowed) == (
            "approval", 500, ("finance",), ("approve", "edit", "reject")
        )  # fmt: skip
        assert "over 100" in found.question
        assert found.binds is not None
        assert found.binds.name == "pay"
        assert desk.sent == []
        with pytest.raises(DecisionNotAllowed):
            await app.resolve(found, approve(by="eve", roles=["sales"]))
        await app.resolve(found, approve(by="dana", roles=["finance"]))
        assert isinstance(await app.wait("t/1"), Finished)
        await proven(app)
        assert len(await bodies(app, e.VerdictGiven)) == 1
        [intended] = await bodies(app, e.EffectIntended)
    assert desk.sent == [500]
    assert intended.args["amount"] == 500


async def test_a_call_that_a_person_rejects_is_never_sent_and_the_node_hears_who_and_why(
    tmp_path: Path,
) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], reject(by="dana", comment="no receipt"))
        outcome = await app.wait("t/1")
        await proven(app)
    assert isinstance(outcome, Failed)
    assert "rejected by dana: no receipt" in outcome.error.message
    assert outcome.writes == []
    assert desk.sent == []


async def test_two_circles_are_asked_one_after_the_other_and_an_edit_of_the_second_goes_back_to_the_first(
    tmp_path: Path,
) -> None:
    rules = """@review("finance") permit(principal, action, resource == Tool::"pay");
               @review("legal") permit(principal, action, resource == Tool::"pay");"""
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path, rules)) as app:
        asked = []
        decisions: list[Any] = [approve(by="dana"), edit({"amount": 400}, by="lena"), approve(by="dana")]
        outcome: Any = await paused(app)
        for decision in decisions:
            asked.append((outcome.reviews[0].roles[0], outcome.reviews[0].payload["amount"]))
            assert desk.sent == []
            await app.resolve(outcome.reviews[0], decision)
            outcome = await app.wait("t/1")
        assert isinstance(outcome, Finished)
        await proven(app)
        [lapsed] = await bodies(app, e.ApprovalLapsed)
    assert asked == [("finance", 500), ("legal", 500), ("finance", 400)]
    assert "arguments" in lapsed.why
    assert desk.sent == [400]


async def test_a_quorum_of_different_people_and_whoever_asked_cannot_approve(tmp_path: Path) -> None:
    rules = '@review("finance") @quorum("2") @separate permit(principal, action, resource == Tool::"pay");'
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path, rules)) as app:
        found = (await paused(app, by="eve ")).reviews[0]
        with pytest.raises(DecisionNotAllowed):
            await app.resolve(found, approve(by="eve", roles=["finance"]))
        await app.resolve(found, approve(by="dana", roles=["finance"]))
        assert desk.sent == []
        await app.resolve(found, approve(by="carl", roles=["finance"]))
        assert isinstance(await app.wait("t/1"), Finished)
    assert desk.sent == [500]


async def test_nobody_decides_within_the_due_time_and_the_call_is_refused(tmp_path: Path) -> None:
    rules = '@review @due("2h") permit(principal, action, resource == Tool::"pay");'
    desk, clock = Desk(), VirtualClock()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path, rules), clock=clock) as app:
        await paused(app)
        await clock.advance(2 * 3600 + 1)
        outcome = await app.wait("t/1")
        await proven(app)
    assert isinstance(outcome, Failed)
    assert "the due time passed" in outcome.error.message
    assert desk.sent == []


async def test_reads_and_models_are_approved_and_edited_like_writes(tmp_path: Path) -> None:
    looked = []

    @tool(effect="read")
    async def pay(amount: int) -> str:
        looked.append(amount)
        return "seen"

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        said = await ctx.model("big", messages="what is it?")
        return {"log": [said.text, await ctx.call(pay, amount=500)]}

    rules = MODEL + PAY.replace('"look"', '"none"').replace("resource is Tool", 'resource == Tool::"none"')
    model = ScriptedModel(["fine"])
    async with open_test_app(
        graphs=[chain(work, tools=[pay])], models={"big": model}, policy=folder(tmp_path, rules)
    ) as app:
        found = (await app.run("g", {}, thread="t")).reviews[0]
        assert model.requests == []
        await app.resolve(found, edit({"messages": [{"role": "user", "content": "who is it?"}]}, by="dana"))
        found = (await app.wait("t/1")).reviews[0]
        await app.resolve(found, edit({"amount": 450}, by="dana"))
        outcome = await app.wait("t/1")
        await proven(app)
    assert isinstance(outcome, Finished)
    assert outcome.state.log == ["fine", "seen"]
    assert [request.messages[0].text for request in model.requests] == ["who is it?"]
    assert looked == [450]


# --- what an approval is bound to ---------------------------------------------------------------------------------


async def approved_while_down(path: Path, desk: Desk, rules: Path) -> None:
    """A call waits, its worker goes, and somebody says yes from elsewhere."""
    async with app_on(path, desk.graph, policy=rules) as app:
        found = (await paused(app)).reviews[0]
    async with app_on(path, work=False) as elsewhere:
        await elsewhere.resolve(found, approve(by="dana"))


async def test_an_approval_holds_across_processes(tmp_path: Path) -> None:
    desk = Desk()
    await approved_while_down(tmp_path / "t.db", desk, folder(tmp_path))
    async with app_on(tmp_path / "t.db", desk.graph, policy=folder(tmp_path), clock=Later()) as app:
        assert isinstance(await app.wait("t/1"), Finished)
        await proven(app)
    assert desk.sent == [500]


@pytest.mark.parametrize(
    ("rules", "end", "sent"),
    [
        (
            PAY + '// another word\n@id("more") forbid(principal, action, resource == Tool::"other");',
            "asked",
            [],
        ),
        (PAY.replace("> 1000", "> 400"), "refused", []),
        (PAY.replace("<= 100", "<= 600").replace("> 100 ", "> 600 "), "sent", [500]),
    ],
)
async def test_an_approval_lapses_with_the_policy_and_the_question_is_asked_anew(
    tmp_path: Path, rules: str, end: str, sent: list[int]
) -> None:
    desk = Desk()
    await approved_while_down(tmp_path / "t.db", desk, folder(tmp_path))
    async with app_on(tmp_path / "t.db", desk.graph, policy=folder(tmp_path, rules), clock=Later()) as app:
        outcome = await app.wait("t/1")
        [lapsed] = await bodies(app, e.ApprovalLapsed)
        assert "the policy set is" in lapsed.why
        assert {"asked": Paused, "refused": Failed, "sent": Finished}[end] is type(outcome)
        assert desk.sent == sent
        if isinstance(outcome, Paused):
            await app.resolve(outcome.reviews[0], approve(by="dana"))
            assert isinstance(await app.wait("t/1"), Finished)
            assert desk.sent == [500]
        await proven(app)


async def test_an_approval_lapses_when_the_policy_is_gone(tmp_path: Path) -> None:
    desk = Desk()
    await approved_while_down(tmp_path / "t.db", desk, folder(tmp_path))
    async with app_on(tmp_path / "t.db", desk.graph, policy="", clock=Later()) as app:
        assert isinstance(await app.wait("t/1"), Finished)  # what the graph declares decides, as it does then
        [lapsed] = await bodies(app, e.ApprovalLapsed)
    assert "gone" in lapsed.why


async def test_an_approval_expires(tmp_path: Path) -> None:
    desk = Desk()
    rules = folder(tmp_path, PAY.replace('@review("finance")', '@review("finance") @holds("30m")'))
    await approved_while_down(tmp_path / "t.db", desk, rules)
    async with app_on(tmp_path / "t.db", desk.graph, policy=rules, clock=Later()) as app:  # an hour after
        outcome = await app.wait("t/1")
        [lapsed] = await bodies(app, e.ApprovalLapsed)
        assert isinstance(outcome, Paused)
    assert "expired" in lapsed.why
    assert desk.sent == []


async def test_an_approval_lapses_when_the_tool_is_another_than_the_one_that_was_pinned(
    tmp_path: Path,
) -> None:
    class Pinned(Tool[..., Any]):
        pin = ""

    def pinned(digest: str) -> Tool[..., Any]:
        found = Pinned(**{name: getattr(desk.pay, name) for name in desk.pay.__dataclass_fields__})
        object.__setattr__(found, "pin", digest)
        return found

    desk = Desk()
    old, new = desk.with_tool(pinned("one")), desk.with_tool(pinned("two"))
    desk.graph = old
    await approved_while_down(tmp_path / "t.db", desk, folder(tmp_path))
    async with app_on(tmp_path / "t.db", new, policy=folder(tmp_path), clock=Later()) as app:
        outcome = await app.wait("t/1")
        [lapsed] = await bodies(app, e.ApprovalLapsed)
        assert isinstance(outcome, Paused)
        assert outcome.reviews[0].binds is not None
        assert outcome.reviews[0].binds.pin == "two"
    assert "pinned as two now, it was one" in lapsed.why
    assert desk.sent == []


async def test_an_approval_of_other_arguments_than_are_sent_does_not_count(tmp_path: Path) -> None:
    """A guardrail that redacts otherwise than when the person looked, for one."""
    desk = Desk()
    await approved_while_down(tmp_path / "t.db", desk, folder(tmp_path))
    async with app_on(
        tmp_path / "t.db", desk.graph, policy=folder(tmp_path), clock=Later(), work=False
    ) as app:
        view = await app.view("t")
        assert view.run is not None
        [[approval]] = view.run.steps["work.1"].approvals.values()
        assert (approval.args["amount"], approval.by, approval.edited) == (500, ["dana"], False)

    before = Verdicts.approved

    def redacting(self: Verdicts, scope: Any, ask: Any) -> Any:
        ask = before(self, scope, ask)
        return replace(ask, changed={**ask.args, "amount": 501})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Verdicts, "approved", redacting)
        async with app_on(tmp_path / "t.db", desk.graph, policy=folder(tmp_path), clock=Later()) as app:
            outcome = await app.wait("t/1")
            [lapsed] = await bodies(app, e.ApprovalLapsed)
            assert isinstance(outcome, Paused)
            assert outcome.reviews[0].payload["amount"] == 501
    assert "arguments" in lapsed.why
    assert desk.sent == []
