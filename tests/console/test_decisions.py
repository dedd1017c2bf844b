"""Decisions from the pages: what is recorded, what is refused, and what the page says then."""

from __future__ import annotations

from typing import Any

from tests.console.conftest import Page, Served, serving
from tests.console.desk import Sign
from tests.console.refunds import decided, fields

from turnout import END, Context, Finished, Graph, approve, edit, reject
from turnout.console import forms


async def test_an_approval_goes_on_record_with_who_how_and_what_was_shown(desk: Served) -> None:
    review = await desk.paused("r")
    async with desk.visitor() as visitor:
        answer = await visitor.post(
            f"/reviews/{review.id}", fields(review) | {"decision": "approve", "comment": "fine"}
        )
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/reviews/{review.id}"
        said = (await visitor.get(f"/reviews/{review.id}")).said()
        assert "Approved: Refund 900 for A-900?" in said
        assert visitor.client.cookies["turnout_name"] == "dana"  # need not be typed again
    [body] = await decided(desk, "r")
    assert (body.by, body.via, body.roles, body.comment, body.shown) == (
        "dana",
        "open",
        ["finance"],
        "fine",
        review.shown,
    )
    outcome = await desk.app.wait("r/1", timeout=20)
    assert isinstance(outcome, Finished)
    assert outcome.state.model_dump()["receipt"] == "receipt 900 for A-900"


async def test_an_edit_holds_what_was_changed_with_its_type_and_nothing_else(desk: Served) -> None:
    review = await desk.paused("r")
    form = fields(review, amount="250", limit="12.50") | {
        "decision": "edit",
        "value.urgent": "yes",
        "value.parts.names": "a\nc",
    }
    async with desk.visitor() as visitor:
        assert (await visitor.post(f"/reviews/{review.id}", form)).status_code == 303
    [body] = await decided(desk, "r")
    parts = {"net": 900, "names": ["a", "c"]}
    assert body.payload == review.payload | {"amount": 250, "limit": 12.5, "urgent": True, "parts": parts}
    outcome = await desk.app.wait("r/1", timeout=20)
    assert isinstance(outcome, Finished)
    assert outcome.state.model_dump()["amount"] == 250


async def test_what_is_wrong_in_a_form_is_told_beside_the_field_and_what_was_typed_stays(
    desk: Served,
) -> None:
    review = await desk.paused("r")
    form = fields(review, amount="lots <b>") | {"decision": "edit", "comment": "my words"}
    async with desk.visitor() as visitor:
        answer = await visitor.post(f"/reviews/{review.id}", form)
        page = Page(answer.text)
        [field] = page.named("value.amount")
        assert answer.status_code == 422
        assert field["value"] == "lots <b>"
        assert field["aria-invalid"] == "true"
        assert "this must be a number" in page.said()
        assert "my words" in page.said()
        for form, said in (
            (fields(review) | {"decision": "edit"}, "nothing is changed"),
            (fields(review) | {"decision": "respond", "answer": " "}, "an answer needs words"),
            (fields(review) | {"decision": "burn"}, "'burn' is no decision"),
            (fields(review) | {"decision": "landed"}, "isn't allowed"),
            (fields(review) | {"decision": "approve", "by": " "}, "say who you are"),
        ):
            answer = await visitor.post(f"/reviews/{review.id}", form)
            assert answer.status_code in (403, 422)
            assert said in Page(answer.text).said()
    assert await decided(desk, "r") == []


async def test_a_yes_to_what_was_asked_is_refused_when_a_field_says_something_else(desk: Served) -> None:
    review = await desk.paused("r")
    async with desk.visitor() as visitor:
        for changed in ({"amount": "250"}, {"amount": "lots"}, {"urgent": "yes"}, {"parts.net": "1"}):
            form = fields(review, **changed) | {"decision": "approve"}
            answer = await visitor.post(f"/reviews/{review.id}", form)
            page = Page(answer.text)
            assert answer.status_code == 422, changed
            assert "you changed a field: use Approve with changes, or undo it" in page.said()
        assert page.named("value.parts.net")[0]["value"] == "1"  # what was typed stays
        assert await decided(desk, "r") == []
        form = fields(review, amount="900.0") | {"decision": "approve"}
        assert (await visitor.post(f"/reviews/{review.id}", form)).status_code == 303  # that is 900


