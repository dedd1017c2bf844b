"""The pages of costs, policies and tools, and what governs a call on the pages of threads and reviews."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.console.conftest import Page, Served, serving
from tests.console.desk import GRAPHS, HOSTILE
from tests.notify.receivers import SECRET, Answer, Receiver
from tests.tools.shops import TOKEN, Shop, calling

from turnout import Budget, Finished
from turnout.core.typed_form import TypedForm
from turnout.ports.clock import at
from turnout.service.pages.spending import spending

RULES = f"""
@id("models") permit(principal, action == Action::"model", resource);
@id("reads") permit(principal, action == Action::"call", resource is Tool) when {{ resource.effect == "read" }};
@id("small") permit(principal, action == Action::"call", resource == Tool::"send_refund")
when {{ context.args.amount <= 30 }};
@id("large") @review("finance") @reason("{HOSTILE.replace('"', "")}")
permit(principal, action == Action::"call", resource == Tool::"send_refund") when {{ context.args.amount > 30 }};
@id("never") @reason("far too much")
forbid(principal, action, resource == Tool::"send_refund") when {{ context.args.amount > 45 }};
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "refunds.cedar").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    return folder


async def refunded(desk: Served, *amounts: int) -> None:
    for amount in amounts:
        await desk.app.start("refunds", {"order": f"B-{amount}"}, thread=f"r-{amount}", by="shop")
    await desk.rest(*(f"r-{amount}" for amount in amounts))


async def test_which_rules_fired_is_told_with_the_rules_at_hand(rules: Path) -> None:
    async with serving(policy=rules) as desk:
        await refunded(desk, 10, 20, 40, 50)
        async with desk.visitor() as visitor:
            page = await visitor.get("/policies")
            said = page.said()
            assert "small allow 2 send_refund" in said
            assert "large review 1 send_refund" in said
            assert "never deny 1 send_refund" in said
            assert "reads allow 4 order_total" in said
            assert "large review by finance" in said  # the rule itself
            assert "never deny far too much refunds.cedar:" in said
            assert HOSTILE.replace('"', "") in page.text
            links = [attrs["href"] or "" for tag, attrs in page.elements if tag == "a"]
            last = [link for link in links if link.startswith("/threads/r-50")][-1]
            assert "Policy deny by never: far too much" in (await visitor.get(last.partition("#")[0])).said()


async def test_a_call_that_needs_a_yes_is_decided_on_a_form_of_its_tool_s_arguments(rules: Path) -> None:
    async with serving(policy=rules) as desk:
        await refunded(desk, 40)
        [review] = await desk.app.reviews()
        async with desk.visitor() as visitor:
            page = await visitor.get(f"/reviews/{review.id}")
            said = page.said()
            assert "Before tool send_refund may be called, somebody has to agree." in said
            assert "review by large:" in said
            assert page.named("value.amount")[0]["value"] == "40"
            form = {
                "by": "dana",
                "shown": review.shown,
                "decision": "edit",
                "value.order": "B-40",
                "value.amount": "12.5",
            }
            wrong = await visitor.post(f"/reviews/{review.id}", form)
            assert wrong.status_code == 422
            assert "this must be a whole number" in Page(wrong.text).said()  # says the tool's own schema
            assert (
                await visitor.post(f"/reviews/{review.id}", form | {"value.amount": "25"})
            ).status_code == 303
            outcome = await desk.app.wait("r-40/1", timeout=20)
            assert isinstance(outcome, Finished)
            assert outcome.state.model_dump()["receipt"] == "receipt 25 for B-40"
            report = await desk.app.explain("r-40")
            call = next(call for call in report.calls if call.write)
            said = (await visitor.get(f"/threads/r-40?at={call.seq}")).said()
            assert "approved with changes by dana" in said


