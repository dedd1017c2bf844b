"""The console in a real browser: the whole path of a request, what lives on an open page, the keyboard, and accessibility."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from tests.console.conftest import Served, axe_or_skip, browser_or_skip, listening, serving
from tests.console.desk import Round

from turnout import END, Context, Finished, Graph, approve, parallel, reject
from turnout.core import entries as e

# One browser for all: it lives in a loop that outlives a test, and so does whatever talks to it.
pytestmark = pytest.mark.asyncio(loop_scope="module")
WIDTHS = (360, 820)


@pytest_asyncio.fixture(loop_scope="module")
async def desk() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = browser_or_skip()
    async with async_playwright() as driver:
        found = await driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        await found.close()


@pytest_asyncio.fixture(loop_scope="module")
async def address(desk: Served) -> AsyncIterator[str]:
    async with listening(desk.site) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser, address: str) -> AsyncIterator[BrowserContext]:
    """A browser's window, in which nothing may break: no error of a script, nothing that the policy refused."""
    wrong: list[str] = []
    found = await browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    found.set_default_timeout(10_000)
    found.on("weberror", lambda error: wrong.append(str(error.error)))
    found.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield found
    await found.close()
    assert [
        said for said in wrong if "status of 4" not in said
    ] == []  # an answer of 409 or 422 is told as an error, too


async def test_the_whole_path_from_the_request_to_the_replay(desk: Served, context: BrowserContext) -> None:
    await desk.paused("case-17", 900)
    page = await context.new_page()
    await page.goto("/")
    await expect(page).to_have_title("Threads · Turnout")
    await page.get_by_role("link", name="Reviews 1 open").click()
    await page.get_by_role("link", name="Refund 900 for A-900?").click()
    await expect(page.get_by_role("heading", name="Why it came")).to_be_visible()
    await expect(page.get_by_text("After look_up.1, the rule default led to ask")).to_be_visible()

    await page.get_by_label("Your name").fill("dana")
    await page.get_by_label("amount", exact=True).fill("250")
    await page.get_by_label("Comment").fill("the goods came back used")
    await page.get_by_role("button", name="Approve with changes").click()
    await expect(page.get_by_role("status")).to_contain_text("Approved with changes: Refund 900 for A-900?")
    await page.get_by_role("link", name="See case-17 go on", exact=True).click()

    await expect(page.locator(".title .status")).to_have_text(
        "finished"
    )  # the run has ended, and the page knows
    await expect(page.locator(".facts > div", has_text="receipt").first).to_contain_text(
        "receipt 250 for A-900"
    )
    await page.locator(".decisions a", has_text="ask.1").click()
    entry = page.locator("#entry")
    await expect(entry).to_contain_text("Not taken")
    await expect(entry).to_contain_text("rejected → END")
    await page.locator(".fall a", has_text="send_refund").click()
    await expect(entry).to_contain_text("idempotency key")
    await page.locator(".fall a", has_text="Refund 900").click()
    await expect(entry).to_contain_text("by dana as finance")
    await expect(entry).to_contain_text("the goods came back used")
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("Identical.")).to_be_visible()

    [body] = [x.body for x in await desk.app.entries("case-17") if isinstance(x.body, e.ReviewDecided)]
    assert (body.by, body.decision, body.payload["amount"]) == ("dana", "edit", 250)
    outcome = await desk.app.wait("case-17/1", timeout=10)
    assert isinstance(outcome, Finished)
    assert outcome.state.model_dump()["receipt"] == "receipt 250 for A-900"


async def test_a_page_that_is_open_follows_the_thread_and_leaves_a_form_alone(
    desk: Served, context: BrowserContext
) -> None:
    review = await desk.paused("r")
    await desk.app.start("signs", {"text": "this"}, thread="s", by="shop")
    await desk.rest("s")
    page, other = await context.new_page(), await context.new_page()
    await page.goto("/threads/r")
    await other.goto("/threads/s")
    await page.bring_to_front()
    await expect(page.locator(".title .status")).to_have_text("waiting")
    await desk.app.resolve(review.id, approve(by="dana", roles=["finance"]))
    await expect(page.locator(".title .status")).to_have_text("finished")
    await expect(page.locator(".live")).to_have_count(0)

    await other.bring_to_front()
    reason = other.get_by_label("Reason")
    await reason.fill("half a sen")
    [sign] = await desk.app.reviews(thread="s")
    await desk.app.resolve(sign.id, approve(by="dana"))
    await other.wait_for_timeout(1500)
    await expect(reason).to_have_value("half a sen")
    await reason.blur()
    await expect(other.locator(".fall")).to_contain_text("hold")


