"""Budgets: what is reserved and spent never goes over a cap, and is booked with the append that says so, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from turnout.core.amounts import NOTHING, Amount
from turnout.core.budgets import Budget, Charge, ChargeRow, Label
from turnout.errors import CapReached, HeadMoved, KeyReused, StaleWriter, StoreUnavailable
from turnout.ports.rows import Append, KeyRow
from turnout.ports.store import Store
from turnout.testing.contract.rows import SECOND, T0, Handles, change

DAILY = Budget(name="daily", per="tenant", day=True, micros=1_000, calls=10)


def label(thread: str, **more: Any) -> Label:
    fields: dict[str, Any] = {
        "run": 1, "step": "ask.1", "node": "ask", "branch": "", "graph": "desk", "tenant": "acme",
        "root": f"{thread}/1", "kind": "model", "name": "main", "model": "m-1", "deployment": "d", "retry": False, "at": T0,
    }  # fmt: skip
    return Label(thread=thread, **{**fields, **more})


def reserve(thread: str, seq: int, micros: int = 0, calls: int = 1, **more: Any) -> Charge:
    return Charge(thread, seq, "reserve", Amount(micros=micros, calls=calls), label(thread, **more))


def settle(thread: str, seq: int, of: int, micros: int = 0, *, assumed: bool = False) -> Charge:
    return Charge(thread, seq, "settle", Amount(micros=micros, calls=1), of=of, assumed=assumed)


def spend(thread: str, seq: int, micros: int, **more: Any) -> Charge:
    return Charge(thread, seq, "spend", Amount(micros=micros, calls=1, tokens=7, ms=9), label(thread, **more))


def charged(thread: str, head: int, *charges: Charge, **more: Any) -> Append:
    return change(thread, head, max(1, len(charges)), charges=list(charges), **more)


async def stands(store: Store, account: str) -> tuple[int, int, int]:
    """Money spent, reserved and topped up."""
    found = {one.account: one for one in await store.accounts()}
    one = found.get(account)
    return (one.spent.micros, one.reserved.micros, one.topped.micros) if one else (0, 0, 0)


TODAY = "daily/2026-01-01/tenant/acme"


class Budgets(Handles):
    """Budgets, their accounts, and the calls that they count."""

    async def test_budgets_are_set_changed_listed_and_dropped(self, store: Store) -> None:
        other = Budget(name="a", per="run", graph="g", tokens=5, ms=0, at_cap="review", roles=("finance",))
        assert await store.budgets() == []
        await store.put_budget(DAILY)
        await store.put_budget(other)
        assert await store.budgets() == [other, DAILY]
        changed = Budget(name="daily", per="all", calls=3)
        await store.put_budget(changed)
        assert await store.budgets() == [other, changed]
        assert (await store.drop_budget("a"), await store.drop_budget("a")) == (True, False)
        assert await store.budgets() == [changed]

    async def test_a_tenants_handle_has_the_ledger_of_its_own_calls_and_no_budgets(
        self, store: Store
    ) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("a", 0, spend("a", 1, 70), tenant="acme"))
        await store.append(charged("b", 0, spend("b", 1, 90, tenant="bolt"), tenant="bolt"))
        await store.append(charged("c", 0, spend("c", 1, 30, tenant="")))
        assert len(await store.accounts()) >= 2
        acme = store.within("acme")
        for by in ("thread", "tenant", "graph", "day"):
            assert [row.spent.micros for row in await acme.costs(by)] == [70], by
        assert await acme.costs("thread", tenant="bolt") == []
        assert await acme.costs("thread", thread="b") == []
        assert await acme.charges("a") == await store.charges("a") != []
        assert [await acme.charges(thread) for thread in ("b", "c")] == [[], []]
        assert (await acme.budgets(), await acme.accounts(), await acme.accounts("daily")) == ([], [], [])
        before = await store.budgets(), await store.accounts(), await store.charges("b")
        for refused in (
            acme.put_budget(DAILY),
            acme.drop_budget("daily"),
            acme.book(await store.charges("b")),
        ):
            with pytest.raises(StoreUnavailable):
                await refused
        assert (await store.budgets(), await store.accounts(), await store.charges("b")) == before

    async def test_what_is_reserved_is_settled_at_what_it_cost(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 300)))
        assert await stands(store, TODAY) == (0, 300, 0)
        await store.append(charged("t", 1, settle("t", 2, 1, 120)))
        assert await stands(store, TODAY) == (120, 0, 0)
        [row] = await store.charges("t")
        assert (row.state, row.reserved.micros, row.spent.micros) == ("settled", 300, 120)
        assert (row.label, row.accounts) == (label("t"), (TODAY,))

    async def test_a_reservation_over_the_cap_is_refused_with_all_of_its_append(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 700)))
        with pytest.raises(CapReached) as refused:
            await store.append(charged("t", 1, reserve("t", 2, 301), status="waiting"))
        found = refused.value
        assert (found.budget, found.account, found.measure, found.seq) == ("daily", TODAY, "micros", 2)
        assert (found.cap, found.spent, found.reserved, found.wanted) == (1_000, 0, 700, 301)
        row = await store.thread("t")
        assert row is not None
        assert (row.head, row.status) == (1, "running")
        assert [x.seq for x in await store.charges("t")] == [1]
        await store.append(charged("t", 1, reserve("t", 2, 300)))
        assert await stands(store, TODAY) == (0, 1_000, 0)

    async def test_two_reservations_of_one_append_must_fit_together(self, store: Store) -> None:
        await store.put_budget(DAILY)
        with pytest.raises(CapReached) as refused:
            await store.append(charged("t", 0, reserve("t", 1, 600), reserve("t", 2, 600)))
        assert refused.value.seq == 2
        assert await store.thread("t") is None
        assert await stands(store, TODAY) == (0, 0, 0)

    async def test_what_is_freed_in_an_append_is_there_for_what_comes_behind_it(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 900)))
        await store.append(charged("t", 1, settle("t", 2, 1, 100), reserve("t", 3, 900)))
        assert await stands(store, TODAY) == (100, 900, 0)

    async def test_an_answer_that_cost_more_than_was_reserved_is_settled_at_its_true_cost(
        self, store: Store
    ) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 900)))
        await store.append(charged("t", 1, settle("t", 2, 1, 1_500)))
        assert await stands(store, TODAY) == (1_500, 0, 0)
        with pytest.raises(CapReached):
            await store.append(charged("t", 2, reserve("t", 3, 1)))

    async def test_a_top_up_raises_the_cap_of_one_account(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 1_000)))
        more = Charge("t", 2, "top_up", Amount(micros=500), account=TODAY, budget="daily")
        await store.append(charged("t", 1, more))
        await store.append(charged("t", 2, reserve("t", 3, 500)))
        assert await stands(store, TODAY) == (0, 1_500, 500)
        with pytest.raises(CapReached):
            await store.append(charged("t", 3, reserve("t", 4, 1)))
        other = charged("o", 0, reserve("o", 1, 1_001, tenant="globex"), tenant="globex")
        with pytest.raises(CapReached):
            await store.append(other)

    async def test_whose_calls_are_counted_together(self, store: Store) -> None:
        for per in ("run", "thread", "graph", "tenant", "all"):
            await store.put_budget(Budget(name=per, per=per, calls=99))
        await store.put_budget(Budget(name="some", per="all", graph="shop", calls=99))
        child: dict[str, Any] = {"root": "a/2", "graph": "shop", "at": T0 + 86_400 * SECOND}
        await store.append(charged("a", 0, reserve("a", 1, root="a/2")))
        await store.append(charged("child", 0, reserve("child", 1, **child)))
        counted = {one.account: one.reserved.calls for one in await store.accounts()}
        assert counted == {
            "run/run/a/2": 2, "thread/thread/a": 2, "graph/graph/desk": 1, "graph/graph/shop": 1, "tenant/tenant/acme": 2,
            "all/all": 2, "some/all": 1,
        }  # fmt: skip

    async def test_each_day_has_an_account_of_its_own_and_a_call_settles_where_it_was_reserved(
        self, store: Store
    ) -> None:
        await store.put_budget(DAILY)
        late = T0 + 86_399 * SECOND
        await store.append(charged("t", 0, reserve("t", 1, 1_000, at=late)))
        await store.append(charged("t", 1, reserve("t", 2, 1_000, at=late + SECOND)))
        await store.append(charged("t", 2, settle("t", 3, 1, 10, assumed=True)))
        assert await stands(store, TODAY) == (10, 0, 0)
        assert await stands(store, "daily/2026-01-02/tenant/acme") == (0, 1_000, 0)
        assert [row.state for row in await store.charges("t")] == ["assumed", "reserved"]

    async def test_what_was_not_reserved_is_counted_and_never_refused(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, spend("t", 1, 5_000)))
        assert await stands(store, TODAY) == (5_000, 0, 0)
        await store.append(charged("u", 0, spend("u", 1, 9, tenant="globex")))
        assert len(await store.charges("u")) == 1

    async def test_without_a_budget_calls_are_kept_all_the_same(self, store: Store) -> None:
        await store.append(charged("t", 0, reserve("t", 1, 10**12)))
        await store.append(charged("t", 1, settle("t", 2, 1, 4)))
        assert await store.accounts() == []
        [row] = await store.charges("t")
        assert (row.state, row.spent.micros, row.accounts) == ("settled", 4, ())

    async def test_an_append_that_is_refused_for_another_reason_books_nothing(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 100), keys=[KeyRow("k", "t", 1, "d")]))
        with pytest.raises(HeadMoved):
            await store.append(charged("t", 0, reserve("t", 1, 100)))
        with pytest.raises(StaleWriter):
            await store.append(charged("t", 1, reserve("t", 2, 100), epoch=7))
        with pytest.raises(KeyReused):
            await store.append(charged("u", 0, reserve("u", 1, 100), keys=[KeyRow("k", "u", 1, "d")]))
        assert await stands(store, TODAY) == (0, 100, 0)

    async def test_a_settlement_that_comes_twice_counts_once(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 100)))
        await store.append(charged("t", 1, settle("t", 2, 1, 60)))
        await store.append(charged("t", 2, settle("t", 3, 1, 60), settle("t", 4, 99, 60)))
        assert await stands(store, TODAY) == (60, 0, 0)

    async def test_many_who_reserve_at_once_never_go_over_a_cap(self, store: Store) -> None:
        await store.put_budget(DAILY)
        results = await self._race([store], 32)
        assert results.count("taken") == 10, "the cap on calls"
        assert set(results) == {"taken", "CapReached"}

    async def test_two_handles_that_reserve_at_once_never_go_over_a_cap(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.put_budget(Budget(name="total", per="all", calls=9))
        async with self.another(store) as second:
            results = await self._race([store, second], 32)
        assert results.count("taken") == 9
        assert set(results) == {"taken", "CapReached"}
        counted = {one.account: one.reserved.calls for one in await store.accounts()}
        assert counted == {TODAY: 9, "total/all": 9}
        rows = [await store.charges(f"t{n}") for n in range(32)]
        assert sum(map(len, rows)) == 9

    @staticmethod
    async def _race(stores: Sequence[Store], many: int) -> list[str]:
        """Reservations of many threads at once, in turn on these handles, beside appends that reserve nothing."""

        async def one(n: int) -> str:
            store = stores[n % len(stores)]
            await store.append(change(f"t{n}", 0))
            try:
                await store.append(charged(f"t{n}", 1, reserve(f"t{n}", 2)))
            except CapReached as refused:
                return type(refused).__name__
            return "taken"

        return await asyncio.gather(*(one(n) for n in range(many)))

    async def test_charges_are_booked_in_a_transaction_with_a_tool_or_not_at_all(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 800)))
        async with store.transaction() as tx:
            with pytest.raises(CapReached):
                await tx.append(charged("t", 1, reserve("t", 2, 300)))
            await tx.append(charged("t", 1, settle("t", 2, 1, 50)))
        assert await stands(store, TODAY) == (50, 0, 0)

        async def undone() -> None:
            async with store.transaction() as tx:
                await tx.append(charged("t", 2, reserve("t", 3, 300)))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await undone()
        assert await stands(store, TODAY) == (50, 0, 0)

    async def test_accounts_are_listed_by_budget_what_changed_last_first(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.put_budget(Budget(name="each", per="thread", calls=5))
        for n in range(4):
            await store.append(charged(f"t{n}", 0, reserve(f"t{n}", 1, at=T0 + n)))
        found = [one.account for one in await store.accounts("each", limit=3)]
        assert found == ["each/thread/t3", "each/thread/t2", "each/thread/t1"]
        assert len(await store.accounts()) == 5
        assert await store.accounts("nothing") == []

    async def test_costs_are_told_by_what_calls_have_in_common(self, store: Store) -> None:
        day = 86_400 * SECOND
        calls = [
            spend("t", 1, 10, model="m-1"), spend("t", 2, 5, model="m-2", retry=True),
            spend("t", 3, 1, node="pay", kind="tool", name="send", model="", at=T0 + day, branch="1.0"),
            reserve("t", 4, 100, model="", name="fast", tenant="", graph="shop"),
        ]  # fmt: skip
        await store.append(charged("t", 0, *calls))

        async def told(by: str, since: int = 0, **only: str) -> dict[str, tuple[int, int, int]]:
            rows = await store.costs(by, since, **only)
            return {row.what: (row.spent.micros, row.spent.calls, row.reserved.micros) for row in rows}

        assert await told("graph") == {"desk": (16, 3, 0), "shop": (0, 0, 100)}
        assert await told("node") == {"desk ask": (15, 2, 0), "desk pay": (1, 1, 0), "shop ask": (0, 0, 100)}
        assert await told("branch") == {
            "desk main": (15, 2, 0), "desk 1.0": (1, 1, 0), "shop main": (0, 0, 100),
        }  # fmt: skip
        assert await told("model") == {
            "m-1": (10, 1, 0), "m-2": (5, 1, 0), "tool send": (1, 1, 0), "fast": (0, 0, 100),
        }  # fmt: skip
        assert await told("tenant") == {"acme": (16, 3, 0), "": (0, 0, 100)}
        assert await told("retry") == {"first attempts": (11, 2, 100), "retries": (5, 1, 0)}
        assert await told("day") == {"2026-01-01": (15, 2, 100), "2026-01-02": (1, 1, 0)}
        assert await told("thread", since=T0 + 1) == {"t": (1, 1, 0)}
        assert await told("thread", thread="u") == {}
        assert await told("model", graph="desk", tenant="acme") == await told("model", tenant="acme")
        await store.append(charged("t", 4, settle("t", 5, 4, 60, assumed=True)))
        [row] = await store.costs("graph", graph="shop")
        assert (row.assumed.micros, row.spent.micros, row.reserved) == (60, 60, NOTHING)

    async def test_calls_from_elsewhere_are_booked_once_and_no_cap_refuses_them(self, store: Store) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 700)))
        [there] = await store.charges("t")
        again = replace(there, state="settled", spent=Amount(micros=3))  # it came back with how it had ended
        rows = [
            again, ChargeRow("u", 4, label("u"), "settled", Amount(micros=900), Amount(micros=800), ()),
            ChargeRow("u", 6, label("u"), "reserved", Amount(micros=50), NOTHING, ("gone/all",)),
        ]  # fmt: skip
        for _ in range(2):
            await store.book(rows)
            assert await stands(store, TODAY) == (803, 50, 0)
        assert await store.charges("t") == [again]
        assert await store.charges("u") == [replace(row, accounts=(TODAY,)) for row in rows[1:]]
        await store.append(change("u", 0, 6))
        await store.append(charged("u", 6, settle("u", 7, 6, 40)))
        assert await stands(store, TODAY) == (843, 0, 0)

    async def test_calls_from_before_a_budget_was_set_are_not_counted_in_it(self, store: Store) -> None:
        first, second = Budget(name="a", per="all", calls=9), Budget(name="b", per="all", calls=9)
        await store.put_budget(first, T0)
        await store.put_budget(second, T0 + 50)
        rows = [
            ChargeRow("t", n, label("t", at=at), state, Amount(calls=1), NOTHING, ())
            for n, (at, state) in enumerate(
                ((T0 - 1, "reserved"), (T0, "reserved"), (T0 + 50, "reserved")), 1
            )
        ]
        await store.book(rows)
        assert [row.accounts for row in await store.charges("t")] == [(), ("a/all",), ("a/all", "b/all")]
        await store.append(change("t", 0, 3))
        await store.append(charged("t", 3, settle("t", 4, 1), settle("t", 5, 2), settle("t", 6, 3)))
        await store.put_budget(
            Budget(name="a", per="all", calls=3), T0 + 90
        )  # the same budget, with another cap
        await store.put_budget(Budget(name="b", per="all", graph="desk", calls=9), T0 + 90)
        await store.book([replace(row, thread="u", state="settled", spent=row.reserved) for row in rows])
        counted = {one.account: one.spent.calls for one in await store.accounts()}
        assert counted == {"a/all": 4, "b/all": 1}

    async def test_what_moves_away_holds_nothing_and_is_reserved_again_or_settled_when_it_is_back(
        self, store: Store
    ) -> None:
        await store.put_budget(DAILY)
        await store.append(charged("t", 0, reserve("t", 1, 300), reserve("t", 2, 200), reserve("t", 3, 50)))
        rows = await store.charges("t")
        for _ in range(2):
            await store.book([replace(row, state="moved") for row in rows])
            assert await stands(store, TODAY) == (0, 0, 0)
        assert [row.state for row in await store.charges("t")] == ["moved"] * 3
        assert (await store.costs("thread"))[0].reserved == NOTHING
        await store.drop_budget("daily")  # it is freed, and comes back, where it was counted
        await store.book([rows[0], replace(rows[1], state="settled", spent=Amount(micros=20))])
        assert await stands(store, TODAY) == (20, 300, 0)
        await store.append(charged("t", 3, settle("t", 4, 3, 5)))
        assert await stands(store, TODAY) == (25, 300, 0)
        assert [row.accounts for row in await store.charges("t")] == [(TODAY,)] * 3
        for state in ("reserved", "moved", "assumed"):
            await store.book([replace(row, state=state, spent=NOTHING) for row in rows[1:]])
        assert await stands(store, TODAY) == (25, 300, 0)
