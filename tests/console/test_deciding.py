"""Decisions, forks and cancellations from the pages: what is recorded, what is refused, and what the page says then."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from tests.console.conftest import BASE, Page, Served, serving
from tests.console.desk import Sign

from turnout import END, Cancelled, Context, Finished, Graph, approve, edit, reject
from turnout.console import forms
from turnout.core import entries as e
from turnout.errors import SignInNeeded

EVIL = "https://evil.example"


async def decided(desk: Served, thread: str) -> list[e.ReviewDecided]:
    return [x.body for x in await desk.app.entries(thread) if isinstance(x.body, e.ReviewDecided)]


def fields(review: Any, **changed: str) -> dict[str, str]:
    """The form of a refund's review, as it is shown."""
    shown = {
        "value.order": review.payload["order"], "value.amount": str(review.payload["amount"]),
        "value.summary": review.payload["summary"], "value.limit": "", "value.parts.net": str(review.payload["amount"]),
        "value.parts.names": "a\r\nb",
    }  # fmt: skip
    return {"by": "dana", "shown": review.shown, **shown, **{f"value.{k}": v for k, v in changed.items()}}


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
        await desk.app.resolve(before.id, edit({"text": "that"}, by="lee"))
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
            assert page.named("value.text")[0]["value"] == "that"
        assert [body.by for body in await decided(desk, "s")] == ["lee"]
        now = {name: page.named(name)[0]["value"] for name in ("shown", "value.text")}
        assert (await visitor.post(path, old | now | {"decision": "approve"})).status_code == 303
        assert [body.by for body in await decided(desk, "s")] == ["lee", "dana"]


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
        assert f"{reviews[1].id}: review {reviews[1].id} is closed already: reject by lee" in said
        assert f"{sign.id}: it is of another kind than the others" in said
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


async def test_a_fork_goes_on_from_an_entry_with_the_state_that_was_typed(desk: Served) -> None:
    await desk.paused("r")
    report = await desk.app.explain("r")
    at = next(d.seq for d in report.decisions if d.after.startswith("look_up"))
    async with desk.visitor() as visitor:
        page = await visitor.get(f"/threads/r?show=fork&at={at - 1}")
        form = {
            attrs["name"]: attrs.get("value") or ""
            for tag, attrs in page.elements
            if tag == "input" and (attrs.get("name") or "").startswith("value.")
        }
        assert form["value.amount"] == "900"
        form |= {
            "do": "fork",
            "at": str(at - 1),
            "by": "dana",
            "name": "r-small",
            "value.amount": "40",
            "value.tone": "kind",
        }
        form.pop("value.checked")
        wrong = await visitor.post("/threads/r", form | {"value.amount": "many"})
        assert wrong.status_code == 422
        assert Page(wrong.text).named("value.amount")[0]["value"] == "many"
        impossible = await visitor.post("/threads/r", form | {"name": "two words"})
        assert impossible.status_code == 422
        assert "can't be a thread's name" in Page(impossible.text).said()
        answer = await visitor.post("/threads/r", form)
        assert answer.headers["location"] == "/threads/r-small"
        said = (await visitor.get("/threads/r-small")).said()
        assert f"Forked from r at entry {at - 1}, with amount, tone changed." in said
    outcome = await desk.app.wait("r-small/1", timeout=20)
    assert isinstance(outcome, Finished)
    assert outcome.state.model_dump() == {
        "order": "A-900", "amount": 40, "limit": None, "tone": "kind", "notes": [], "checked": False,
        "receipt": "receipt 40 for A-900",
    }  # fmt: skip


async def test_a_run_is_cancelled_with_a_name_and_a_reason(desk: Served) -> None:
    await desk.paused("r")
    async with desk.visitor() as visitor:
        answer = await visitor.post("/threads/r", {"do": "cancel", "by": "dana", "reason": "asked twice"})
        assert answer.status_code == 303
        outcome = await desk.app.wait("r/1", timeout=20)
        assert isinstance(outcome, Cancelled)
        assert (outcome.by, outcome.reason) == ("dana", "asked twice")
        assert "cancelled by dana: asked twice" in (await visitor.get("/threads/r")).said()
        late = await visitor.post("/threads/r", {"do": "cancel", "by": "dana"}, seen="/workers")
        assert late.status_code == 404
        assert "nothing to cancel" in Page(late.text).said()