async def test_entries_are_selected_with_keys_and_the_address_and_the_way_back_know(
    desk: Served, context: BrowserContext
) -> None:
    await desk.app.start("refunds", {"order": "B-20"}, thread="r")
    await desk.rest("r")
    page = await context.new_page()
    await page.goto("/threads/r?at=3")
    heading = page.locator("#entry h2")
    await expect(heading).to_contain_text("Entry 3")
    await page.keyboard.press("j")
    await expect(heading).to_contain_text("Entry 4")
    await page.keyboard.press("k")
    await expect(heading).to_contain_text("Entry 3")
    assert page.url.endswith("?at=3")
    link = page.locator(".journal a").nth(5)
    await link.focus()
    await page.keyboard.press("Enter")
    await expect(heading).to_contain_text("Entry 6")
    await expect(page.locator(".journal a").nth(5)).to_be_focused()
    await page.go_back()
    await expect(heading).to_contain_text("Entry 3")


async def test_when_somebody_else_was_first_the_page_shows_what_they_decided(
    desk: Served, context: BrowserContext
) -> None:
    review = await desk.paused("r")
    page = await context.new_page()
    await page.goto(f"/reviews/{review.id}")
    await page.get_by_label("Your name").fill("dana")
    await desk.app.resolve(review.id, reject(by="lee", comment="paid by cheque"))
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("Somebody else was first.")
    await expect(page.get_by_role("alert")).to_contain_text("rejected by lee: “paid by cheque”")
    await expect(page.get_by_role("button", name="Approve", exact=True)).to_have_count(0)


async def test_like_items_are_chosen_with_one_click_and_decided_together(
    desk: Served, context: BrowserContext
) -> None:
    for n in range(3):
        await desk.paused(f"r{n}", 900 + n)
    for n in range(2):
        await desk.app.start("signs", {"text": "this"}, thread=f"s{n}", by="shop")
        await desk.rest(f"s{n}")
    page = await context.new_page()
    await page.goto("/reviews")
    both = page.get_by_role("button", name="Approve all chosen")
    await expect(both).to_be_disabled()
    await page.get_by_label("Choose: Refund 901 for A-901?").check()
    await expect(page.locator("#chosen")).to_contain_text("1 of 3 of this kind chosen.")
    await expect(page.get_by_label("Choose: Sign this?").first).to_be_disabled()
    await page.get_by_role("button", name="Choose all 3").click()
    await page.get_by_label("Your name").fill("dana")
    await both.click()
    await expect(page.get_by_role("status")).to_contain_text("3 approved.")
    assert {review.thread for review in await desk.app.reviews()} == {"s0", "s1"}


async def test_a_filter_counts_at_once_and_is_kept_in_the_address(
    desk: Served, context: BrowserContext
) -> None:
    await desk.paused("case-1")
    await desk.app.start("rounds", {}, thread="case-2")
    await desk.rest("case-2")
    page = await context.new_page()
    await page.goto("/threads?search=case")
    await page.get_by_label("Graph").select_option("rounds")
    await expect(page.locator("tbody th")).to_have_text(["case-2"])
    await page.get_by_role("link", name=re.compile("^finished")).click()
    assert "graph=rounds" in page.url
    assert "search=case" in page.url
    await page.reload()
    await expect(page.locator("tbody th")).to_have_text(["case-2"])


async def test_signing_in_with_a_token_leads_back_to_the_review(
    desk: Served, context: BrowserContext
) -> None:
    review = await desk.paused("r")
    secret = await desk.token("dana", "reviewer", review_roles=("finance",))
    page = await context.new_page()
    await page.goto(f"/reviews/{review.id}")
    await page.get_by_label("Token").fill(secret)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Refund 900 for A-900?")
    await page.get_by_role("button", name="Reject").click()
    await expect(page.get_by_role("status")).to_contain_text("Rejected")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_signing_in_on_a_phone_leaves_room_around_the_button_and_for_the_page(
    desk: Served, browser: Browser, address: str
) -> None:
    secret = await desk.token("dana.of.the.night.shift@example.com", "reviewer")
    context = await browser.new_context(base_url=address, viewport={"width": 390, "height": 800})
    page = await context.new_page()
    await page.goto("/threads")
    field, button = page.get_by_label("Token"), page.get_by_role("button", name="Sign in")
    above, below = await field.bounding_box(), await button.bounding_box()
    assert above is not None
    assert below is not None
    assert below["y"] - (above["y"] + above["height"]) >= 12  # the field's ring takes 5
    await field.fill(secret)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Threads")
    assert await page.locator("header.top").evaluate("one => one.offsetHeight") < 120
    brand = await page.get_by_role("link", name="Turnout").bounding_box()
    out = await page.get_by_role("button", name="Sign out").bounding_box()
    assert brand is not None
    assert out is not None
    assert abs(brand["y"] + brand["height"] / 2 - out["y"] - out["height"] / 2) < 10  # in one row
    await context.close()