async def test_a_box_that_is_the_only_field_can_be_unticked_and_a_decision_sent_alone_changes_nothing() -> (
    None
):
    flags = Graph("flags", state=Sign)

    @flags.node
    async def ask(state: Sign, ctx: Context) -> dict[str, Any]:
        said = await ctx.review("Go?", payload={"urgent": True}, allowed=["approve", "edit", "reject"])
        return {"got": said.decision}

    flags.start(ask)
    flags.edge(ask, END)
    async with serving(graphs=[flags], models={}) as desk, desk.visitor() as visitor:
        for thread in ("one", "two"):
            await desk.app.start("flags", {}, thread=thread)
            await desk.rest(thread)
        [one], [two] = [await desk.app.reviews(thread=thread) for thread in ("one", "two")]
        alone = {"by": "dana", "shown": one.shown, "decision": "approve"}
        [mark] = (await visitor.get(f"/reviews/{one.id}")).named(forms.CAME)
        unticked = alone | {forms.CAME: mark["value"]}
        answer = await visitor.post(f"/reviews/{one.id}", unticked)
        assert answer.status_code == 422
        assert "you changed a field" in Page(answer.text).said()
        assert (await visitor.post(f"/reviews/{one.id}", alone)).status_code == 303
        unticked |= {"shown": two.shown, "decision": "edit"}
        assert (await visitor.post(f"/reviews/{two.id}", unticked)).status_code == 303
        assert [body.decision for body in await decided(desk, "one")] == ["approve"]
        assert [body.payload for body in await decided(desk, "two")] == [{"urgent": False}]


async def test_the_first_button_of_a_form_of_decisions_is_one_that_does_nothing(desk: Served) -> None:
    """Enter in a field presses it."""
    one, _ = await desk.paused("r1"), await desk.paused("r2")
    async with desk.visitor() as visitor:
        for path in (f"/reviews/{one.id}", "/reviews"):
            page = await visitor.get(path)
            form = [attrs.get("action") for tag, attrs in page.elements].index(path)
            first = next(attrs for tag, attrs in page.elements[form:] if tag == "button")
            assert first == {"disabled": None, "hidden": None}
        answer = await visitor.post(f"/reviews/{one.id}", fields(one))  # what it would send
        assert answer.status_code == 422
    assert await decided(desk, "r1") == []


async def test_who_comes_second_is_shown_the_first_decision(desk: Served) -> None:
    review = await desk.paused("r")
    async with desk.visitor() as visitor:
        page = await visitor.get(f"/reviews/{review.id}")
        csrf = page.named("csrf")[0]["value"]
        await desk.app.resolve(review.id, reject(by="lee", comment="already paid by cheque"))
        form = fields(review) | {"decision": "approve", "csrf": csrf}
        answer = await visitor.client.post(f"/reviews/{review.id}", data=form)
        said = Page(answer.text).said()
    assert answer.status_code == 409
    assert "Somebody else was first." in said
    assert "rejected by lee: “already paid by cheque”" in said
    assert "Your decision was not recorded" in said
    assert [body.by for body in await decided(desk, "r")] == ["lee"]


async def test_a_decision_on_what_is_no_longer_shown_is_refused_and_the_page_is_about_what_is_asked_now() -> (
    None
):
    letters = Graph("letters", state=Sign)

    @letters.node
    async def ask(state: Sign, ctx: Context) -> dict[str, Any]:
        said = await ctx.review(
            "Send?", payload={"text": "this"}, quorum=2, allowed=["approve", "edit", "reject"]
        )
        return {"got": said.decision}

    letters.start(ask)
    letters.edge(ask, END)
    async with serving(graphs=[letters], models={}) as desk, desk.visitor() as visitor:
        await desk.app.start("letters", {}, thread="s")
        await desk.rest("s")
        [before] = await desk.app.reviews()
        after = await desk.app.resolve(before.id, edit({"text": "that"}, by="lee"))
        path, old = f"/reviews/{before.id}", {"by": "dana", "shown": before.shown, "comment": "my words"}
        for decision, typed in (
            ("approve", "this"),
            ("edit", "that"),
            ("edit", "the other"),
            ("reject", "this"),
        ):
            answer = await visitor.post(path, old | {"decision": decision, "value.text": typed})
            page = Page(answer.text)
            assert answer.status_code == 409, decision
            assert "Something else is asked by now." in page.said()
            assert "look at it again" in page.said()
            assert "my words" in page.said()
            assert f"Its digest is {before.shown}." in page.said()
            assert f"Your decision is about exactly this; its digest is {after.shown}." in page.said()
            assert page.named("value.text")[0]["value"] == "that"
        assert [body.by for body in await decided(desk, "s")] == ["lee"]
        now = {name: page.named(name)[0]["value"] for name in ("shown", "value.text")}
        assert (await visitor.post(path, old | now | {"decision": "approve"})).status_code == 303
        assert [body.by for body in await decided(desk, "s")] == ["lee", "dana"]


async def test_a_review_that_was_edited_shows_what_was_asked_and_what_it_became_by_whom(desk: Served) -> None:
    review = await desk.paused("r")
    async with desk.visitor() as visitor:
        path = f"/reviews/{review.id}"
        assert "Your decision is about exactly this" in (await visitor.get(path)).said()
        await visitor.post(path, fields(review, amount="250") | {"decision": "edit"})
        said = (await visitor.get(path)).said()
    [body] = await decided(desk, "r")
    asked, _, became = said[said.index("What is asked") : said.index("Why it came")].partition(
        "Changed by dana"
    )
    assert "900" in asked
    assert review.shown in asked
    assert "250" in became
    assert body.shown in became
    assert "Your decision" not in said


