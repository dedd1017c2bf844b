"""What explain tells of a write whose answer was lost."""

from typing import Any

from tests.unit.refunds import Desk

from turnout import END, Context, Finished, Graph, Paused, landed, tool
from turnout.testing import VirtualClock, open_test_app


async def test_an_unknown_write_is_named_with_how_it_was_looked_into_and_who_settled_it() -> None:
    tries: list[str] = []

    async def look(order: str, idempotency_key: str) -> object:
        tries.append(idempotency_key)
        raise ConnectionError("the ledger is away")

    @tool(effect="write", reconcile=look)
    async def post(order: str, idempotency_key: str) -> str:
        raise ConnectionError("cut off")

    books = Graph("books", state=Desk, tools=[post])

    @books.node
    async def write(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"receipt": await ctx.call(post, order=state.order)}

    books.start(write)
    books.edge(write, END)
    async with open_test_app(graphs=[books]) as app:
        outcome = await app.run("books", {"order": "A-17"}, thread="case")
        assert isinstance(outcome, Paused)
        before = await app.explain("case")
        await app.resolve(outcome.reviews[0], landed("R-9", by="dana"))
        await app.wait("case/1", timeout=10)
        after = await app.explain("case")
    [unknown] = before.unknown_writes
    assert (unknown.name, unknown.outcome, unknown.idempotency_key) == ("post", "unknown", tries[0])
    assert unknown.error is not None
    [call] = after.calls
    assert (call.outcome, call.result) == ("landed", "R-9")
    assert [(found.outcome, found.how, found.by) for found in call.settled] == [
        ("unknown", "call", ""),
        ("landed", "person", "dana"),
    ]
    assert after.unknown_writes == ()
    assert after.reviews[0].purpose == "outcome"


async def test_a_write_that_was_sent_again_with_its_key_is_one_call_sent_twice() -> None:
    answers = iter([ConnectionError("cut off"), "R-2"])

    @tool(effect="write")
    async def post(order: str, idempotency_key: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    books = Graph("books", state=Desk, tools=[post])

    @books.node
    async def write(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"receipt": await ctx.call(post, order=state.order)}

    books.start(write)
    books.edge(write, END)
    clock = VirtualClock()
    async with open_test_app(graphs=[books], clock=clock) as app:
        run = await app.start("books", {"order": "A-17"}, thread="case")
        await clock.advance(60)
        assert isinstance(await app.wait(run, timeout=10), Finished)
        report = await app.explain("case")
        [call] = report.calls
        sent_again = await app.explain("case", at=call.sent[1])
    assert len(call.sent) == 2
    assert [found.outcome for found in sent_again.unknown_writes] == ["unknown"]
    assert call.outcome == "landed"
    assert [found.outcome for found in call.settled] == ["unknown", "unknown", "landed"]