async def pages_of(desk: Served) -> list[str]:
    """An address of every page, in its states."""
    review = await desk.paused("r1")
    await desk.app.start("refunds", {"order": "B-20"}, thread="r2")
    await desk.app.start("rounds", {"fails": True}, thread="r3")
    await desk.app.start("signs", {"people": 2}, thread="s1", by="shop")
    await desk.app.start("signs", {"people": 2}, thread="s2", by="shop")
    await desk.rest("r2", "r3", "s1", "s2")
    [sign] = await desk.app.reviews(thread="s1")
    await desk.app.resolve(sign.id, approve(by="lee"))
    done = await desk.paused("r4")
    await desk.app.resolve(done.id, reject(by="lee"))
    await desk.app.set_aside("r3", "its workers died, again and again")
    await desk.app.limit("graph", "rounds", 3)
    return [
        "/threads", "/threads?search=nothing", "/threads/r1", "/threads/r2?show=replay&at=5", "/threads/r2?show=fork&at=4",
        "/threads/r2?show=whatif", "/threads/r3", "/reviews", "/reviews?status=decided", f"/reviews/{review.id}",
        f"/reviews/{sign.id}", f"/reviews/{done.id}", "/graphs", "/graphs/rounds", "/graphs/refunds", "/costs", "/policies", "/tools", "/workers", "/nothing",
    ]  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_serious_on_any_page(
    desk: Served, browser: Browser, address: str, theme: Any
) -> None:
    axe, addresses = axe_or_skip(), await pages_of(desk)
    context = await browser.new_context(
        base_url=address, color_scheme=theme, viewport={"width": 1280, "height": 900}
    )
    page = await context.new_page()
    for path in addresses:
        await found_nothing(page, path, axe)
    await page.set_viewport_size({"width": 360, "height": 740})
    for path in (
        "/threads",
        "/threads/r1",
        addresses[9],
        "/reviews",
        "/graphs/rounds",
        "/graphs/refunds",
        "/costs",
    ):
        await found_nothing(page, path, axe)
    await desk.token("dana", "admin")
    await found_nothing(page, "/sign-in", axe)
    await context.close()


async def found_nothing(page: Page, path: str, axe: str) -> None:
    """axe-core has no serious and no critical finding on the page. (What is evaluated is not under the page's policy.)"""
    await page.goto(path)
    await page.evaluate(axe)
    found = await page.evaluate("axe.run({resultTypes: ['violations']}).then(found => found.violations)")
    bad = [
        (one["id"], one["impact"], [node["target"] for node in one["nodes"]][:5])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == [], f"{path}: {json.dumps(bad, indent=1)}"


async def test_no_page_is_wider_than_the_window(desk: Served, browser: Browser, address: str) -> None:
    addresses = await pages_of(desk)
    for width in WIDTHS:
        context = await browser.new_context(base_url=address, viewport={"width": width, "height": 800})
        page = await context.new_page()
        for path in addresses:
            await page.goto(path)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} is {wide} wide at {width}"
        await context.close()


async def test_a_drawing_that_is_cut_off_says_that_it_scrolls(browser: Browser) -> None:
    hops = Graph("hops", state=Round)
    first, *between, last = [f"a_stop_with_a_long_name_{number}" for number in range(5)]

    async def hop(state: Round, ctx: Context) -> dict[str, Any]:
        return {}

    for name in (first, *between, last):
        hops.node(hop, name=name)
    hops.start(first)
    hops.edge(first, parallel(*between, join=last))
    for name in between:
        hops.edge(name, last)
    hops.edge(last, END)
    async with serving(graphs=[hops], models={}) as desk, listening(desk.site) as address:
        for width, cut in ((390, True), (1280, False)):
            context = await browser.new_context(base_url=address, viewport={"width": width, "height": 800})
            page = await context.new_page()
            await page.goto("/graphs/hops")
            drawing = page.locator(".drawing")
            assert await drawing.evaluate("one => one.scrollWidth > one.clientWidth") is cut, width
            assert await page.get_by_text("scroll it sideways").is_visible() is cut, width
            await context.close()