async def test_an_answer_in_words_is_an_answer(desk: Served) -> None:
    review = await desk.paused("r")
    async with desk.visitor() as visitor:
        form = fields(review) | {"decision": "respond", "answer": "ask the shop"}
        assert (await visitor.post(f"/reviews/{review.id}", form)).status_code == 303
    [body] = await decided(desk, "r")
    assert (body.decision, body.comment) == ("respond", "ask the shop")


async def test_two_people_agree_on_a_review_that_wants_two(desk: Served) -> None:
    await desk.app.start("signs", {"people": 2}, thread="r", by="shop")
    await desk.rest("r")
    [review] = await desk.app.reviews()
    async with desk.visitor() as visitor:
        form = {"decision": "approve", "shown": review.shown}
        own = await visitor.post(f"/reviews/{review.id}", form | {"by": "shop"})
        assert (own.status_code, "ask somebody else" in own.text) == (403, True)
        await visitor.post(f"/reviews/{review.id}", form | {"by": "dana"})
        assert "1 more must agree" in (await visitor.get(f"/reviews/{review.id}")).said()
        again = await visitor.post(f"/reviews/{review.id}", form | {"by": "dana"})
        assert (again.status_code, "has decided already" in again.text) == (403, True)
        await visitor.post(f"/reviews/{review.id}", form | {"by": "lee"})
    assert [body.by for body in await decided(desk, "r")] == ["dana", "lee"]


async def test_like_items_are_decided_together_and_each_by_itself(desk: Served) -> None:
    reviews = [await desk.paused(f"r{n}", 900 + n) for n in range(4)]
    await desk.app.start("signs", {}, thread="s", by="shop")
    await desk.rest("s")
    [sign] = await desk.app.reviews(thread="s")
    async with desk.visitor() as visitor:
        page = await visitor.get("/reviews")
        boxes = page.named("review")
        assert len(boxes) == 4  # nothing is like the fifth
        assert len({box["data-kind"] for box in boxes}) == 1
        await desk.app.resolve(reviews[1].id, reject(by="lee"))
        chosen = [f"{review.id} {review.shown}" for review in reviews[:3]] + [f"{sign.id} {sign.shown}"]
        form = {"review": chosen, "decision": "approve", "by": "dana", "comment": "all small"}
        answer = await visitor.post("/reviews", form)
        assert answer.status_code == 303
        said = (await visitor.get("/reviews")).said()
        assert "2 approved; 2 not decided." in said
        assert f"r1 ({reviews[1].id}): review {reviews[1].id} is closed already: reject by lee" in said
        assert f"s ({sign.id}): it is of another kind than the others" in said
    assert [body.comment for n in (0, 2) for body in await decided(desk, f"r{n}")] == ["all small"] * 2
    assert {r.id for r in await desk.app.reviews()} == {reviews[3].id, sign.id}


async def test_what_could_not_be_decided_is_told_however_many_there_are_and_however_they_are_written(
    desk: Served,
) -> None:
    await desk.paused("r")
    for name in ("rev", "退款", "😀" * 30):
        chosen = [f"{name}-{n} 0" for n in range(100)]
        async with desk.visitor() as visitor:
            form = {"review": chosen, "decision": "reject", "by": "dana"}
            answer = await visitor.post("/reviews", form)
            kept = next(
                c for c in answer.headers.get_list("set-cookie") if c.startswith("turnout_said=")
            ).partition(";")[0]
            assert len(kept) <= 4096
            page = await visitor.get("/reviews")
            assert "100 not decided." in page.said()
            shown = page.said().count("there is no review")
            assert f"{name}-0: there is no review" in page.said()
            assert shown > 4
            assert f"and {100 - shown} more" in page.said()


async def test_nothing_is_decided_together_but_yes_and_no(desk: Served) -> None:
    review = await desk.paused("r")
    async with desk.visitor() as visitor:
        chosen = f"{review.id} {review.shown}"
        for form in ({"review": chosen, "decision": "edit"}, {"decision": "approve"}, {"review": chosen}):
            answer = await visitor.post("/reviews", {"by": "dana", **form})
            assert answer.status_code == 303
            assert "Choose reviews" in (await visitor.get("/reviews")).said()
    assert await decided(desk, "r") == []


async def test_approving_by_hand_or_by_page_is_the_same_decision(desk: Served) -> None:
    one, two = await desk.paused("one"), await desk.paused("two")
    async with desk.visitor() as visitor:
        await visitor.post(f"/reviews/{one.id}", fields(one) | {"decision": "approve"})
    await desk.app.resolve(two.id, approve(by="dana", roles=["finance"], shown=two.shown))
    by_page, by_hand = (await decided(desk, "one"))[0], (await decided(desk, "two"))[0]
    assert (by_page.decision, by_page.roles, by_page.payload) == (
        by_hand.decision,
        by_hand.roles,
        by_hand.payload,
    )
