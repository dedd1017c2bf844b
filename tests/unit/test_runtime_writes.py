"""Writes: intended before, settled after, never guessed."""

import asyncio
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import (
    CANNOT_TELL,
    DID_NOT_HAPPEN,
    Cancelled,
    Context,
    DidNotHappen,
    Failed,
    Finished,
    Landed,
    Paused,
    Retry,
    Tool,
    did_not_happen,
    landed,
    tool,
)
from turnout.errors import InputInvalid
from turnout.testing import VirtualClock, open_test_app


class Bank:
    """A world that can fail before or after it has done something, and can be asked about it."""

    def __init__(self, *, fails: int = 1, lands: bool = False) -> None:
        self.fails, self.lands = fails, lands
        self.sent: list[str] = []
        self.done: list[str] = []
        self.said: list[Any] = []
        self.asked: list[dict[str, Any]] = []

    async def pay(self, amount: int, key: str = "") -> str:
        self.sent.append(key)
        if len(self.sent) <= self.fails:
            if self.lands:
                self.done.append(key)
            raise ConnectionError("the line is dead")
        self.done.append(key)
        return f"paid {amount}"

    async def look(self, **args: Any) -> Any:
        self.asked.append(args)
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


def plain_pay(bank: Bank) -> Tool[Any, Any]:
    @tool(effect="write")
    async def pay(amount: int) -> str:
        return await bank.pay(amount)

    return pay


def keyed_pay(bank: Bank) -> Tool[Any, Any]:
    @tool(effect="write")
    async def pay(amount: int, idempotency_key: str) -> str:
        return await bank.pay(amount, idempotency_key)

    return pay


def reconciled_pay(bank: Bank) -> Tool[Any, Any]:
    async def reconcile(amount: int, idempotency_key: str) -> Any:
        return await bank.look(amount=amount, key=idempotency_key)

    @tool(effect="write", reconcile=reconcile)
    async def pay(amount: int) -> str:
        return await bank.pay(amount)

    return pay


def paying(pay: Tool[Any, Any], **options: Any) -> Any:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(pay, amount=5)]}

    return chain(node, tools=[pay], **options)


async def outcomes(app: Any, thread: str = "t") -> list[tuple[str, str]]:
    return [(e.body.outcome, e.body.how) for e in await app.entries(thread) if e.kind == "effect.settled"]


async def test_a_write_is_on_record_before_it_is_sent_and_settled_after() -> None:
    seen: list[list[str]] = []
    box: dict[str, Any] = {}

    @tool(effect="write")
    async def pay(amount: int) -> int:
        rows = await box["app"].store.read("t")  # what is durable, not what is staged
        seen.append([row.kind for row in rows])
        return amount

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.now()
        return {"n": await ctx.call(pay, amount=5)}

    async with open_test_app(graphs=[chain(node, tools=[pay])]) as app:
        box["app"] = app
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        assert seen[0][-2:] == ["effect.recorded", "effect.intended"]
        assert await outcomes(app) == [("landed", "call")]
        await proven(app)


async def test_a_write_that_nobody_can_settle_is_decided_by_a_person() -> None:
    bank = Bank(lands=True)
    async with open_test_app(graphs=[paying(plain_pay(bank))]) as app:
        paused = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert (review.purpose, review.allowed) == ("outcome", ("landed", "did_not_happen"))
        assert review.payload["arguments"] == {"amount": 5}
        assert "the line is dead" in review.payload["what is known"]
        await app.resolve(review, landed("paid by hand", by="dana"))
        done = await app.wait("t/1", timeout=5)
        assert isinstance(done, Finished)
        assert done.state.log == ["paid by hand"]  # type: ignore[attr-defined]
        assert len(bank.sent) == 1
        await proven(app)


async def test_a_person_who_says_it_did_not_happen_lets_it_be_sent_again() -> None:
    bank = Bank(fails=2)
    async with open_test_app(graphs=[paying(plain_pay(bank))]) as app:
        run = await app.start("g", {}, thread="t")
        for sent in (1, 2):
            paused = await app.wait(run, timeout=5)
            assert isinstance(paused, Paused)
            assert len(bank.sent) == sent
            await app.resolve(paused.reviews[0], did_not_happen(by="dana"))
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert (len(bank.sent), bank.done) == (3, [""])
        keys = {e.body.idempotency_key for e in await app.entries("t") if e.kind == "effect.intended"}  # type: ignore[attr-defined]
        assert len(keys) == 1
        await proven(app)


