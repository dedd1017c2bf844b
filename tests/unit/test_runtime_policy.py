"""Policy at the gate, on a real store: allowed, refused, on record, and in a what-if."""

from pathlib import Path
from typing import Any

import pytest
from tests.promises.bench import Watched, app_on
from tests.unit.desks import MODEL, Desk, bodies, paused
from tests.unit.rules import folder
from tests.unit.runs import Work, chain, kinds, proven

from turnout import Budget, Context, Failed, Finished, ModelReply, Retry, Usage, approve, edit, reject, tool
from turnout.core import entries as e
from turnout.errors import CallRefused, EffectRefused, ToolFailed
from turnout.stores.sqlite import SqliteStore
from turnout.testing import ScriptedModel, VirtualClock, open_test_app

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