# --- who may do what ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ({}, {"csrf": ""}),
        ({}, {"csrf": "0" * 32}),
        ({"origin": EVIL}, {}),
        ({"sec-fetch-site": "cross-site"}, {}),
        ({"sec-fetch-site": "same-site"}, {}),
        ({"host": "evil.example:8700"}, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("locked", [False, True])
async def test_a_form_of_another_site_changes_nothing(
    desk: Served, headers: Any, form: Any, locked: bool
) -> None:
    review = await desk.paused("r")
    token = await desk.token("dana", "admin", review_roles=("finance",)) if locked else ""
    if locked and "host" in headers:
        headers = {**headers, "origin": EVIL}
    before = await desk.app.store.thread("r")
    async with desk.visitor(token) as visitor:
        page = await visitor.get(f"/reviews/{review.id}")
        csrf = {"csrf": page.named("csrf")[0]["value"]}
        for path, more in (
            (f"/reviews/{review.id}", fields(review) | {"decision": "approve"}),
            ("/reviews", {"review": f"{review.id} {review.shown}", "decision": "reject", "by": "x"}),
            ("/threads/r", {"do": "cancel", "by": "x"}), ("/workers/aside", {"thread": "r", "reason": "x", "by": "x"}),
        ):  # fmt: skip
            answer = await visitor.client.post(path, data={**csrf, **more, **form}, headers=headers)
            assert answer.status_code == 403, path
    assert await desk.app.store.thread("r") == before


async def test_without_a_token_a_page_is_served_under_this_machine_s_names_alone(desk: Served) -> None:
    """Else a page of another site could have its own name lead here, and read what is on the pages."""
    async with desk.visitor() as visitor:
        assert (await visitor.client.get("/threads", headers={"host": "evil.example"})).status_code == 403
        assert (await visitor.client.get("/threads", headers={"host": "127.0.0.1:8700"})).status_code == 200


async def test_nobody_gets_in_without_signing_in_once_there_is_a_token(desk: Served) -> None:
    review = await desk.paused("r")
    secret = await desk.token("dana", "reviewer", review_roles=("finance",))
    async with desk.visitor() as visitor:
        for path in (
            "/",
            "/threads",
            "/threads/r",
            "/threads/r/pulse",
            f"/reviews/{review.id}",
            "/graphs",
            "/workers",
        ):
            answer = await visitor.client.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/sign-in?next=%2F")
        assert (
            await visitor.client.post(f"/reviews/{review.id}", data={"decision": "approve"})
        ).status_code == 401
        wrong = await visitor.client.post("/sign-in", data={"token": "tt_0_wrong<b>"})
        assert wrong.status_code == 401
        assert "sign in with one that is" in Page(wrong.text).said()
        answer = await visitor.client.post(
            "/sign-in", data={"token": f" {secret} ", "next": f"/reviews/{review.id}"}
        )
        assert answer.headers["location"] == f"/reviews/{review.id}"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert secret not in cookie
        assert "Nobody has to sign in" not in (await visitor.get("/threads")).said()
        await visitor.post("/sign-out", {}, seen="/threads")
        assert (await visitor.client.get("/threads")).status_code == 303
    async with desk.visitor(secret) as visitor:
        kept = visitor.client.cookies["turnout_session"]
        await visitor.post("/sign-out", {}, seen="/threads")
        with pytest.raises(SignInNeeded):
            await desk.door.session(kept)  # it is over in the store, too


async def test_signing_in_leads_to_these_pages_alone(desk: Served) -> None:
    secret = await desk.token("dana", "viewer")
    async with desk.visitor() as visitor:
        for elsewhere in (
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "evil.example",
            "javascript:alert(1)",
        ):
            answer = await visitor.client.post("/sign-in", data={"token": secret, "next": elsewhere})
            assert answer.headers["location"] == "/"
        answer = await visitor.client.post("/sign-in", data={"token": secret}, headers={"origin": EVIL})
        assert answer.status_code == 403


@pytest.mark.parametrize("name", ["a/b", "a?b=c", "a#b", "a%2Fb", "//evil.example", "\\evil", "退款"])
async def test_whatever_a_thread_is_named_signing_in_and_the_theme_lead_back_to_its_page(
    desk: Served, name: str
) -> None:
    await desk.app.start("rounds", {}, thread=name)
    await desk.rest(name)
    secret = await desk.token("dana", "viewer")
    wanted = f"/threads/{quote(name, safe='')}?at=2"
    async with desk.visitor() as visitor:
        answer = await visitor.client.get(wanted)
        page = await visitor.get(answer.headers["location"])
        form = {"token": secret, "next": page.named("next")[0]["value"]}
        answer = await visitor.client.post("/sign-in", data=form)
        assert answer.headers["location"] == wanted
        page = await visitor.get(wanted)
        form = {"theme": "dark", "back": page.named("back")[0]["value"]}
        answer = await visitor.client.post("/theme", data=form)
        assert answer.headers["location"] == wanted


async def test_an_address_that_begins_like_another_site_s_leads_to_the_first_page(desk: Served) -> None:
    await desk.token("dana", "viewer")
    async with desk.visitor() as visitor:
        for odd in (f"{BASE}//evil.example/x", f"{BASE}/\\evil.example"):
            page = Page((await visitor.client.get(odd)).text)
            assert page.named("back")[0]["value"] in ("/", "/%5Cevil.example")


async def test_who_may_only_look_sees_no_button_and_gets_nothing_done(desk: Served) -> None:
    review = await desk.paused("r")
    secret = await desk.token("vera", "viewer")
    before = await desk.app.store.thread("r")
    async with desk.visitor(secret) as visitor:
        for path in ("/threads/r", f"/reviews/{review.id}", "/reviews", "/workers"):
            page = await visitor.get(path)
            actions = {
                attrs.get("action")
                for tag, attrs in page.elements
                if tag == "form" and attrs.get("method") == "post"
            }
            assert actions <= {"/theme", "/sign-out", "/reviews"}, path
            assert not page.named("decision")
        for path, form in (
            (f"/reviews/{review.id}", fields(review) | {"decision": "approve"}),
            ("/threads/r", {"do": "cancel"}), ("/threads/r", {"do": "fork", "at": "3"}),
            ("/workers/aside", {"thread": "r", "reason": "x"}),
        ):  # fmt: skip
            answer = await visitor.post(path, form, seen="/threads")
            assert answer.status_code == 403
            assert "vera has viewer, and this needs" in Page(answer.text).said()
    assert await desk.app.store.thread("r") == before


async def test_a_reviewer_decides_in_their_own_name_and_role_and_in_no_other(desk: Served) -> None:
    review = await desk.paused("r")
    async with desk.visitor(await desk.token("risky", "reviewer", review_roles=("risk",))) as visitor:
        assert (
            "This is for finance; your token decides as risk."
            in (await visitor.get(f"/reviews/{review.id}")).said()
        )
        answer = await visitor.post(
            f"/reviews/{review.id}", fields(review) | {"decision": "approve"}, seen="/threads"
        )
        assert answer.status_code == 403
        assert await decided(desk, "r") == []
    async with desk.visitor(await desk.token("fin", "reviewer", review_roles=("finance",))) as visitor:
        assert (await visitor.client.get("/")).headers["location"] == "/reviews"
        await visitor.post(
            f"/reviews/{review.id}", fields(review) | {"decision": "approve", "by": "somebody else"}
        )
        answer = await visitor.post("/threads/r", {"do": "cancel"}, seen="/threads")
        assert answer.status_code == 403
    [body] = await decided(desk, "r")
    assert body.by == "fin"
    assert body.via.startswith("session (token ")


async def test_a_tenant_s_pages_have_nothing_of_another_s(desk: Served) -> None:
    for tenant in ("acme", "globex"):
        await desk.app.start("refunds", {"order": "A-900"}, thread=f"{tenant}-1", tenant=tenant)
        await desk.rest(f"{tenant}-1")
    [theirs] = await desk.app.reviews(thread="globex-1")
    async with desk.visitor(
        await desk.token("dana", "admin", review_roles=("finance",), tenant="acme")
    ) as visitor:
        for path in (
            "/threads",
            "/threads?search=globex",
            "/threads?tenant=globex",
            "/reviews",
            "/reviews?status=decided",
            "/graphs",
            "/graphs/refunds",
            "/workers",
        ):
            page = await visitor.get(path)
            assert "globex-1" not in page.text, path
        await visitor.get("/threads/acme-1")
        for path in ("/threads/globex-1", "/threads/globex-1/pulse", f"/reviews/{theirs.id}"):
            await visitor.get(path, 404)
        before = await desk.app.store.thread("globex-1")
        for path, form in (
            (f"/reviews/{theirs.id}", {"decision": "approve", "shown": theirs.shown}), ("/threads/globex-1", {"do": "cancel"}),
            ("/threads/globex-1", {"do": "fork", "at": "3"}), ("/workers/aside", {"thread": "globex-1", "reason": "x"}),
            ("/reviews", {"review": f"{theirs.id} {theirs.shown}", "decision": "reject"}),
        ):  # fmt: skip
            answer = await visitor.post(path, form, seen="/threads")
            assert answer.status_code in (404, 303), path
        assert await desk.app.store.thread("globex-1") == before


async def test_a_review_that_a_tenant_decides_lets_the_run_go_on(desk: Served) -> None:
    await desk.app.start("refunds", {"order": "A-900"}, thread="r", tenant="acme")
    await desk.rest("r")
    [review] = await desk.app.reviews(thread="r")
    async with desk.visitor(
        await desk.token("dana", "reviewer", review_roles=("finance",), tenant="acme")
    ) as visitor:
        await visitor.post(f"/reviews/{review.id}", fields(review) | {"decision": "approve"})
    assert isinstance(await desk.app.wait("r/1", timeout=20), Finished)


async def test_a_note_that_was_tampered_with_is_no_note(desk: Served) -> None:
    async with desk.visitor() as visitor:
        for said in ("x", "e30=", "eyJ0ZXh0IjoxfQ==", "%00", "{}"):
            visitor.client.cookies.set("turnout_said", said)
            page = await visitor.get("/threads")
            assert not [attrs for _, attrs in page.elements if (attrs.get("class") or "").startswith("note")]


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
