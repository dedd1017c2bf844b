"""Tokens and sessions, and what a tenant's handle finds, changes and refuses."""

# ruff: noqa: S106 - these tokens are names
from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from turnout.errors import InputInvalid, StoreUnavailable
from turnout.ports.rows import HeadRow, KeyRow, Lease, ScheduleRow, TokenRow
from turnout.ports.store import Store
from turnout.testing.contract.rows import SECOND, T0, Handles, change, everything, full, review


def token(name: str, *, kind: str = "token", at: int = 0, **more: Any) -> TokenRow:
    """A token, or a session."""
    fields: dict[str, Any] = {
        "token": name, "kind": kind, "digest": name.encode().ljust(32, b"."), "who": "dana", "roles": "viewer,operator",
        "review_roles": "", "tenant": None, "how": f"{kind} {name}", "created_at": T0 + at, **more,
    }  # fmt: skip
    return TokenRow(**fields)


def schedule(name: str, tenant: str, **more: Any) -> ScheduleRow:
    """A schedule of a tenant's."""
    fields: dict[str, Any] = {
        "name": name, "graph": "desk", "input": b"{}", "cron": "@daily", "zone": "UTC", "at": None, "missed": "once",
        "overlap": "skip", "paused": False, "next_at": T0, "created_at": T0, "updated_at": T0, "tenant": tenant, **more,
    }  # fmt: skip
    return ScheduleRow(**fields)


