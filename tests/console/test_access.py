"""Who may do what on the pages: signing in, rights, tenants, and forms of other sites."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from tests.console.conftest import BASE, Page, Served
from tests.console.refunds import decided, fields

from turnout import Finished
from turnout.errors import SignInNeeded

EVIL = "https://evil.example"


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
