"""Guardrails and writes: what has landed stays landed, and is sent again as it is on record."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.guarded import CARD, KEY, calling, stored
from tests.unit.runs import Work, chain, proven

from turnout import CANNOT_TELL, Cancelled, Context, Finished, Landed, Paused, approve, guard, tool
from turnout.core import entries as e
from turnout.errors import GuardBlocked
from turnout.testing import open_test_app


async def test_a_write_that_has_landed_stays_landed_when_its_answer_is_blocked():
    sent: list[str] = []

    @tool(effect="write")
    async def pay(amount: int) -> str:
        sent.append(str(amount))
        return f"paid with {CARD}"

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        with pytest.raises(GuardBlocked):
            await ctx.call(pay, amount=5)
        return {"n": 1}

    async with open_test_app(
        graphs=[chain(step, tools=[pay])], guards=[guard("pd", "personal", on="output")]
    ) as app:
        await app.run("g", {}, thread="t")
        assert sent == ["5"]
        [call] = (await app.explain("t")).calls
        assert call.outcome == "landed"
        await proven(app)


async def test_what_reconcile_says_is_looked_at_by_functions_too(tmp_path: Path):
    async def find_out(text: str) -> Any:
        raise RuntimeError(f"no {KEY}")

    @tool(effect="write", reconcile=find_out)
    async def send(text: str) -> str:
        raise RuntimeError(f"no {KEY}")

    guards = [guard("k", lambda text: KEY in text, action="redact")]
    async with open_test_app(f"sqlite:///{tmp_path}/t.db", graphs=[calling(send)], guards=guards) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        assert paused.reviews[0].payload["reconcile"] == "[redacted:k]"
        assert KEY.encode() not in stored(tmp_path)


async def test_a_write_that_is_cancelled_while_its_error_is_looked_at_is_settled():
    looking = asyncio.Event()

    @tool(effect="write", did_not_happen=(RuntimeError,))
    async def send(text: str) -> str:
        raise RuntimeError("no")

    async def slowly(text: str) -> bool:
        if text == "no":
            looking.set()
            await asyncio.sleep(60)
        return False

    guards = [guard("slow", slowly, action="block", time_limit=100)]
    async with open_test_app(graphs=[calling(send)], guards=guards) as app:
        await app.start("g", {}, thread="t")
        await asyncio.wait_for(looking.wait(), 10)
        await app.cancel("t")
        outcome = await app.wait("t/1")
        assert isinstance(outcome, Cancelled)
        [settled] = [x.body for x in await app.entries("t") if isinstance(x.body, e.EffectSettled)]
        assert (settled.outcome, settled.error.message) == (
            "did_not_happen", "cut off while its text was looked at",
        )  # fmt: skip


async def test_a_write_that_is_sent_again_is_sent_as_it_is_on_record(tmp_path: Path):
    sent: list[str] = []

    @tool(effect="write")
    async def send(text: str, idempotency_key: str) -> str:
        sent.append(text)
        if len(sent) == 1:
            raise ConnectionError(f"lost while sending {KEY}")
        return "ok"

    store = f"sqlite:///{tmp_path}/t.db"
    async with open_test_app(
        store, graphs=[calling(send, f"use {KEY}")], guards=[guard("k", "secrets", action="redact")]
    ) as app:
        outcome = await app.wait(await app.start("g", {}, thread="t"), timeout=20)
        assert isinstance(outcome, Finished)
        assert sent == ["use [redacted:aws-key]"] * 2
        await proven(app)
        assert KEY.encode() not in stored(tmp_path)


async def test_what_reconcile_finds_is_looked_at_too(tmp_path: Path):
    said: list[Any] = [Landed(f"R-1 by card {CARD}")]

    async def find_out(text: str) -> Any:
        return said.pop(0) if said else CANNOT_TELL

    @tool(effect="write", reconcile=find_out)
    async def send(text: str) -> str:
        raise ConnectionError("lost")

    async with open_test_app(
        f"sqlite:///{tmp_path}/t.db",
        graphs=[calling(send)],
        guards=[guard("pd", "personal", action="redact")],
    ) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished)
        assert outcome.state.data == "R-1 by card [redacted:card]"
        assert CARD.encode() not in stored(tmp_path)


@pytest.mark.parametrize("action", ["redact", "block", "review"])
async def test_transactional_writes_are_looked_at_in_their_transaction(tmp_path: Path, action: Any):
    @tool(effect="write", transactional=True)
    def book(text: str, transaction: Any) -> str:
        transaction.execute("CREATE TABLE IF NOT EXISTS booked (text)")
        transaction.execute("INSERT INTO booked VALUES (?)", [text])
        return f"booked with {CARD}"

    async with open_test_app(
        f"sqlite:///{tmp_path}/t.db",
        graphs=[calling(book)],
        guards=[guard("pd", "personal", on="output", action=action)],
    ) as app:
        outcome = await app.run("g", {}, thread="t")
        if action == "review":
            assert isinstance(outcome, Paused)
            await app.resolve(outcome.reviews[0], approve(by="dana"))
            outcome = await app.wait("t/1")
        assert isinstance(outcome, Finished)
        [call] = (await app.explain("t")).calls
        if action == "block":  # it was undone
            assert call.outcome == "did_not_happen"
            assert outcome.state.data.startswith("GuardBlocked")
        else:
            assert call.outcome == "landed"
            assert outcome.state.data == "booked with [redacted:card]"
        await proven(app)
        assert CARD.encode() not in stored(tmp_path)
