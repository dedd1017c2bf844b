"""The store contract: the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from turnout.core.notices import REMINDER, Notice, Rules, Terms
from turnout.errors import HeadMoved, StoreUnavailable
from turnout.ports.rows import Append, OutboxRow
from turnout.ports.store import Store
from turnout.testing.contract.rows import T0, Handles, change


def notice(
    name: str, thread: str = "a", *, due: int = 0, channel: str = "hook", event: str = "run.failed",
    review: str = "", tenant: str = "", created: int = 0,
) -> Notice:  # fmt: skip
    facts = b'{"event":"x"}'
    return Notice(name, channel, event, thread, 1, review, tenant, facts, T0 + due, T0 + created)


class Outbox(Handles):
    """Notices are there if and only if their entry is, and each attempt is one process's."""

    async def _put(self, store: Store, *notices: Notice) -> None:
        found = await store.thread("a")
        head = found.head if found is not None else 0
        await store.append(change("a", head, outbox=list(notices)))

    async def test_notices_are_read_back_as_they_were_written_the_newest_first(self, store: Store) -> None:
        plain = notice("n-1", created=1)
        rich = Notice("n-2", "chännel", REMINDER, "a", 7, "rev-é", "ačme", bytes(range(256)), T0 + 9, T0 + 2)
        await self._put(store, plain, rich)
        assert await store.outbox() == [OutboxRow(rich, T0 + 9), OutboxRow(plain, T0)]
        assert await store.outbox(notice="n-2") == [OutboxRow(rich, T0 + 9)]
        assert await store.outbox(tenant="ačme", status="waiting") == [OutboxRow(rich, T0 + 9)]
        assert await store.outbox(status="dead") == []
        assert len(await store.outbox(limit=1)) == 1
        assert await store.count_outbox() == {"waiting": 2}

    async def test_notices_come_in_pages_that_leave_none_out_and_go_on_behind_one_that_is_gone(
        self, store: Store
    ) -> None:
        await self._put(store, *(notice(f"n-{n}", created=n // 2) for n in range(7)))
        every = [row.notice.id for row in await store.outbox()]
        assert every == ["n-6", "n-4", "n-5", "n-2", "n-3", "n-0", "n-1"]
        found: list[str] = []
        last = None
        while rows := await store.outbox(after=last, limit=2):
            found += [row.notice.id for row in rows]
            last = rows[-1].notice.created_at, rows[-1].notice.id
        assert found == every
        assert [row.notice.id for row in await store.outbox(after=(T0 + 1, "n-2a"))] == ["n-3", "n-0", "n-1"]

    async def test_an_append_that_is_refused_leaves_no_notice(self, store: Store) -> None:
        await store.append(change("a", 0))
        with pytest.raises(HeadMoved):
            await store.append(change("a", 0, outbox=[notice("n-1")]))
        with pytest.raises(HeadMoved):
            await store.append(change("a", 7, outbox=[notice("n-2")], same=True))
        assert await store.outbox() == []

    async def test_the_notice_of_a_usual_step_and_of_a_transaction_are_written(self, store: Store) -> None:
        await store.append(change("a", 0))
        await store.append(change("a", 1, same=True, outbox=[notice("n-1")]))
        async with store.transaction() as tx:
            await tx.append(change("a", 2, outbox=[notice("n-2")]))
        with pytest.raises(ZeroDivisionError):
            await self._undone(store, change("a", 3, outbox=[notice("n-3")]))
        assert sorted(row.notice.id for row in await store.outbox()) == ["n-1", "n-2"]

    async def _undone(self, store: Store, made: Append) -> None:
        async with store.transaction() as tx:
            await tx.append(made)
            raise ZeroDivisionError

    async def test_a_claim_takes_what_is_due_to_its_channel_the_longest_due_first(self, store: Store) -> None:
        await self._put(
            store, notice("n-1", due=30), notice("n-2", due=10), notice("n-3", due=99),
            notice("n-4", due=1, channel="mail"),
        )  # fmt: skip
        assert await store.claim_outbox("w", "hook", T0 + 9, T0 + 99, 9) == []
        taken = await store.claim_outbox("w", "hook", T0 + 50, T0 + 60, 9)
        assert [(row.notice.id, row.attempts, row.owner, row.held_until) for row in taken] == [
            ("n-2", 1, "w", T0 + 60),
            ("n-1", 1, "w", T0 + 60),
        ]
        assert await store.claim_outbox("other", "hook", T0 + 60, T0 + 90, 9) == []
        again = await store.claim_outbox("other", "hook", T0 + 61, T0 + 90, 1)
        assert [(row.notice.id, row.attempts, row.owner) for row in again] == [("n-2", 2, "other")]

    async def test_many_who_claim_at_once_never_share_a_notice(self, store: Store) -> None:
        await self._put(store, *(notice(f"n-{n:02}") for n in range(20)))
        taken = await asyncio.gather(*(store.claim_outbox(f"w{n}", "hook", T0, T0 + 99, 3) for n in range(9)))
        ids = [row.notice.id for rows in taken for row in rows]
        assert len(ids) == len(set(ids))
        rest = await store.claim_outbox("last", "hook", T0, T0 + 99, 99)
        assert len(ids) + len(rest) == 20

    async def test_two_handles_that_claim_at_once_never_share_a_notice(self, store: Store) -> None:
        await self._put(store, *(notice(f"n-{n:02}") for n in range(20)))
        async with self.another(store) as second:
            taken = await asyncio.gather(
                *(s.claim_outbox("w", "hook", T0, T0 + 99, 4) for s in [store, second] * 3)
            )
        ids = [row.notice.id for rows in taken for row in rows]
        assert len(ids) == len(set(ids)) >= 4

    async def test_what_became_of_an_attempt_is_written_by_who_holds_it(self, store: Store) -> None:
        await self._put(store, notice("n-1"))
        [row] = await store.claim_outbox("w", "hook", T0, T0 + 10, 1)
        sent = replace(row, status="sent", settled_at=T0 + 1)
        assert not await store.settle_outbox(sent, "other")
        [late] = await store.claim_outbox("w", "hook", T0 + 11, T0 + 20, 1)
        assert not await store.settle_outbox(sent, "w"), "that attempt's time was over"
        assert await store.settle_outbox(replace(late, status="sent", settled_at=T0 + 12), "w")
        assert not await store.settle_outbox(replace(late, status="dead"), "w")
        [found] = await store.outbox()
        assert (found.status, found.attempts, found.owner, found.settled_at) == ("sent", 2, "", T0 + 12)
        assert await store.claim_outbox("w", "hook", T0 + 99, T0 + 200, 1) == []

    async def test_an_attempt_that_failed_is_due_again_later(self, store: Store) -> None:
        await self._put(store, notice("n-1"))
        [row] = await store.claim_outbox("w", "hook", T0, T0 + 10, 1)
        assert await store.settle_outbox(replace(row, due_at=T0 + 30, error="503"), "w")
        assert await store.claim_outbox("w", "hook", T0 + 29, T0 + 99, 1) == []
        [again] = await store.claim_outbox("w", "hook", T0 + 30, T0 + 99, 1)
        assert (again.attempts, again.error, again.notice) == (2, "503", row.notice)

    async def test_reminders_of_a_review_are_withdrawn_with_what_closes_it(self, store: Store) -> None:
        await self._put(
            store, notice("n-1", due=9, event=REMINDER, review="r-1"), notice("n-2", due=9, event=REMINDER, review="r-2"),
            notice("n-3", event="review.requested", review="r-1"),
        )  # fmt: skip
        with pytest.raises(HeadMoved):
            await store.append(change("a", 0, withdrawn=["r-1"]))
        assert await store.count_outbox() == {"waiting": 3}
        await store.append(change("a", 1, withdrawn=["r-1"], outbox=[notice("n-4", created=5)]))
        status = {row.notice.id: row.status for row in await store.outbox()}
        assert status == {"n-1": "withdrawn", "n-2": "waiting", "n-3": "waiting", "n-4": "waiting"}

    async def test_a_reminder_that_is_withdrawn_while_it_is_sent_stays_withdrawn(self, store: Store) -> None:
        await self._put(store, notice("n-1", event=REMINDER, review="r-1"))
        [row] = await store.claim_outbox("w", "hook", T0, T0 + 10, 1)
        await store.append(change("a", 1, withdrawn=["r-1"]))
        assert not await store.settle_outbox(replace(row, due_at=T0 + 1, error="503"), "w")
        assert [found.status for found in await store.outbox()] == ["withdrawn"]

    async def test_dead_notices_are_sent_again_when_somebody_says_so(self, store: Store) -> None:
        await self._put(store, *(notice(f"n-{n}", tenant="acme" if n == 3 else "") for n in range(1, 5)))
        for row in await store.claim_outbox("w", "hook", T0, T0 + 10, 9):
            status = "sent" if row.notice.id == "n-4" else "dead"
            await store.settle_outbox(replace(row, status=status, settled_at=T0, error="no"), "w")
        assert await store.count_outbox() == {"dead": 3, "sent": 1}
        assert await store.resend_outbox(T0 + 5, tenant="acme") == ["n-3"]
        assert await store.resend_outbox(T0 + 5, ["n-2", "nothing"]) == ["n-2"]
        assert await store.resend_outbox(T0 + 5, ["n-1"], tenant="acme") == []
        assert await store.resend_outbox(T0 + 6) == ["n-1"]
        assert await store.resend_outbox(T0 + 6, ["n-4"]) == ["n-4"], "it may have been lost at its receiver"
        [row] = await store.outbox(notice="n-2")
        assert row == OutboxRow(notice("n-2"), T0 + 5)

    async def test_a_notice_that_is_being_sent_is_not_sent_once_more(self, store: Store) -> None:
        await self._put(store, notice("n-1"))
        await store.claim_outbox("w", "hook", T0, T0 + 10, 1)
        assert await store.resend_outbox(T0 + 5, ["n-1"]) == []
        assert await store.resend_outbox(T0 + 11, ["n-1"]) == ["n-1"]

    async def test_what_was_sent_or_withdrawn_is_forgotten_after_a_while(self, store: Store) -> None:
        await self._put(store, *(notice(f"n-{n}") for n in range(1, 5)))
        for row in await store.claim_outbox("w", "hook", T0, T0 + 10, 3):
            status = {"n-1": "sent", "n-2": "withdrawn", "n-3": "dead"}[row.notice.id]
            await store.settle_outbox(replace(row, status=status, settled_at=T0 + 5), "w")
        assert await store.forget_outbox(T0 + 5) == 0
        assert await store.forget_outbox(T0 + 6) == 2
        assert sorted(row.notice.id for row in await store.outbox()) == ["n-3", "n-4"]

    async def test_a_notice_that_is_there_already_stays_as_it_is(self, store: Store) -> None:
        await self._put(store, notice("n-1"))
        [row] = await store.claim_outbox("w", "hook", T0, T0 + 10, 1)
        await store.settle_outbox(replace(row, status="sent", settled_at=T0), "w")
        await self._put(store, notice("n-1"))
        assert [found.status for found in await store.outbox()] == ["sent"]

    async def test_setting_a_thread_aside_tells_of_it_in_the_same_transaction(self, store: Store) -> None:
        for name in ("a", "b"):
            await store.append(change(name, 0))
        await store.set_aside(["b"], "before")
        told = [notice("n-a", "a"), notice("n-b", "b"), notice("n-c", "nobody")]
        assert await store.set_aside(["a", "b", "nobody"], "it rings", told) == ["a"]
        assert [row.notice.id for row in await store.outbox()] == ["n-a"]

    async def test_a_claim_that_gives_a_thread_up_tells_of_it(self, store: Store) -> None:
        store.notices = lambda: Rules((Terms("hook"), Terms("other", tenants=frozenset(["acme"]))))
        await store.append(change("a", 0, wake=T0))
        for n in (1, 2):
            assert await store.claim("w", T0 + 10 * n, T0 + 10 * n + 5, 1, tries=2)
        assert await store.claim("w", T0 + 30, T0 + 40, 1, tries=2) == []
        [row] = await store.outbox()
        found = row.notice
        assert (found.channel, found.event, found.thread, found.due_at) == (
            "hook", "thread.set_aside", "a", T0 + 30,
        )  # fmt: skip
        assert b"its worker stopped 2 times" in found.facts

    async def test_a_closed_store_says_so_of_the_outbox(self, store: Store) -> None:
        await store.append(change("a", 0))
        await store.close()
        row = OutboxRow(notice("n-1"), T0)
        asked: Iterable[Callable[[], Awaitable[Any]]] = (
            store.outbox,
            store.count_outbox,
            lambda: store.claim_outbox("w", "hook", T0, T0, 1),
            lambda: store.settle_outbox(row, "w"),
            lambda: store.resend_outbox(T0),
            lambda: store.forget_outbox(T0),
        )
        for ask in asked:
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(ask(), timeout=5)