async def test_a_result_from_a_person_that_has_the_wrong_type_is_refused_and_changes_nothing() -> None:
    bank = Bank(lands=True)
    async with open_test_app(graphs=[paying(plain_pay(bank))]) as app:
        paused = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(paused, Paused)
        before = await kinds(app)
        with pytest.raises(InputInvalid, match="tool pay"):
            await app.resolve(paused.reviews[0], landed({"not": "text"}, by="dana"))
        assert await kinds(app) == before
        await app.resolve(paused.reviews[0], landed("text", by="dana"))
        assert isinstance(await app.wait("t/1", timeout=5), Finished)
        assert len(bank.sent) == 1
        await proven(app)


async def test_a_tool_that_takes_the_key_is_sent_again_with_the_same_key() -> None:
    bank, clock = Bank(fails=2), VirtualClock()
    async with open_test_app(graphs=[paying(keyed_pay(bank))], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(0)
        assert len(bank.sent) == 1  # not at once: a little later
        await clock.advance(60)
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert len(bank.sent) == 3
        assert len(set(bank.sent)) == 1
        assert len(bank.sent[0]) == 32
        await proven(app)


async def test_sending_again_has_an_end_and_then_a_person_decides() -> None:
    bank, clock = Bank(fails=10_000), VirtualClock()
    async with open_test_app(graphs=[paying(keyed_pay(bank))], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(days=2)
        paused = await app.wait(run, timeout=5)
        assert isinstance(paused, Paused)
        assert 2 <= len(bank.sent) <= 10
        sent = len(bank.sent)
        await clock.advance(days=30)
        assert len(bank.sent) == sent
        await proven(app)


async def test_reconcile_that_knows_it_landed_settles_it() -> None:
    bank = Bank(lands=True)
    bank.said = [Landed("paid, found in the books")]
    async with open_test_app(graphs=[paying(reconciled_pay(bank))]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.log == ["paid, found in the books"]  # type: ignore[attr-defined]
        assert len(bank.sent) == 1
        assert bank.asked[0]["amount"] == 5
        assert len(bank.asked[0]["key"]) == 32
        assert await outcomes(app) == [("unknown", "call"), ("landed", "reconcile")]
        await proven(app)


async def test_reconcile_that_knows_it_did_not_happen_has_it_sent_again() -> None:
    bank = Bank()
    bank.said = [DID_NOT_HAPPEN]
    async with open_test_app(graphs=[paying(reconciled_pay(bank))]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        assert len(bank.sent) == 2
        assert len(bank.done) == 1
        await proven(app)


async def test_reconcile_that_cannot_tell_is_asked_again_later_and_holds_nothing() -> None:
    bank, clock = Bank(lands=True), VirtualClock()
    bank.said = [CANNOT_TELL, CANNOT_TELL, Landed("late")]
    async with open_test_app(graphs=[paying(reconciled_pay(bank))], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(1)
        assert len(bank.asked) == 1
        assert app.worker is not None
        await until(lambda: not app.worker.busy)  # type: ignore[union-attr]
        await clock.advance(600)
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert (len(bank.asked), len(bank.sent)) == (3, 1)
        await proven(app)


async def test_reconcile_that_never_can_tell_ends_with_a_person() -> None:
    bank, clock = Bank(lands=True), VirtualClock()
    bank.said = [CANNOT_TELL] * 50
    async with open_test_app(graphs=[paying(reconciled_pay(bank))], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(days=3)
        paused = await app.wait(run, timeout=5)
        assert isinstance(paused, Paused)
        assert len(bank.asked) <= 10
        await app.resolve(paused.reviews[0], landed("yes", by="dana"))
        await clock.advance(1)
        assert isinstance(await app.wait(run, timeout=5), Finished)
        assert len(bank.sent) == 1


@pytest.mark.parametrize("said", [ValueError("books are shut"), "yes", None, True, Landed({"not": "text"})])
async def test_reconcile_that_fails_or_talks_nonsense_ends_with_a_person(said: Any) -> None:
    bank = Bank(lands=True)
    bank.said = [said] * 3
    async with open_test_app(graphs=[paying(reconciled_pay(bank))]) as app:
        paused = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(paused, Paused)
        assert paused.reviews[0].payload["reconcile"]
        assert len(bank.sent) == 1
        await app.resolve(paused.reviews[0], landed("yes", by="dana"))
        assert isinstance(await app.wait("t/1", timeout=5), Finished)
        assert len(bank.sent) == 1
        await proven(app)


@pytest.mark.parametrize(
    "error", [DidNotHappen("refused"), LookupError("no account"), KeyError("no account")]
)
async def test_an_error_that_proves_that_nothing_happened_is_retried_freely(error: Exception) -> None:
    sent: list[int] = []

    @tool(effect="write", did_not_happen=(LookupError,))
    async def pay(amount: int) -> str:
        sent.append(amount)
        if len(sent) < 3:
            raise error
        return "paid"

    clock = VirtualClock()
    graph = paying(pay, retry=Retry(attempts=5, on=(DidNotHappen, LookupError), wait=1))
    async with open_test_app(graphs=[graph], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(60)
        assert isinstance(await app.wait(run, timeout=5), Finished)
        assert len(sent) == 3
        await proven(app)


async def test_a_node_may_catch_that_a_write_did_not_happen() -> None:
    @tool(effect="write")
    async def pay(amount: int) -> str:
        raise DidNotHappen("no money")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call(pay, amount=5)
        except Exception as error:
            return {"log": [f"{type(error).__name__}: {error}"]}
        return {}

    async with open_test_app(graphs=[chain(node, tools=[pay])]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert "no money" in done.state.log[0]  # type: ignore[attr-defined]
        await proven(app)


@pytest.mark.parametrize("catch", [False, True])
async def test_an_error_that_proves_nothing_is_never_repeated_silently_whatever_the_node_declares(
    catch: bool,
) -> None:
    bank = Bank(fails=10_000)
    pay = plain_pay(bank)

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        for _ in range(3):
            try:
                await ctx.call(pay, amount=5)
                return {"n": 1}
            except Exception:
                if not catch:
                    raise
        return {"log": ["gave up"]}

    clock = VirtualClock()
    graph = chain(node, tools=[pay], retry=Retry(attempts=5, on=(Exception,), wait=0))
    async with open_test_app(graphs=[graph], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(days=1)
        assert isinstance(await app.wait(run, timeout=5), Paused)
        assert len(bank.sent) == 1


async def test_a_result_of_the_wrong_type_counts_as_landed_and_is_not_sent_again() -> None:
    sent: list[int] = []

    @tool(effect="write")
    async def pay(amount: int) -> int:
        sent.append(amount)
        return "not a number"  # type: ignore[return-value]

    async with open_test_app(graphs=[paying(pay, retry=Retry(attempts=3, wait=0))]) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert [w.outcome for w in failed.writes] == ["landed"]
        assert len(sent) == 1
        await proven(app)


async def test_a_write_with_a_time_limit_that_runs_out_is_unknown_and_looked_into() -> None:
    async def reconcile(amount: int) -> Any:
        return Landed("found")

    @tool(effect="write", reconcile=reconcile, time_limit=0.05)
    async def pay(amount: int) -> str:
        await asyncio.sleep(10)
        return "never"

    async with open_test_app(graphs=[paying(pay)]) as app:
        done = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(done, Finished)
        assert done.state.log == ["found"]  # type: ignore[attr-defined]
        await proven(app)


async def test_a_changed_write_after_a_recorded_one_sends_nothing_and_parks() -> None:
    sent: list[int] = []

    @tool(effect="write")
    async def pay(amount: int) -> str:
        sent.append(amount)
        return "paid"

    amount = [5]

    async def node(state: Work, ctx: Context) -> None:
        await ctx.call(pay, amount=amount[0])
        await ctx.review("ok?")

    async with open_test_app(graphs=[chain(node, tools=[pay])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        amount[0] = 6
        from turnout import approve

        await app.resolve(paused.reviews[0], approve(by="dana"))
        stuck = await app.wait("t/1", timeout=5)
        assert isinstance(stuck, Paused)
        assert stuck.divergence is not None
        assert sent == [5]
        await app.cancel("t", by="dana")
        cancelled = await app.wait("t/1", timeout=5)
        assert isinstance(cancelled, Cancelled)
        assert [w.outcome for w in cancelled.writes] == ["landed"]


async def test_a_node_that_gives_up_waiting_for_a_write_does_not_lose_it() -> None:
    """Its own time limit around a write must not leave a write that nobody ever asks about."""
    bank_done = asyncio.Event()

    @tool(effect="write")
    async def pay(amount: int) -> str:
        await asyncio.sleep(0.1)
        bank_done.set()
        return "paid"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            async with asyncio.timeout(0.02):
                return {"log": [await ctx.call(pay, amount=5)]}
        except TimeoutError:
            return {"log": ["gave up"]}

    async with open_test_app(graphs=[chain(node, tools=[pay])]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        known = (await outcomes(app))[-1][0]
        assert known == "landed" or isinstance(ended, Paused | Failed), (known, ended)
        assert "effect.intended" in await kinds(app)