async def test_arguments_of_which_no_form_can_be_made_are_edited_as_json_and_nothing_else_is_taken_for_an_edit(
    rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {"type": "object", "properties": {"order": {}, "amount": {}}, "anyOf": [True, {"required": []}]}
    monkeypatch.setattr(TypedForm, "recorded", lambda self: schema)
    async with serving(policy=rules) as desk:
        await refunded(desk, 40)
        [review] = await desk.app.reviews()
        path, form = f"/reviews/{review.id}", {"by": "dana", "shown": review.shown, "decision": "edit"}
        async with desk.visitor() as visitor:
            [field] = (await visitor.get(path)).named("value")
            assert "aria-invalid" not in field
            before = await desk.app.store.thread("r-40")
            for typed, said in (
                ('{"order": "B-40", "amount": 25, "extra": 1}', "'extra' is not in the payload"),
                ("[1, 2]", "the edit must be an object"),
                ('"B-40"', "the edit must be an object"),
                ("null", "the edit must be an object"),
                ('{"order": "B-40"}', "amount must stay"),
                ("{}", "amount, order must stay"),
                ('{"order": "B-40",', "this is not JSON"),
            ):
                answer = await visitor.post(path, form | {"value": typed})
                page = Page(answer.text)
                assert answer.status_code == 422, typed
                assert said in page.said(), typed
                assert typed in page.said()
            assert await desk.app.store.thread("r-40") == before
            answer = await visitor.post(path, form | {"value": '{"order": "B-40", "amount": 25}'})
            assert answer.status_code == 303
        outcome = await desk.app.wait("r-40/1", timeout=20)
        assert isinstance(outcome, Finished)
        assert outcome.state.model_dump()["receipt"] == "receipt 25 for B-40"


async def test_a_backtest_says_where_other_rules_would_have_said_something_else(rules: Path) -> None:
    candidate = RULES.replace("<= 30", "<= 15").replace("> 30", "> 15")
    async with serving(policy=rules) as desk:
        await refunded(desk, 10, 20, 30)
        before = [row.head for row in await desk.app.threads()]
        async with desk.visitor() as visitor:
            answer = await visitor.post("/policies", {"rules": candidate, "days": "7"})
            said = Page(answer.text).said()
            assert answer.status_code == 200
            assert "2 of 6 calls would have been decided otherwise. 6 calls in 3 threads" in said
            assert "tool send_refund refunds.pay allow review by finance 2" in said
            assert "by large" in said
            same = await visitor.post("/policies", {"rules": RULES, "days": "1"})
            assert "Nothing would have been different." in Page(same.text).said()
            assert [row.head for row in await desk.app.threads()] == before


async def test_rules_with_a_mistake_are_told_beside_the_form_and_stay_in_it(rules: Path) -> None:
    async with serving(policy=rules) as desk:
        async with desk.visitor() as visitor:
            for typed, told in (
                ("permit(principal, action, resource) when { <script> };", "candidate.cedar:1"),
                (" ", "write rules first"),
            ):
                answer = await visitor.post("/policies", {"rules": typed, "days": "nine"})
                page = Page(answer.text)
                assert answer.status_code == 422
                assert told in page.said()
                assert typed.strip() in page.text
                assert "turnout-rules-" not in answer.text  # no folder of the server's
        viewer = await desk.token("vera", "viewer")
        async with desk.visitor(viewer) as visitor:
            assert not (await visitor.get("/policies")).named("rules")
            answer = await visitor.post("/policies", {"rules": RULES}, seen="/threads")
            assert answer.status_code == 403


async def test_costs_are_told_by_day_graph_model_and_node_with_the_budgets() -> None:
    async with serving(
        budgets=[
            Budget(name="daily", per="tenant", day=True, micros=2_000, at_cap="review", roles=("finance",))
        ]
    ) as desk:
        await desk.paused("r", 900)
        async with desk.visitor() as visitor:
            page = await visitor.get("/costs?days=7")
            said = page.said()
            assert "Other calls (of tools, of retrieval sources) count where a budget counts them." in said
            assert "$0.0012 in 7 days" in said
            assert "366 tokens" in said
            assert "refunds $0.0012 100 %" in said
            assert "scripted $0.0012" in said
            assert "refunds ask $0.0012" in said
            assert "daily for each tenant and day; at the cap: a person is asked (finance)" in said
            assert "$0.0012 of $0.0020" in said
            assert (
                len(
                    [
                        tag
                        for tag, attrs in page.elements
                        if attrs.get("class") == "part" and tag == "rect" and attrs.get("width") == "22"
                    ]
                )
                == 7
            )
            assert "No calls in this time" in (await visitor.get("/costs?graph=rounds")).said()
            await visitor.get("/costs?days=12&graph=%3Cscript%3E")  # 30 days, and no such graph
        found = await spending(desk.app, at(desk.app.clock.now()) + timedelta(days=3), 2)
        assert (found.micros, found.calls, len(found.days)) == (0, 0, 2)  # days on which nothing was called


async def test_at_a_cap_the_form_asks_by_how_much_and_for_nothing_else() -> None:
    few = Budget(name="few", per="all", calls=1, at_cap="review", roles=("finance",))
    async with serving(budgets=[few]) as desk, desk.visitor() as visitor:
        review = await desk.paused("r")
        page = await visitor.get(f"/reviews/{review.id}")
        names = [
            str(attrs.get("name")) for tag, attrs in page.elements if tag in ("input", "textarea", "select")
        ]
        assert [name for name in names if name.startswith("value")] == ["value.top_up"]
        form = {"by": "dana", "shown": review.shown, "decision": "edit", "value.account": "other/all"}
        untouched = form | {"value.top_up": str(review.payload["top_up"])}
        assert (await visitor.post(f"/reviews/{review.id}", untouched)).status_code == 422  # that is no edit
        answer = await visitor.post(f"/reviews/{review.id}", form | {"value.top_up": "7"})
        assert answer.status_code == 303
        await desk.rest("r")
        assert {one.account: one.topped.calls for one in await desk.app.store.accounts()} == {"few/all": 7}


async def test_at_a_cap_a_yes_to_the_untouched_form_raises_it_by_what_was_asked() -> None:
    few = Budget(name="few", per="all", calls=1, at_cap="review", roles=("finance",))
    async with serving(budgets=[few]) as desk, desk.visitor() as visitor:
        review = await desk.paused("r")
        asked = review.payload["top_up"]
        form = {"by": "dana", "shown": review.shown, "decision": "approve"}
        changed = await visitor.post(f"/reviews/{review.id}", form | {"value.top_up": str(asked + 1)})
        assert changed.status_code == 422
        answer = await visitor.post(f"/reviews/{review.id}", form | {"value.top_up": str(asked)})
        assert answer.status_code == 303
        await desk.rest("r")
        topped = {one.account: one.topped.calls for one in await desk.app.store.accounts()}
        assert topped == {"few/all": asked}


async def test_a_tenant_sees_its_own_costs_and_neither_budgets_nor_servers(desk: Served) -> None:
    for tenant in ("acme", "globex"):
        for n in range(1 if tenant == "acme" else 3):
            await desk.app.start("refunds", {"order": "A-900"}, thread=f"{tenant}-{n}", tenant=tenant)
            await desk.rest(f"{tenant}-{n}")
    await desk.app.put_budget(Budget(name="secret-cap", per="all", calls=100))
    async with desk.visitor(await desk.token("dana", "viewer", tenant="acme")) as visitor:
        page = await visitor.get("/costs")
        assert "$0.0012 in 30 days" in page.said()
        assert "secret-cap" not in page.text
        assert "Servers are told to who sees all tenants." in (await visitor.get("/tools")).said()
        await visitor.get("/policies")
    async with desk.visitor(await desk.token("root", "viewer")) as visitor:
        page = await visitor.get("/costs")
        assert "$0.0049 in 30 days" in page.said()
        assert "secret-cap" in page.text


async def test_a_tool_that_is_no_longer_what_was_approved_is_shown_with_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    shop = Shop(tmp_path)
    shop.write(declared={"look_up": 'effect = "read"', "describe": 'effect = "read"'})
    await shop.pin("look_up", "describe")
    pins = tmp_path / "turnout.pins.json"
    graph = shop.graph(calling("look_up", item="lamp"), "look_up")
    _approve_other_words(pins)
    async with serving(graphs=[*GRAPHS, graph], config=shop.config) as desk, desk.visitor() as visitor:
        said = (await visitor.get("/tools")).said()
        assert "look_up not asked read not trusted g/*" in said
        assert TOKEN not in said
        answer = await visitor.post("/tools", {})
        page = Page(answer.text)
        assert "describe changed: quarantined" in page.said()
        assert "look_up approved" in page.said()
        assert any(attrs.get("class") == "minus" for _, attrs in page.elements)
        assert "What it was once" in page.text
        assert "turnout tools pin shop describe" in page.said()
        assert "send_refund write" in page.said()  # a tool in the code
    async with serving(graphs=[*GRAPHS, graph], config=shop.config) as desk:
        viewer = await desk.token("vera", "viewer")
        async with desk.visitor(viewer) as visitor:
            assert (await visitor.post("/tools", {}, seen="/threads")).status_code == 403


def _approve_other_words(pins: Path) -> None:
    """As if the server's description of a tool had been another one when it was approved."""
    from dataclasses import replace

    from turnout.tools.pins import Pins

    found = Pins.read(pins)
    pin = found.of("shop", "describe")
    assert pin is not None
    found.having("shop", {"describe": replace(pin, description="What it was once")}).write()


async def test_what_could_not_be_told_is_shown_and_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    statuses = [410]  # gone: nobody tries again
    async with Receiver(answer=lambda delivery, number: Answer(statuses[-1])).running() as receiver:
        config = tmp_path / "turnout.toml"
        config.write_text(f'[notify.ledger]\nwebhook = "{receiver.url}"\nsecret_env = "HOOK_SECRET"\n')
        async with (
            serving(f"sqlite:///{tmp_path / 's.db'}", config=config) as desk,
            desk.visitor() as visitor,
        ):
            review = await desk.paused("r")
            await come(desk, "dead")
            page = await visitor.get("/workers?outbox=dead")
            said = page.said()
            assert "1 dead notice, 0 waiting" in said
            assert "review.requested" in said
            assert "410" in said
            links = [attrs.get("href") for _, attrs in page.elements]
            assert f"/reviews/{review.id}" in links
            [notice] = [attrs["value"] for attrs in page.named("notice")]
            statuses.append(200)
            answer = await visitor.post("/workers/outbox", {"notice": notice}, seen="/workers?outbox=dead")
            assert answer.status_code == 303
            assert "1 notice will be sent again." in (await visitor.get("/workers")).said()
            await come(desk, "sent")
            assert "0 notices waiting" in (await visitor.get("/workers")).said()
            assert len({delivery.id for delivery in receiver.got}) == 1  # the same notice both times
            unknown = await visitor.post("/workers/outbox", {"notice": "n-0"}, seen="/workers")
            assert unknown.status_code == 404


async def come(desk: Served, status: str) -> None:
    """Until a notice has that status."""
    async with asyncio.timeout(20):
        while not await desk.app.outbox(status=status):
            await asyncio.sleep(0.02)
