"""What pages show of many threads at once: the latest, counts, who is held, what became of steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from turnout.ports.rows import Append, NodeRow, TallyRow
from turnout.ports.store import Store
from turnout.testing.contract.rows import T0, Handles, change, review, row


def _made(thread: str, at: int, **more: Any) -> Append:
    return replace(change(thread, 0, **more), at=T0 + at)


def _steps(thread: str, *told: tuple[str, str], graph: str = "desk") -> Append:
    made = change(thread, 0, len(told), graph=graph)
    made.rows = [
        row(thread, n, stored=b"{}")._replace(kind=kind, step=step) for n, (kind, step) in enumerate(told, 1)
    ]
    return made


class Overviews(Handles):
    """Lists for people: the latest first."""

    async def test_the_latest_threads_come_first_and_a_page_goes_on_behind_the_last(
        self, store: Store
    ) -> None:
        for name, at in (("b", 5), ("c", 7), ("a", 5), ("d", 1)):
            await store.append(_made(name, at))
        await store.append(change("d", 1, at=T0 + 99))  # what was written last changes nothing
        assert [r.thread for r in await store.latest()] == ["c", "b", "a", "d"]
        first = await store.latest(limit=2)
        assert [r.thread for r in first] == ["c", "b"]
        assert first[1] == await store.thread("b")
        behind = await store.latest(before=(first[1].created_at, "b"))
        assert [r.thread for r in behind] == ["a", "d"]
        assert await store.latest(before=(T0 + 1, "d")) == []

    async def test_the_latest_threads_are_found_as_others_are(self, store: Store) -> None:
        await store.append(_made("pay-1", 1, graph="pay", status="waiting", tenant="acme"))
        await store.append(_made("pay-2", 2, graph="pay", status="failed"))
        await store.append(_made("%", 3, graph="desk", status="waiting"))
        await store.set_aside(["pay-2"], "it kills")
        assert [r.thread for r in await store.latest(graph="pay")] == ["pay-2", "pay-1"]
        assert [r.thread for r in await store.latest(status="waiting")] == ["%", "pay-1"]
        assert [r.thread for r in await store.latest(search="y-")] == ["pay-2", "pay-1"]
        assert [r.thread for r in await store.latest(search="%")] == ["%"]
        assert [r.thread for r in await store.latest(tenant="acme")] == ["pay-1"]
        assert [r.thread for r in await store.latest(aside=True)] == ["pay-2"]

    async def test_threads_are_counted_by_graph_version_and_status(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            await store.append(change(name, 0, status="waiting" if name == "c" else "running"))
        await store.append(change("d", 0, graph="pay", fingerprint="f2"))
        await store.set_aside(["b"], "it kills")
        desk = [
            TallyRow("desk", "f1", "running", False, 1),
            TallyRow("desk", "f1", "running", True, 1),
            TallyRow("desk", "f1", "waiting", False, 1),
        ]
        assert await store.tally() == [*desk, TallyRow("pay", "f2", "running", False, 1)]
        assert await store.tally(graph="desk") == desk
        assert await store.tally(graph="none") == []
        await store.append(_made("pay-1", 1, graph="pay", status="waiting", tenant="acme"))
        [acme] = await store.tally(tenant="acme")
        assert (acme.graph, acme.status, acme.threads) == ("pay", "waiting", 1)
        assert await store.tally(search="y-") == [acme]
        assert await store.tally(search="y-", tenant="other") == await store.tally(search="%") == []

    async def test_steps_are_counted_by_node_each_once(self, store: Store) -> None:
        await store.append(
            _steps(
                "a", ("step.failed", "look.1"), ("step.failed", "look.1"), ("step.finished", "look.1"),
                ("step.finished", "look.2@1.0"), ("review.requested", "ask.1"), ("timer.set", "ask.1"),
                ("decision", "look.2"), ("run.finished", ""),
            )
        )  # fmt: skip
        await store.append(_steps("b", ("step.finished", "look.1"), ("step.cancelled", "ask.1")))
        await store.append(_steps("other", ("step.finished", "look.1"), graph="pay"))
        assert await store.nodes("desk") == [NodeRow("ask", 2, 0, 1), NodeRow("look", 3, 1, 0)]
        assert await store.nodes("none") == []

    async def test_of_many_threads_the_steps_of_those_made_last_are_counted(self, store: Store) -> None:
        for at, name in enumerate(("a", "b", "c")):
            made = _steps(name, ("step.finished", f"{name}.1"))
            await store.append(replace(made, at=T0 + at))
        assert [found.node for found in await store.nodes("desk", 2)] == ["b", "c"]

    async def test_open_reviews_are_counted_up_to_a_bound(self, store: Store) -> None:
        asked = [review(f"r{n}", "a") for n in range(4)]
        await store.append(change("a", 0, reviews=[*asked, review("r9", "a", status="approve")]))
        assert await store.open_reviews() == 4
        assert await store.open_reviews(3) == 3

    async def test_reviews_that_are_closed_are_listed_the_last_first(self, store: Store) -> None:
        closed = [replace(review(f"r{n}", "a", status="approve"), closed_at=T0 + n) for n in (1, 3, 2)]
        await store.append(change("a", 0, reviews=[*closed, review("r9", "a")]))
        assert [r.review for r in await store.closed_reviews()] == ["r3", "r2", "r1"]
        assert [r.review for r in await store.closed_reviews(1)] == ["r3"]