class Access(Handles):
    """Tokens and sessions, and what a tenant's handle finds, changes and refuses."""

    # --- tokens --------------------------------------------------------------------------------------------------

    async def test_tokens_are_kept_as_they_are_and_listed_the_oldest_first(self, store: Store) -> None:
        rows = [
            token("b", at=1, tenant="acme", expires_at=T0 + 9, by="root"), token("a", at=2, tenant=""),
            token("c", kind="session", at=0, parent="b"),
        ]  # fmt: skip
        for row in rows:
            await store.put_token(row)
        assert await store.tokens() == [rows[2], rows[0], rows[1]]
        assert await store.tokens(kind="token") == rows[:2]
        assert await store.tokens(token="c", kind="token") == []
        assert await store.tokens(token="c") == [rows[2]]
        assert await store.tokens(limit=1) == [rows[2]]

    async def test_a_token_is_revoked_once_and_stays(self, store: Store) -> None:
        await store.put_token(token("a"))
        assert await store.revoke_token("a", T0 + 5) is True
        assert await store.revoke_token("a", T0 + 9) is False
        assert await store.revoke_token("none", T0) is False
        assert await store.tokens() == [replace(token("a"), revoked_at=T0 + 5)]

    async def test_sessions_that_are_over_are_forgotten_and_nothing_else(self, store: Store) -> None:
        for row in (
            token("a", expires_at=T0), token("b", kind="session", expires_at=T0 + 1),
            token("c", kind="session", expires_at=T0 + 3),
        ):  # fmt: skip
            await store.put_token(row)
        assert await store.forget_sessions(T0 + 2) == 1
        assert [row.token for row in await store.tokens()] == ["a", "c"]

    # --- lists that pages and watchers need ----------------------------------------------------------------------

    async def test_threads_are_found_by_when_they_have_grown(self, store: Store) -> None:
        for n, name in enumerate("abc"):
            await store.append(change(name, 0, at=T0 + n * SECOND))
        await store.append(change("a", 1, at=T0 + 9 * SECOND))
        assert [t.thread for t in await store.threads(since=T0 + 2 * SECOND)] == ["a", "c"]
        assert [t.thread for t in await store.threads(since=T0 + 2 * SECOND, after="a")] == ["c"]
        assert await store.threads(since=T0 + 99 * SECOND) == []

    async def test_threads_that_are_held_are_told_with_their_workers(self, store: Store) -> None:
        for name in "abc":
            await store.append(change(name, 0, wake=T0))
        await store.claim("w2", T0, T0 + 9, 1)
        await store.claim("w1", T0, T0 + 9, 1)
        assert [(t.owner, t.thread) for t in await store.held()] == [("w1", "b"), ("w2", "a")]
        assert len(await store.held(limit=1)) == 1

    async def test_reviews_come_page_by_page_each_once(self, store: Store) -> None:
        asked = [review(f"r{n}", "a", due=(n % 3 or None), asked=n % 4) for n in range(12)]
        await store.append(change("a", 0, reviews=asked))
        whole = [r.review for r in await store.reviews()]
        pages, after = [], ""
        while page := await store.reviews(after=after, limit=5):
            pages += [r.review for r in page]
            after = page[-1].review
        assert pages == whole
        assert await store.reviews(after="none") == []

    # --- tenants -------------------------------------------------------------------------------------------------

    @staticmethod
    async def _two_tenants(store: Store) -> None:
        """The same of everything for two tenants, and a thread of nobody's."""
        await store.append(replace(full("acme-1", 0, mark="x"), tenant="acme"))
        await store.append(replace(full("bolt-1", 0, mark="y"), tenant="bolt"))
        await store.append(change("nobodys", 0))
        for tenant in ("acme", "bolt"):
            await store.put_schedule(schedule(f"{tenant}-s", tenant))
            await store.put_token(token(f"{tenant}-t", tenant=tenant))
            await store.put_limit("tenant", tenant, 5)
        await store.put_token(token("all"))
        await store.put_limit("graph", "desk", 7)

    async def test_a_tenants_handle_reads_what_is_the_tenants_alone(self, store: Store) -> None:
        await self._two_tenants(store)
        acme = store.within("acme")
        assert [t.thread for t in await acme.threads()] == ["acme-1"]
        assert [t.thread for t in await acme.threads(tenant="bolt")] == []
        assert await acme.thread("acme-1") == await store.thread("acme-1")
        assert await acme.read("acme-1") == await store.read("acme-1")
        assert await acme.snapshot("acme-1") == await store.snapshot("acme-1")
        assert await acme.runs("acme-1") == await store.runs("acme-1")
        assert [r.review for r in await acme.reviews()] == ["rev-x"]
        assert [k.key for k in await acme.keys("acme-1")] == ["key-x"]
        assert [h.thread for h in await acme.heads()] == ["acme-1"]
        assert [s.name for s in await acme.schedules()] == ["acme-s"]
        assert [t.token for t in await acme.tokens()] == ["acme-t"]
        assert [(limit.kind, limit.name) for limit in await acme.limits()] == [
            ("graph", "desk"),
            ("tenant", "acme"),
        ]
        assert await acme.strays() == []
        assert await acme.held() == []
        assert acme.url == store.url

    async def test_what_is_anothers_is_not_there_for_a_tenants_handle(self, store: Store) -> None:
        await self._two_tenants(store)
        await store.claim("w", T0 + 9, T0 + 99, 9)
        acme = store.within("acme")
        for thread in ("bolt-1", "nobodys"):
            assert await acme.thread(thread) is None
            assert await acme.read(thread) == []
            assert await acme.snapshot(thread) is None
            assert await acme.runs(thread) == []
            assert await acme.keys(thread) == []
            assert await acme.heads(thread) == []
            assert await acme.reviews(thread=thread) == []
            assert await acme.strays(thread) == []
        assert await acme.reviews(review="rev-y") == []
        assert await acme.key("key-y") is None
        assert await acme.schedules(name="bolt-s") == []
        assert await acme.tokens(token="bolt-t") == []
        assert await acme.tokens(token="all") == []
        assert {t.thread for t in await acme.held()} == {"acme-1"}

    async def test_a_tenants_handle_changes_nothing_of_anothers(self, store: Store) -> None:
        await self._two_tenants(store)
        acme, before = store.within("acme"), await everything(store)
        with pytest.raises(InputInvalid, match="taken"):
            await acme.append(change("bolt-1", 0, tenant="acme"))
        with pytest.raises(InputInvalid):
            await acme.append(change("bolt-1", 2, tenant="bolt"))
        with pytest.raises(InputInvalid):
            await acme.append(change("new", 0, tenant="bolt"))
        with pytest.raises(InputInvalid):
            await acme.append(change("acme-1", 2, tenant="acme", wakes=["bolt-1"]))
        with pytest.raises(InputInvalid):
            await acme.append(change("fork", 1, tenant="acme", base=("bolt-1", 1)))
        assert await acme.set_aside(["bolt-1", "none"], "mine") == []
        assert await acme.take_back(["bolt-1"], T0) == []
        with pytest.raises(InputInvalid, match="taken"):
            await acme.put_schedule(schedule("bolt-s", "acme"))
        with pytest.raises(InputInvalid):
            await acme.put_schedule(schedule("new", "bolt"))
        [theirs] = await store.schedules(name="bolt-s")
        assert await acme.move_schedule(replace(theirs, tenant="acme"), theirs) is False
        assert await acme.move_schedule(theirs, theirs) is False
        assert await acme.drop_schedule("bolt-s") is False
        assert await acme.revoke_token("bolt-t", T0) is False
        assert await acme.revoke_token("all", T0) is False
        with pytest.raises(StoreUnavailable):
            await acme.put_token(token("new", tenant="bolt"))
        with pytest.raises(StoreUnavailable):
            await acme.put_token(token("new", tenant=None))
        assert await everything(store) == before
        assert await store.schedules(name="bolt-s") == [theirs]
        assert [t.revoked_at for t in await store.tokens()] == [None, None, None]

    async def test_a_schedule_that_another_tenant_made_anew_meanwhile_is_not_dropped(
        self, store: Store
    ) -> None:
        await self._two_tenants(store)
        acme, looked = store.within("acme"), [schedule("bolt-s", "acme")]

        async def a_moment_ago(**asked: Any) -> list[ScheduleRow]:
            return looked

        acme.schedules = a_moment_ago  # type: ignore[method-assign]
        assert await acme.drop_schedule("bolt-s") is False
        [theirs] = await store.schedules(name="bolt-s")
        assert theirs.tenant == "bolt"

    async def test_a_tenants_handle_changes_what_is_its_own(self, store: Store) -> None:
        await self._two_tenants(store)
        acme = store.within("acme")
        await acme.append(change("acme-1", 2, tenant="acme"))
        await acme.append(change("acme-2", 0, tenant="acme", keys=[KeyRow("k2", "acme-2", 1, "d")]))
        await acme.append(
            change(
                "acme-3",
                1,
                tenant="acme",
                base=("acme-1", 1),
                signed=HeadRow("acme-3", 2, b"d" * 32, T0, b"s"),
            )
        )
        assert [t.thread for t in await acme.threads()] == ["acme-1", "acme-2", "acme-3"]
        assert len(await acme.read("acme-3")) == 2
        assert await acme.set_aside(["acme-2"], "look") == ["acme-2"]
        assert await acme.take_back(["acme-2"], T0) == ["acme-2"]
        await acme.put_schedule(schedule("acme-s", "acme", cron="@hourly"))
        await acme.put_schedule(schedule("acme-n", "acme"))
        [was] = await acme.schedules(name="acme-n")
        assert await acme.move_schedule(replace(was, paused=True, updated_at=T0 + 1), was) is True
        assert [(s.cron, s.paused) for s in await acme.schedules()] == [("@daily", True), ("@hourly", False)]
        assert await acme.drop_schedule("acme-n") is True
        await acme.put_token(token("new", at=1, tenant="acme"))
        assert await acme.revoke_token("new", T0) is True

    async def test_what_only_a_worker_does_a_tenants_handle_refuses(self, store: Store) -> None:
        await self._two_tenants(store)
        acme = store.within("acme")
        asked: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: acme.claim("w", T0 + 9, T0 + 99, 9),
            lambda: acme.renew("w", [Lease("acme-1", "w", 1)], T0),
            lambda: acme.release(Lease("acme-1", "w", 1), 2, None),
            lambda: acme.wake(["acme-1"], T0),
            lambda: acme.due(T0 + 9),
            lambda: acme.due_schedules(T0 + 9, ["desk"]),
            lambda: acme.put_limit("tenant", "acme", 99),
            lambda: acme.forget_sessions(T0 + 9),
            lambda: acme.hear("w", [], lambda thread: None, 0.1),
        ]
        for ask in asked:
            with pytest.raises(StoreUnavailable):
                await ask()
        with pytest.raises(StoreUnavailable):
            acme.within("bolt")
        with pytest.raises(StoreUnavailable):
            async with acme.transaction():
                pass
        await acme.close()
        assert await store.thread("acme-1") is not None

    async def test_two_tenants_read_at_once_and_each_gets_its_own(self, store: Store) -> None:
        await self._two_tenants(store)

        async def names(tenant: str) -> set[str]:
            found = [await store.within(tenant).threads() for _ in range(20)]
            return {row.thread for rows in found for row in rows}

        said = await asyncio.gather(*(names(tenant) for tenant in ("acme", "bolt") * 4))
        assert said == [{"acme-1"}, {"bolt-1"}] * 4
