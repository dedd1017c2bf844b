"""Whatever people, deploys, policies and clocks do in whatever order: a call is sent once at most, and only as the policy
in force allows it or as a person has approved it, under that policy, in time."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.rules import PAY, folder
from tests.unit.runs import Work, chain

from turnout import App, Context, Graph, Paused, Settings, approve, edit, reject, tool
from turnout.core import entries as e
from turnout.policy.cedar import open_policy
from turnout.testing import VirtualClock, open_test_app

HELD = '@review("finance") @holds("2h")'
POLICIES = {
    "usual": PAY.replace('@review("finance")', HELD),
    "strict": PAY.replace('@review("finance")', HELD).replace("> 1000", "> 300"),
    "two": PAY.replace('@review("finance")', HELD)
    + f'{HELD.replace("finance", "legal")} permit(principal, action, resource == Tool::"pay");',
    "open": 'permit(principal, action, resource == Tool::"pay") when { context.args.amount <= 600 };',
}
AMOUNTS = st.sampled_from([50, 200, 500, 600, 5000])
STEPS = st.lists(
    st.tuples(st.just("deploy"), st.sampled_from(sorted(POLICIES)))
    | st.tuples(st.just("approve"), st.sampled_from(["dana", "carl"]))
    | st.tuples(st.just("approve down"), st.sampled_from(sorted(POLICIES)))
    | st.tuples(st.just("edit"), AMOUNTS)
    | st.tuples(st.just("reject"), st.just(""))
    | st.tuples(st.just("wait"), st.sampled_from([1, 3])),
    min_size=1,
    max_size=8,
)


def desk(sent: list[int]) -> Graph:
    @tool(effect="write")
    async def pay(amount: int) -> str:
        sent.append(amount)
        return "paid"

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(pay, amount=state.n)]}

    return chain(work, tools=[pay])


async def play(place: Path, first: str, amount: int, steps: list[tuple[str, Any]]) -> None:
    clock, sent = VirtualClock(), list[int]()
    digests: dict[str, str] = {}
    for name, text in POLICIES.items():
        digests[name] = open_policy(folder(place, text, name)).digest
    forces: list[tuple[int, str]] = []  # since which entry which policy is in force

    def opened(policy: str) -> App:
        return open_test_app(
            f"sqlite:///{place}/t.db", graphs=[desk(sent)], policy=place / policy, clock=clock,
            settings=Settings(poll=0.001, sweep=0.01),
        )  # fmt: skip

    async def deploy(policy: str, job: Any) -> None:
        async with opened(policy) as app:
            head = (await app.store.thread("t")).head if await app.store.thread("t") else 0
            forces.append((head, digests[policy]))
            await job(app)
            await clock.settle(20)
            await outcome(app)

    async def outcome(app: App) -> Any:
        return await app.wait("t/1", timeout=20)

    async def judged(app: App, judgement: Any) -> None:
        found = await outcome(app)
        if isinstance(found, Paused):
            await app.resolve(found.reviews[0], judgement)

    now = first
    await deploy(now, lambda app: app.start("g", {"n": amount}, thread="t"))
    for what, word in steps:
        match what:
            case "deploy":
                now = word
                await deploy(now, outcome)
            case "approve":
                await deploy(now, lambda app, word=word: judged(app, approve(by=word)))
            case "approve down":  # the yes comes while nobody works, and another policy is in force after it
                async with open_test_app(f"sqlite:///{place}/t.db", work=False, clock=clock) as elsewhere:
                    for review in await elsewhere.reviews():
                        await elsewhere.resolve(review, approve(by="down"))
                await clock.advance(3600)
                now = word
                await deploy(now, outcome)
            case "edit":
                await deploy(now, lambda app, word=word: judged(app, edit({"amount": word}, by="edna")))
            case "reject":
                await deploy(now, lambda app: judged(app, reject(by="nora")))
            case _:
                await clock.advance(word * 3600)
    async with opened(now) as app:
        assert (await app.replay("t")).identical
        check(await app.entries("t"), forces, sent)


def check(entries: list[e.Entry], forces: list[tuple[int, str]], sent: list[int]) -> None:
    """Every call that was sent has a verdict of the policy in force, or the yes of a person that it is bound to."""
    intended = [x for x in entries if isinstance(x.body, e.EffectIntended)]
    assert len(intended) == len(sent) <= 1
    for call in intended:
        before = [x for x in entries if x.seq < call.seq]
        policy = [digest for since, digest in forces if since < call.seq][-1]
        verdict = [x.body for x in before if isinstance(x.body, e.VerdictGiven)][-1]
        args = call.body.args  # type: ignore[attr-defined]
        assert verdict.verdict.digest == policy
        assert verdict.question.args == args  # just these have been looked at, also after an edit
        assert verdict.verdict.decision != "deny"
        assert sent == [args["amount"]]
        asked = {x.body.review: x.body for x in before if isinstance(x.body, e.ReviewRequested)}
        lapsed = {x.body.review for x in before if isinstance(x.body, e.ApprovalLapsed)}
        yes = [
            x for x in before
            if isinstance(x.body, e.ReviewDecided) and x.body.outcome in ("approve", "edit")
            and x.body.review not in lapsed and x.body.payload == args and call.at - x.at < 2 * 3_600_000_000
            and asked[x.body.review].binds.policy == policy
        ]  # fmt: skip
        for terms in verdict.verdict.reviews:
            assert any(asked[x.body.review].roles == terms.roles for x in yes), (terms, yes)  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(POLICIES)), st.sampled_from([500, 200, 50]), STEPS)
def test_nothing_is_sent_without_the_policy_in_force_or_a_yes_that_it_is_bound_to(
    first: str, amount: int, steps: list[tuple[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(play(Path(place), first, amount, steps))
