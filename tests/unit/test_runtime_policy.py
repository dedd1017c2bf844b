"""Policy at the gate, on a real store: allowed, approved, refused; and what an approval is bound to."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import StringConstraints
from tests.promises.bench import Dying, Later, Watched, app_on, sql, until_death
from tests.unit.rules import PAY, folder
from tests.unit.runs import Work, chain, kinds, proven

from turnout import (
    App,
    Budget,
    Cancelled,
    Context,
    DidNotHappen,
    Failed,
    Finished,
    Graph,
    ModelReply,
    Paused,
    Retry,
    Tool,
    Usage,
    approve,
    edit,
    reject,
    tool,
)
from turnout.core import entries as e
from turnout.errors import CallRefused, DecisionNotAllowed, EffectRefused, InputInvalid, ToolFailed
from turnout.runtime.verdicts import Verdicts
from turnout.stores.sqlite import SqliteStore
from turnout.testing import ScriptedModel, VirtualClock, open_test_app

MODEL = """
permit(principal, action == Action::"model", resource == Model::"small") when { context.args.characters < 20 };
@review permit(principal, action == Action::"model", resource == Model::"big");
permit(principal, action == Action::"retrieve", resource == Source::"docs") when { context.args.k < 5 };
"""


class Desk:
    """A graph whose one node pays `n`, and what it has paid."""

    def __init__(self, **options: Any) -> None:
        self.sent: list[int] = []
        self.trouble: list[Exception] = []

        @tool(effect="write", **options)
        async def pay(amount: int, idempotency_key: str = "") -> str:
            if self.trouble:
                raise self.trouble.pop(0)
            self.sent.append(amount)
            return f"receipt {amount}"

        self.pay = pay
        self.graph = self.with_tool(pay)

    def with_tool(self, pay: Tool[..., Any], **node: Any) -> Graph:
        async def work(state: Work, ctx: Context) -> dict[str, Any]:
            return {"log": [await ctx.call(pay, amount=state.n)]}

        return chain(work, tools=[pay], **node)


async def paused(app: App, n: int = 500, thread: str = "t", **more: Any) -> Paused:
    outcome = await app.run("g", {"n": n}, thread=thread, **more)
    assert isinstance(outcome, Paused), outcome
    return outcome


async def bodies(app: App, kind: type[e.Body], thread: str = "t") -> list[Any]:
    return [entry.body for entry in await app.entries(thread) if isinstance(entry.body, kind)]


# --- allow, deny --------------------------------------------------------------------------------------------------


async def test_what_policy_allows_is_sent_and_the_verdict_rides_in_the_same_commit(tmp_path: Path) -> None:
    desk, commits = Desk(), []
    for place, policy in (("with", folder(tmp_path)), ("without", None)):
        store = Watched(SqliteStore(str(tmp_path / f"{place}.db")))
        async with app_on(store, desk.graph, policy=policy or "") as app:
            assert isinstance(await app.run("g", {"n": 50}, thread="t"), Finished)
            await proven(app)
        commits.append(store.kinds("t"))
    governed, plain = commits
    assert len(governed) == len(plain)
    assert [[k for k in commit if k != "verdict.given"] for commit in governed] == plain
    assert desk.sent == [50, 50]


async def test_all_that_was_asked_and_what_determined_the_answer_is_on_record(tmp_path: Path) -> None:
    async with open_test_app(graphs=[Desk().graph], policy=folder(tmp_path), clock=VirtualClock()) as app:
        await app.run("g", {"n": 50}, thread="t", by="eve", tenant="acme")
        [said] = await bodies(app, e.VerdictGiven)
    who, what = said.question.caller, said.question.resource
    assert (who.graph, who.node, who.tenant, who.by, who.thread) == ("g", "work", "acme", "eve", "t")
    assert (what.kind, what.name, what.effect) == ("tool", "pay", "write")
    assert said.question.args["amount"] == 50
    assert said.question.now == VirtualClock().now()
    assert (said.verdict.decision, said.verdict.policies, len(said.verdict.digest)) == (
        "allow",
        ["small"],
        16,
    )


@pytest.mark.parametrize("effect", ["pure", "read", "write"])
async def test_what_policy_denies_is_not_sent_and_the_node_is_told_the_same_in_a_replay(
    tmp_path: Path, effect: str
) -> None:
    called = []

    @tool(effect=effect)  # type: ignore[call-overload]
    async def look(x: int) -> int:
        called.append(x)
        return x

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call(look, x=1)
        except EffectRefused as refused:
            return {"log": [f"{type(refused).__name__} {refused}"]}
        return {}

    rules = '@id("closed") @reason("nobody looks") forbid(principal, action, resource == Tool::"look");'
    async with open_test_app(graphs=[chain(work, tools=[look])], policy=folder(tmp_path, rules)) as app:
        outcome = await app.run("g", {}, thread="t")
        await proven(app)
        [recorded] = await bodies(app, e.EffectRecorded)
    assert called == []
    assert isinstance(outcome, Finished)
    assert "CallRefused" in outcome.state.log[0]
    assert "nobody looks (closed)" in outcome.state.log[0]
    assert recorded.error.type == "CallRefused"


async def test_a_refusal_fails_the_step_at_once_unless_the_node_asks_for_retries_of_it(
    tmp_path: Path,
) -> None:
    desk = Desk()
    for wanted, tries in ((Exception, 1), (CallRefused, 3)):
        graph = desk.with_tool(desk.pay, retry=Retry(attempts=3, wait=0, on=(wanted,)))
        async with open_test_app(graphs=[graph], policy=folder(tmp_path)) as app:
            outcome = await app.run("g", {"n": 5000}, thread="t")
            assert isinstance(outcome, Failed)
            assert outcome.error.type == "CallRefused"
            assert len(await bodies(app, e.VerdictGiven)) == tries
            await proven(app)
    assert desk.sent == []


async def test_models_and_retrieval_are_asked_about_too(tmp_path: Path) -> None:
    async def docs(query: str, k: int) -> list[str]:
        return [query] * k

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        log = []
        for model, text in (("small", "short"), ("small", "a text that is much too long")):
            try:
                log.append((await ctx.model(model, messages=text)).text)
            except EffectRefused as refused:
                log.append(type(refused).__name__)
        for k in (1, 9):
            try:
                log.append(str(await ctx.retrieve("docs", "q", k=k)))
            except EffectRefused as refused:
                log.append(type(refused).__name__)
        return {"log": log}

    model = ScriptedModel(["yes"])
    async with open_test_app(
        graphs=[chain(work)],
        models={"small": model},
        retrievers={"docs": docs},
        policy=folder(tmp_path, MODEL),
    ) as app:
        outcome = await app.run("g", {}, thread="t")
        await proven(app)
        said = await bodies(app, e.VerdictGiven)
    assert outcome.state.log == ["yes", "CallRefused", "['q']", "CallRefused"]
    assert len(model.requests) == 1
    assert "much too long" not in str([one.question for one in said])  # a prompt is not kept twice


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


# --- crashes, retries, cancels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "nth", "after"),
    [
        ("verdict.given", 1, False), ("verdict.given", 1, True), ("review.requested", 1, False),
        ("effect.intended", 1, False), ("effect.intended", 1, True), ("effect.settled", 1, False),
    ],
)  # fmt: skip
async def test_whenever_the_process_dies_the_call_is_approved_once_and_sent_once_with_its_key(
    tmp_path: Path, kind: str, nth: int, after: bool
) -> None:
    keys: set[str] = set()

    @tool(effect="write")
    async def pay(amount: int, idempotency_key: str) -> str:
        keys.add(idempotency_key)  # the receiver does it once a key
        return "paid"

    graph, rules, path = Desk().with_tool(pay), folder(tmp_path), tmp_path / "t.db"
    store = Dying(path, kind, nth, after=after)
    if kind.startswith("effect"):
        async with app_on(path, graph, policy=rules) as app:
            found = (await paused(app)).reviews[0]
        async with app_on(path, work=False) as elsewhere:
            await elsewhere.resolve(found, approve(by="dana"))
        async with app_on(store, graph, policy=rules, clock=Later()):
            await asyncio.wait_for(store.dead.wait(), 10)
    else:
        async with until_death(store, graph, {"n": 500}, policy=rules):
            pass
        assert keys == set()
    later = Later()
    later.now = lambda: Later.now(later) + 3_600_000_000  # type: ignore[method-assign]
    async with app_on(path, graph, policy=rules, clock=later) as app:
        outcome = await app.wait("t/1", timeout=20)
        if isinstance(outcome, Paused):
            await app.resolve(outcome.reviews[0], approve(by="dana"))
            outcome = await app.wait("t/1", timeout=20)
        assert isinstance(outcome, Finished), outcome
        await proven(app)
        assert len(await app.reviews(status="")) == 1
    assert len(keys) == 1


async def test_a_write_that_was_sent_as_edited_is_looked_into_and_sent_again_as_edited(
    tmp_path: Path,
) -> None:
    sent: list[tuple[int, str]] = []

    @tool(effect="write")
    async def pay(amount: int, idempotency_key: str) -> str:
        sent.append((amount, idempotency_key))
        if len(sent) == 1:
            raise ConnectionError("the line went dead")
        return "paid"

    clock = VirtualClock()
    async with open_test_app(graphs=[Desk().with_tool(pay)], policy=folder(tmp_path), clock=clock) as app:
        await app.resolve((await paused(app)).reviews[0], edit({"amount": 300}, by="dana"))
        for _ in range(20):
            await clock.advance(5)
        outcome = await app.wait("t/1")
        await proven(app)
        assert len(await bodies(app, e.VerdictGiven)) == 2
    assert isinstance(outcome, Finished)
    assert sent == [(300, sent[0][1])] * 2


async def test_a_yes_holds_for_the_next_try_of_a_call_that_has_proven_that_it_did_not_happen(
    tmp_path: Path,
) -> None:
    desk = Desk()
    desk.trouble.append(DidNotHappen("the bank is closed"))
    graph = desk.with_tool(desk.pay, retry=Retry(attempts=2, wait=0))
    async with open_test_app(graphs=[graph], policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("t/1"), Finished)
        await proven(app)
        assert len(await app.reviews(status="")) == 1
    assert desk.sent == [500]


async def test_a_run_that_is_cancelled_while_it_waits_for_a_yes_sends_nothing(tmp_path: Path) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        found = (await paused(app)).reviews[0]
        await app.cancel("t")
        outcome = await app.wait("t/1")
        assert isinstance(outcome, Cancelled)
        assert outcome.writes == []
        assert (await app.review(found.id)).status == "withdrawn"
        await proven(app)
    assert desk.sent == []


async def test_a_fork_does_not_send_on_its_parents_approval(tmp_path: Path) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], approve(by="dana"))
        await app.wait("t/1")
        decided = next(x.seq for x in await app.entries("t") if x.kind == "review.decided")
        for at in (decided - 1, decided):
            fork = await app.fork("t", at=at, name=f"fork-{at}")
            outcome = await app.wait(fork)
            assert isinstance(outcome, Paused), outcome
            assert desk.sent == [500]
        await app.resolve(outcome.reviews[0], approve(by="carl"))
        assert isinstance(await app.wait(fork), Finished)
        await proven(app, fork.thread)
    assert desk.sent == [500, 500]


async def test_a_transactional_write_is_governed_and_lands_with_its_verdict(tmp_path: Path) -> None:
    @tool(effect="write", transactional=True)
    async def pay(amount: int, transaction: Any) -> str:
        transaction.execute("CREATE TABLE IF NOT EXISTS paid (amount INTEGER)")
        transaction.execute("INSERT INTO paid VALUES (?)", (amount,))
        return "paid"

    path = tmp_path / "t.db"
    async with app_on(path, Desk().with_tool(pay), policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], edit({"amount": 350}, by="dana"))
        assert isinstance(await app.wait("t/1"), Finished)
        assert isinstance(await app.run("g", {"n": 5000}, thread="u"), Failed)
        await proven(app)
        await proven(app, "u")
    assert sql(path, "SELECT amount FROM paid") == [(350,)]


async def test_calls_in_a_gather_are_each_decided_and_wait_together(tmp_path: Path) -> None:
    desk = Desk()

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        found = await asyncio.gather(*(ctx.call(desk.pay, amount=n) for n in (50, 500, 600)))
        return {"log": list(found)}

    async with open_test_app(graphs=[chain(work, tools=[desk.pay])], policy=folder(tmp_path)) as app:
        outcome = await app.run("g", {}, thread="t")
        assert desk.sent == [50]
        assert isinstance(outcome, Paused)
        for review in outcome.reviews:
            await app.resolve(review, approve(by="dana"))
        assert len(outcome.reviews) == 2
        outcome = await app.wait("t/1")
        await proven(app)
    assert isinstance(outcome, Finished)
    assert sorted(desk.sent) == [50, 500, 600]


# --- what-if ------------------------------------------------------------------------------------------------------


async def test_a_what_if_under_another_policy_shows_the_calls_that_it_stops(tmp_path: Path) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy="") as app:
        for n in (50, 500, 5000):
            await app.run("g", {"n": n}, thread=f"t{n}")
        found = {n: await app.whatif(f"t{n}", policy=folder(tmp_path)) for n in (50, 500, 5000)}
    assert found[50].same
    assert [one.verdict.decision for one in found[500].stopped] == ["review"]
    assert found[500].after.status == "waiting"
    assert [one.verdict.policies for one in found[5000].stopped] == [["never"]]
    assert found[5000].after.status == "failed"
    assert desk.sent == [50, 500, 5000]


async def test_in_a_what_if_a_yes_on_record_counts_and_what_was_refused_then_has_no_answer(
    tmp_path: Path,
) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], edit({"amount": 300}, by="dana"))
        await app.wait("t/1")
        await app.run("g", {"n": 5000}, thread="refused")
        assert (await app.whatif("t", policy=folder(tmp_path))).same
        open_ = folder(tmp_path, "permit(principal, action, resource);", "open")
        found = await app.whatif("refused", policy=open_)
    assert found.gap is not None
    assert "would be sent now" in found.gap.actual
    assert not found.same


@pytest.mark.parametrize("budgets", [(), (Budget(name="all", per="all", calls=99),)])
async def test_in_a_what_if_the_run_has_spent_what_it_had_on_record(tmp_path: Path, budgets: Any) -> None:
    """Under a rule about what was spent, with calls that are read, written, asked of a model and fail."""
    few = folder(
        tmp_path,
        """permit(principal, action, resource);
        @id("few") forbid(principal, action, resource) when { context.spent.calls > 3 || context.spent.tokens > 90 };""",
    )
    desk = Desk()

    @tool(effect="read")
    async def broken(n: int) -> int:
        raise ValueError(n)

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.model("main", messages="hi")
        found = []
        for n in range(5):
            try:
                found.append(
                    str(await ctx.call(broken if n == 1 else desk.pay, **{"n" if n == 1 else "amount": n}))
                )
            except CallRefused:
                found.append("refused")
            except ToolFailed:
                found.append("broken")
        return {"log": found}

    models = {"main": ScriptedModel(lambda request: ModelReply(text="a", usage=Usage(input_tokens=9)))}
    graphs = [chain(work, tools=[desk.pay, broken])]
    async with open_test_app(graphs=graphs, policy=few, models=models, budgets=budgets) as app:
        await app.run("g", {}, thread="t")
        assert (await app.state("t"))["log"][1:] == ["broken", "receipt 2", "refused", "refused"]
        assert (await app.whatif("t", policy=few)).same
    async with open_test_app(graphs=graphs, models=models, budgets=budgets) as app:
        await app.run("g", {}, thread="t")
        found = await app.whatif("t", policy=few)
        assert [one.question.spent.calls for one in found.stopped] == [4, 4]
        assert [one.question.spent.tokens for one in found.stopped] == [9, 9]


async def test_without_a_policy_what_the_graph_declares_decides_and_no_verdict_is_on_record(
    tmp_path: Path,
) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph]) as app:
        assert isinstance(await app.run("g", {"n": 5000}, thread="t"), Finished)
        assert "verdict.given" not in await kinds(app)


async def test_explain_tells_at_the_call_which_policy_and_which_person_said_yes(tmp_path: Path) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        await app.resolve((await paused(app)).reviews[0], approve(by="dana", comment="fine"))
        await app.wait("t/1")
        [call] = (await app.explain("t")).calls
        assert [(v.decision, v.policies) for v in call.verdicts] == [("review", ("big",))]
        assert [(c.decision, c.by, c.comment) for c in call.consents] == [("approve", ("dana",), "fine")]
        await app.resolve((await paused(app, thread="no")).reviews[0], reject(by="carl"))
        await app.wait("no/1")
        [call] = (await app.explain("no")).calls
        assert (call.outcome, call.consents[0].by) == ("refused", ("carl",))
        await app.run("g", {"n": 5000}, thread="deny")
        [call] = (await app.explain("deny")).calls
        assert (call.outcome, call.verdicts[0].policies) == ("refused", ("never",))