async def test_everything_is_reached_with_the_keyboard_and_seen_when_it_is(
    desk: Served, context: BrowserContext
) -> None:
    review = await desk.paused("r")
    page = await context.new_page()
    await page.goto(f"/reviews/{review.id}")
    seen = []
    for _ in range(60):
        await page.keyboard.press("Tab")
        at = await page.evaluate(
            """() => {
              const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
              return {is: one.tagName + ' ' + (one.name || one.className || one.textContent.trim().slice(0, 20)) + ' ' + (one.value || ''),
                      outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2, wide: box.width > 0};
            }"""
        )
        if at["is"].startswith("BODY"):
            break
        assert at["outline"], at
        assert at["wide"], at
        seen.append(at["is"])
    assert seen[0].startswith("A skip")
    for wanted in (
        "INPUT by",
        "INPUT value.amount",
        "TEXTAREA comment",
        "BUTTON decision approve",
        "BUTTON decision reject",
    ):
        assert any(is_.startswith(wanted) for is_ in seen), (wanted, seen)


@pytest.mark.parametrize("scripts", [True, False])
async def test_enter_in_a_field_decides_nothing(
    desk: Served, browser: Browser, address: str, scripts: bool
) -> None:
    reviews = [await desk.paused("r1", 900), await desk.paused("r2", 901)]
    context = await browser.new_context(base_url=address, java_script_enabled=scripts)
    page = await context.new_page()
    await page.goto(f"/reviews/{reviews[0].id}")
    await page.get_by_label("Your name").fill("dana")
    await page.get_by_label("Your name").press("Enter")
    await page.get_by_label("amount", exact=True).fill("25")
    await page.get_by_label("amount", exact=True).press("Enter")
    await page.goto("/reviews")
    for box in await page.get_by_label("Choose: ").all():
        await box.check()
    await page.get_by_label("Your name").fill("dana")
    await page.get_by_label("Comment").fill("no, reject these")
    await page.get_by_label("Comment").press("Enter")
    await page.wait_for_timeout(300)
    assert {review.id for review in await desk.app.reviews()} == {review.id for review in reviews}
    await page.get_by_role("button", name="Reject all chosen").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("2 rejected.")
    await context.close()


async def test_what_is_wrong_in_a_form_gets_the_focus(desk: Served, context: BrowserContext) -> None:
    review = await desk.paused("r")
    page = await context.new_page()

    async def press(button: str) -> None:
        await page.get_by_role("button", name=button, exact=True).click()

    amount = page.get_by_label("amount", exact=True)
    await page.goto(f"/reviews/{review.id}")
    await page.get_by_label("Your name").fill("dana")
    await press("Approve with changes")
    await expect(page.get_by_role("alert")).to_contain_text("nothing is changed")
    await expect(page.get_by_role("alert")).to_be_focused()
    await amount.fill("much")
    await page.get_by_label("net").fill("more")
    await press("Approve with changes")
    await expect(page.get_by_text("this must be a number")).to_have_count(3)  # above, and beside each field
    await expect(amount).to_be_focused()
    await page.goto("/threads/r?show=fork&at=4")
    await amount.fill("lots")
    await page.get_by_label("Your name").first.fill("dana")
    await press("Fork")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(amount).to_be_focused()
    await page.goto("/policies")
    await press("Try them")
    await expect(page.get_by_role("alert")).to_be_focused()


async def test_without_scripts_everything_still_works(desk: Served, browser: Browser, address: str) -> None:
    review = await desk.paused("r")
    context = await browser.new_context(base_url=address, java_script_enabled=False)
    page = await context.new_page()
    await page.goto("/threads/r?at=4")
    await page.locator(".entry-head a[rel=next]").click()
    await expect(page.locator("#entry h2")).to_contain_text("Entry 5")
    await page.goto(f"/reviews/{review.id}")
    await page.get_by_label("Your name").fill("dana")
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_role("status")).to_contain_text("Approved")
    await context.close()
