"""What governs calls, over HTTP and in the client: costs, budgets, policies, tools, guardrails."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.api.conftest import Served, served
from tests.tools.conftest import shop
from tests.tools.shops import TOKEN, Shop

from turnout import Budget, approve, connect, connect_sync, guard
from turnout.client.remote import Remote
from turnout.core.amounts import NOTHING, Amount
from turnout.core.budgets import ChargeRow, Label
from turnout.errors import InputInvalid, PolicyInvalid, RightMissing, SettingsInvalid, UsageError
from turnout.policy.cedar import open_policy
from turnout.service.report import as_data

__all__ = ["shop"]  # a fixture
RULES = """
@id("asked") permit(principal, action == Action::"call", resource == Tool::"send_refund")
when { context.args.amount <= 100 };
@id("large") @review("finance") @reason("much money")
permit(principal, action == Action::"call", resource == Tool::"send_refund") when { context.args.amount > 100 };
"""
STRICTER = RULES.replace("100", "40")
INPUT = {"order": "A-17", "amount": 50}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Served]:
    looking = [guard("cards", "length", action="flag", longest=10)]
    async with served(policy=folder(tmp_path / "rules", RULES), guards=looking) as found:
        yield found


@pytest.fixture
async def remote(address: str) -> AsyncIterator[Remote]:
    async with connect(address) as found:
        yield found


def folder(at: Path, text: str) -> Path:
    at.mkdir(exist_ok=True)
    (at / "refunds.cedar").write_text(text)
    return at


async def refunded(desk: Served, thread: str) -> None:
    await desk.app.wait(await desk.app.start("refunds", INPUT, thread=thread))
    await desk.app.resolve((await desk.app.reviews(thread=thread))[0], approve(by="dana"))
    await desk.app.wait(f"{thread}/1")


def spent(thread: str, micros: int, at: datetime) -> ChargeRow:
    label = Label(
        thread=thread, run=1, step="ask.1", node="ask", branch="", graph="refunds", tenant="", root=f"{thread}/1",
        kind="model", name="m", model="m-1", deployment="", retry=False, at=int(at.timestamp() * 1e6),
    )  # fmt: skip
    return ChargeRow(thread, 1, label, "settled", NOTHING, Amount(micros=micros, calls=1), ())


async def test_costs_are_what_the_app_says_they_are(desk: Served, remote: Remote) -> None:
    now = datetime.now(UTC)
    await desk.app.store.book([spent("a", 5, now), spent("b", 7, now - timedelta(days=9))])
    for by in ("graph", "node", "branch", "model", "tenant", "retry", "day", "thread"):
        assert await remote.costs(by) == await desk.app.costs(by) != []
    assert [cost.what for cost in await remote.costs("thread", since=now - timedelta(days=1))] == ["a"]
    assert [cost.what for cost in await remote.costs("thread", thread="b", graph="refunds")] == ["b"]
    with pytest.raises(InputInvalid):
        await remote.costs("colour")
    with pytest.raises(InputInvalid, match="timezone"):
        await remote.costs(since=datetime(2026, 1, 1))


async def test_budgets_are_set_listed_and_dropped(desk: Served, remote: Remote) -> None:
    daily = Budget(
        name="daily dollars", per="tenant", day=True, micros=5_000_000, at_cap="review", roles=("finance",)
    )
    await remote.put_budget(daily)
    assert await desk.app.store.budgets() == [daily]
    assert await remote.budgets() == await desk.app.budgets() != []
    assert await remote.budgets("other") == []
    with pytest.raises(InputInvalid, match="caps nothing"):
        await remote.put_budget(Budget(name="empty", per="all"))
    assert (await remote.drop_budget("daily dollars"), await remote.drop_budget("daily dollars")) == (
        True,
        False,
    )
    async with desk.client() as client:
        said = await client.put("/budgets/empty", json={"per": "all"})
    assert (said.status_code, said.json()["type"]) == (422, "urn:turnout:error:InputInvalid")


async def test_the_policy_here_is_shown_and_other_rules_are_tried(
    desk: Served, remote: Remote, tmp_path: Path
) -> None:
    await refunded(desk, "t")
    here = await remote.policy()
    assert here == await desk.app.policy()
    assert [(rule.id, rule.effect, rule.review) for rule in here.rules] == [
        ("asked", "permit", None),
        ("large", "permit", ("finance",)),
    ]
    stricter = folder(tmp_path / "stricter", STRICTER)
    assert await remote.policy_check(stricter) == await desk.app.policy_check(stricter)
    found = await remote.backtest(stricter, since=datetime.now(UTC) - timedelta(days=1))
    assert as_data(found) == as_data(await desk.app.backtest(stricter)) | {"since": found.since}
    [flip] = found.flips
    assert (flip.before, flip.after, flip.examples[0].args["amount"]) == ("allow", "review by finance", 50)
    assert (await remote.backtest(stricter, graph="talks")).calls == 0
    assert (await remote.backtest({"same.cedar": RULES})).same
    other = await remote.whatif("t", policy={"candidate.cedar": STRICTER})
    assert as_data(other) == as_data(await desk.app.whatif("t", policy=stricter))
    assert not other.same
    assert (await remote.whatif("t", policy={"same.cedar": RULES})).same
    assert (await desk.app.policy()) == here, "nothing was kept"


async def test_mistakes_in_rules_are_told_with_their_lines(remote: Remote, tmp_path: Path) -> None:
    bad = {"bad.cedar": "\npermit(principal, action, resource) when { contxt.args };"}
    for call in (remote.backtest(bad), remote.whatif("t", policy=bad)):
        with pytest.raises(PolicyInvalid, match=r"^bad\.cedar:2: "):
            await call
    [problem] = (await remote.policy_check(bad)).problems
    assert (problem.file, problem.line) == ("bad.cedar", 2)
    for name in ("../up.cedar", "a/b.cedar", "rules.txt", ".cedar", "a\0.cedar"):
        with pytest.raises(PolicyInvalid, match="name of a file of rules"):
            await remote.backtest({name: RULES})
    with pytest.raises(SettingsInvalid, match="no folder"):
        await remote.policy_check(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="folder of its rules"):
        await remote.backtest(open_policy({"a.cedar": RULES}))


async def test_guardrails_and_tools_are_listed(desk: Served, remote: Remote) -> None:
    [item] = await remote.guards()
    assert [item] == await desk.app.guards()
    assert (item.name, item.action, item.where) == ("cards", "flag", ("input", "output"))
    assert await remote.tools(ask=False) == await desk.app.tools(ask=False) == []


async def test_servers_of_tools_are_shown_as_approved_and_asked_only_when_told_to(shop: Shop) -> None:
    await shop.pin("look_up")
    async with served(config=shop.config) as desk, desk.socket() as url, connect(url) as remote:
        [seen] = await remote.tools(ask=False)
        assert [seen] == await desk.app.tools(ask=False)
        assert {tool.state for tool in seen.tools} == {"unseen"}
        [asked] = await remote.tools([seen.name])
        assert "approved" in {tool.state for tool in asked.tools}
        assert TOKEN not in str(asked)
        with pytest.raises(SettingsInvalid):
            await remote.tools(["nothing"])


async def test_the_blocking_client_has_them_too(address: str) -> None:
    import asyncio

    def work() -> None:
        with connect_sync(address) as app:
            app.put_budget(Budget(name="calls", per="run", calls=9))
            assert [budget.name for budget in app.budgets()] == ["calls"]
            assert app.costs() == []
            assert app.policy_check({"a.cedar": RULES}).ok
            assert app.backtest({"a.cedar": RULES}).calls == 0
            assert len(app.guards()) == 1
            with pytest.raises(UsageError):
                app.rebuild_ledger()

    await asyncio.to_thread(work)


async def test_what_is_the_houses_is_not_for_one_tenants_token(desk: Served, address: str) -> None:
    secret = await desk.token("ada", "admin", tenant="acme")
    async with connect(address, token=secret) as app:
        for call in (app.budgets(), app.tools(ask=False), app.guards(), app.policy(), app.drop_budget("x")):
            with pytest.raises(RightMissing, match="not of one tenant"):
                await call
        assert (await app.backtest({"a.cedar": RULES})).threads == 0
