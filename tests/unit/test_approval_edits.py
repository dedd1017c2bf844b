"""A person who is asked for a yes edits the call: policy is asked about the edit, and it is sent as edited."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import StringConstraints
from tests.promises.bench import Later, app_on
from tests.unit.desks import Desk, bodies, paused
from tests.unit.rules import PAY, folder
from tests.unit.runs import Work, chain, proven

from turnout import Context, Failed, Finished, approve, edit, tool
from turnout.core import entries as e
from turnout.errors import InputInvalid
from turnout.testing import open_test_app


async def test_an_edited_call_is_sent_as_edited_and_asked_about_again(tmp_path: Path) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        for thread, amount in (("small", 60), ("big", 400)):
            await app.resolve(
                (await paused(app, thread=thread)).reviews[0], edit({"amount": amount}, by="dana")
            )
            assert isinstance(await app.wait(f"{thread}/1"), Finished)
            await proven(app, thread)
            first, second = await bodies(app, e.VerdictGiven, thread)
            assert (first.question.args["amount"], second.question.args["amount"]) == (500, amount)
    assert desk.sent == [60, 400]


async def test_an_edit_beyond_what_policy_allows_is_refused(tmp_path: Path) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], edit({"amount": 5000}, by="dana"))
        outcome = await app.wait("t/1")
        await proven(app)
    assert isinstance(outcome, Failed)
    assert "over the limit (never)" in outcome.error.message
    assert desk.sent == []


@pytest.mark.parametrize(
    "change", [{"to": 666}, {"to": "666"}, {"to": 666.0}, {"name": "evil"}, {"name": "EVIL"}]
)
async def test_policy_is_asked_about_an_edit_as_it_would_be_sent(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    sent = []

    @tool(effect="write")
    async def pay(to: int | None = None, name: Annotated[str, StringConstraints(to_lower=True)] = "") -> str:
        sent.append((to, name))
        return "paid"

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(pay)]}

    rules = """
@review permit(principal, action, resource == Tool::"pay");
@id("no") forbid(principal, action, resource == Tool::"pay") when { context.args has to && context.args.to == 666 };
@id("nor") forbid(principal, action, resource == Tool::"pay") when { context.args.name == "evil" };
"""
    graph = chain(work, tools=[pay])
    async with open_test_app(graphs=[graph], policy=folder(tmp_path, rules)) as app:
        await app.resolve((await paused(app)).reviews[0], edit(change, by="dana"))
        outcome = await app.wait("t/1")
        await proven(app)
    assert isinstance(outcome, Failed)
    assert "policy says no" in outcome.error.message
    assert sent == []


async def test_an_edit_is_on_record_as_it_is_sent_and_others_are_shown_that(tmp_path: Path) -> None:
    rules = PAY + '@review("legal") permit(principal, action, resource == Tool::"pay");'
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path, rules)) as app:
        found = (await paused(app)).reviews[0]
        await app.resolve(found, edit({"amount": 600.0}, by="dana", roles=["finance"]))
        found = (await app.wait("t/1")).reviews[0]
        assert isinstance(found.payload["amount"], int)
        await app.resolve(found, approve(by="lena", roles=["legal"]))
        assert isinstance(await app.wait("t/1"), Finished)
        await proven(app)
        assert await bodies(app, e.ApprovalLapsed) == []
        [intended] = await bodies(app, e.EffectIntended)
    assert (intended.args["amount"], isinstance(intended.args["amount"], int)) == (600, True)
    assert desk.sent == [600]


async def test_an_edit_that_the_tool_does_not_take_is_told_to_the_editor(tmp_path: Path) -> None:
    @tool(effect="write")
    async def pay(amount: int, to: str | None = None) -> str:
        return "paid"

    async with open_test_app(graphs=[Desk().with_tool(pay)], policy=folder(tmp_path)) as app:
        found = (await paused(app)).reviews[0]
        with pytest.raises(InputInvalid, match="can't be called like that"):
            await app.resolve(found, edit({"to": 7}, by="dana"))
        assert (await app.review(found.id)).status == "open"


async def test_an_edit_that_did_not_fit_and_was_taken_all_the_same_is_refused_before_it_is_sent(
    tmp_path: Path,
) -> None:
    sent = []

    @tool(effect="write")
    async def pay(amount: int, to: str | None = None) -> str:
        sent.append(amount)
        return "paid"

    path = tmp_path / "t.db"
    async with app_on(path, Desk().with_tool(pay), policy=folder(tmp_path)) as app:
        found = (await paused(app)).reviews[0]
    async with app_on(path, work=False) as elsewhere:  # it has no code to check by
        await elsewhere.resolve(found, edit({"to": 7}, by="dana"))
    async with app_on(path, Desk().with_tool(pay), policy=folder(tmp_path), clock=Later()) as app:
        outcome = await app.wait("t/1")
        await proven(app)
    assert isinstance(outcome, Failed)
    assert "edited to can't be sent" in outcome.error.message
    assert sent == []


async def test_an_edit_that_others_have_to_approve_is_shown_to_them_as_edited(tmp_path: Path) -> None:
    rules = (
        PAY
        + '@review("legal") permit(principal, action, resource == Tool::"pay") when { context.args.amount > 700 };'
    )
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path, rules)) as app:
        await app.resolve((await paused(app)).reviews[0], edit({"amount": 800}, by="dana", roles=["finance"]))
        found = (await app.wait("t/1")).reviews[0]
        assert (found.roles, found.payload["amount"]) == (("legal",), 800)
        assert desk.sent == []
        await app.resolve(found, approve(by="lena", roles=["legal"]))
        assert isinstance(await app.wait("t/1"), Finished)
        await proven(app)
    assert desk.sent == [800]
