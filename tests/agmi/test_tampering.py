"""Promise 12: what somebody who can write the file may do to it, and what `verify` says."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

agmi_check = pytest.importorskip("agmi.check")

from agmi.adapters.base import MemoryAdapter, Record  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from tests.agmi.adapter import (  # noqa: E402
    CONTENT,
    THREAD,
    AnchoredTurnout,
    RechainedTurnout,
    Turnout,
    altered,
)

from turnout import END, Context, Finished, Graph, approve, field, open_app, rule  # noqa: E402
from turnout.service.app import App  # noqa: E402

pytestmark = pytest.mark.agmi


def verdicts(adapter: MemoryAdapter) -> dict[str, str]:
    """agmi's word for each edit; what it had to say is printed, for when a test fails."""
    rows = agmi_check.run(adapter)
    for row in rows:
        print(row["edit"], row["verdict"], row["detail"])
    return {row["edit"][:2]: row["verdict"] for row in rows}


ALL_NINE = dict.fromkeys([f"T{n}" for n in range(1, 10)], "REPORTED")


def test_the_package_is_the_one_that_the_docs_quote() -> None:
    assert version("agent-memory-integrity") == "0.6.3"


def test_none_of_the_nine_edits_is_accepted_against_an_exported_head() -> None:
    assert verdicts(AnchoredTurnout()) == ALL_NINE


def test_without_an_exported_head_only_a_whole_store_rolled_back_is_accepted() -> None:
    """Nothing that lies in the store can know that the store is old: that is what the exported head is for."""
    assert verdicts(Turnout()) == ALL_NINE | {"T9": "ACCEPTED"}


def test_rebuilding_the_chain_does_not_hide_an_edit_of_what_the_head_covers() -> None:
    """And what is put in behind the head is the limit that docs/tampering.md names."""
    assert verdicts(RechainedTurnout()) == ALL_NINE | {"T5": "ACCEPTED"}


class StaleHead(AnchoredTurnout):
    """The operator exported a head once, and not again after the last write."""

    def _export(self) -> None:
        if self._head is None:
            super()._export()


def test_a_rollback_to_an_exported_head_that_is_not_the_newest_is_accepted() -> None:
    """So a head is worth what it is young: docs/tampering.md says it."""
    assert verdicts(StaleHead())["T9"] == "ACCEPTED"


# --- every entry, not just the one in the middle -----------------------------------------------------------------


@pytest.fixture
def seeded() -> Any:
    adapter = AnchoredTurnout()
    adapter.setup()
    adapter.seed(3)
    assert adapter.verify()
    yield adapter
    adapter.teardown()


def each(seeded: AnchoredTurnout) -> list[Record]:
    records = seeded.read_all_raw()
    assert len(records) > 15
    return records


def accepted(seeded: AnchoredTurnout, edits: dict[str, Any]) -> list[str]:
    """The names of the edits that verify does not report; each is made on a fresh copy of the store."""
    clean, missed = seeded.snapshot_store(), []
    for name, edit in edits.items():
        edit()
        if seeded.verify():
            missed.append(name)
        seeded.restore_store(clean)
    assert seeded.verify()
    return missed


def test_altering_any_entry_in_any_field_is_found(seeded: AnchoredTurnout) -> None:
    def alter(record: Record, field: str) -> None:
        old = record.fields[field]
        if isinstance(old, int):
            new: Any = old + 1
        elif isinstance(old, str):
            new = old + "x"
        else:
            new = altered(old) if field == "body" else bytes(32)
        seeded.write_raw(Record(record.seq, {**record.fields, field: new}))

    edits = {
        f"{field} of entry {record.seq + 1}": lambda record=record, field=field: alter(record, field)
        for record in each(seeded)
        for field in CONTENT
    }
    assert accepted(seeded, edits) == []


def test_deleting_any_entry_is_found(seeded: AnchoredTurnout) -> None:
    edits = {str(r.seq + 1): lambda r=r: seeded.delete_raw(r.seq) for r in each(seeded)}
    assert accepted(seeded, edits) == []


def test_swapping_any_two_neighbours_is_found(seeded: AnchoredTurnout) -> None:
    def swap(a: Record, b: Record) -> None:
        seeded.write_raw(Record(a.seq, b.fields))
        seeded.write_raw(Record(b.seq, a.fields))

    records = each(seeded)
    edits = {str(a.seq + 1): lambda a=a, b=b: swap(a, b) for a, b in itertools.pairwise(records)}
    assert accepted(seeded, edits) == []


def test_cutting_the_tail_anywhere_is_found_even_when_the_threads_row_is_put_right(
    seeded: AnchoredTurnout,
) -> None:
    def cut(last: Record) -> None:
        for record in reversed(each(seeded)[last.seq + 1 :]):
            seeded.delete_raw(record.seq)
        seeded._sql(
            "UPDATE threads SET head = ?, digest = ? WHERE thread = ?",
            (last.fields["seq"], last.fields["digest"], THREAD),
        )

    edits = {str(r.seq + 1): lambda r=r: cut(r) for r in each(seeded)[:-1]}
    assert accepted(seeded, edits) == []


def test_a_thread_that_is_gone_is_found(seeded: AnchoredTurnout) -> None:
    def forget(tables: list[tuple[str, str]]) -> None:
        number = seeded._number()
        for table, key in tables:
            seeded._sql(f"DELETE FROM {table} WHERE {key} = ?", (number if key == "number" else THREAD,))

    rows = [("heads", "thread"), ("runs", "thread")]
    edits = {
        "with its entries": lambda: forget([("entries", "number"), ("threads", "number"), *rows]),
        "its row alone": lambda: forget([("threads", "number")]),
    }
    assert accepted(seeded, edits) == []


def test_entries_without_a_thread_are_found_without_a_head_too() -> None:
    adapter = Turnout()
    adapter.setup()
    try:
        adapter.seed(1)
        adapter._sql("DELETE FROM threads")
        assert not adapter.verify()
        assert adapter.verify_detail is not None
        assert "belongs to no thread" in adapter.verify_detail
    finally:
        adapter.teardown()


# --- what is made from the journal, and what lies beside it ------------------------------------------------------


class Draft(BaseModel):
    text: str = "short"
    long: str = "y" * 4_000
    sent: bool = False


drafts = Graph("drafts", state=Draft)


@drafts.node
async def ask(state: Draft, ctx: Context) -> dict[str, Any]:
    first = await ctx.review("Send this?", payload={"text": state.text})
    second = await ctx.review("Really?", payload={"text": state.text, "again": True})
    return {"sent": first.approved and second.approved}


drafts.start(ask)
drafts.edge(ask, END)


class Ticks(BaseModel):
    n: int = 0


ticks = Graph("ticks", state=Ticks, step_limit=10_000)


@ticks.node
async def tick(state: Ticks, ctx: Context) -> dict[str, Any]:
    return {"n": state.n + 1}


ticks.start(tick)
ticks.route(tick, [rule("more", field("n") < 400, to=tick)], default=END)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[tuple[App, Path]]:
    """A store with a closed review, an open one, stored values, a signed head and a snapshot."""
    file = tmp_path / "turnout.db"
    async with open_app(f"sqlite:///{file}", graphs=[drafts, ticks]) as app:
        run = await app.start(drafts, {"text": "Hello"}, thread="draft-1")
        await app.wait(run, timeout=10)
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana"))
        await app.wait(run, timeout=10)
        done = await app.start(drafts, {"text": "z" * 20_000}, thread="draft-2")
        await app.wait(done, timeout=10)
        for _ in range(80):
            await app.signal("draft-2", "note", "z" * 900)
        await app.cancel("draft-2", by="dana", reason="not now")
        await app.wait(done, timeout=10)
        yield app, file


EDITS = {
    "stored value": "UPDATE stored_values SET body = CAST(replace(CAST(body AS TEXT), 'zzzz', 'zzzx') AS BLOB)",
    "missing value": "DELETE FROM stored_values",
    "snapshot": "UPDATE snapshots SET body = CAST(replace(CAST(body AS TEXT), 'zzzz', 'zzzx') AS BLOB)",
    "a run's status": "UPDATE runs SET status = 'finished'",
    "a run's error": "UPDATE runs SET error = 'made up'",
    "a run's times": "UPDATE runs SET started_at = started_at - 1",
    "a run's graph": "UPDATE runs SET graph = 'other'",
    "an invented run": "INSERT INTO runs VALUES ('draft-1', 9, 'drafts', 'finished', 1, 2, 3, '')",
    "a thread's status": "UPDATE threads SET status = 'idle'",
    "a thread's graph": "UPDATE threads SET graph = 'other'",
    "an open review closed": "UPDATE reviews SET status = 'approve' WHERE status = 'open'",
    "what an open review shows": "UPDATE reviews SET about = CAST(replace(CAST(about AS TEXT), 'Hello', 'Hullo') AS BLOB) "
    "WHERE status = 'open'",
    "who may decide a review": "UPDATE reviews SET roles = 'anybody' WHERE status = 'open'",
    "when a review is due": "UPDATE reviews SET due_at = 1 WHERE status = 'open'",
    "who decided a review": "UPDATE reviews SET about = CAST(replace(CAST(about AS TEXT), 'dana', 'dave') AS BLOB) "
    "WHERE status <> 'open'",
    "a missing closed review": "DELETE FROM reviews WHERE status <> 'open'",
    "a signed head's digest": "UPDATE heads SET digest = zeroblob(32)",
    "a signed head's signature": "UPDATE heads SET signature = zeroblob(64)",
}


@pytest.mark.parametrize("what", EDITS)
async def test_an_edit_beside_the_journal_is_found(desk: tuple[App, Path], what: str) -> None:
    app, file = desk
    assert (await app.verify()).problems == []
    db = sqlite3.connect(file)
    with db:
        touched = db.execute(EDITS[what]).rowcount
    db.close()
    assert touched > 0, "the edit must land"
    assert (await app.verify()).problems != []


async def test_a_fork_from_any_entry_verifies(desk: tuple[App, Path]) -> None:
    """The other half: what nobody touched is not complained of."""
    app, _ = desk
    entries = await app.entries("draft-1")
    for entry in entries:
        fork = await app.fork("draft-1", at=entry.seq, name=f"fork-{entry.seq}")
        if (await app.view(fork.thread)).run is not None:
            await app.wait(fork, timeout=10)
    assert (await app.verify()).problems == []


async def test_verify_of_a_store_that_is_written_meanwhile_raises_no_false_alarm(
    desk: tuple[App, Path],
) -> None:
    app, _ = desk
    run = await app.start(ticks, {}, thread="ticks")
    while (await app.store.runs("ticks"))[0].status != "finished":
        assert (await app.verify()).problems == []
    assert isinstance(await app.wait(run, timeout=10), Finished)


async def test_verify_says_how_much_is_newer_than_the_head(desk: tuple[App, Path]) -> None:
    app, _ = desk
    head = await app.head()
    assert (await app.verify(against=head)).newer == 0
    await app.signal("draft-1", "later")
    found = await app.verify(against=head)
    assert (found.ok, found.newer) == (True, 1)


async def test_a_head_that_was_altered_is_not_believed(desk: tuple[App, Path]) -> None:
    app, _ = desk
    head = await app.head()
    for change in (
        {"threads": {**head["threads"], "draft-1": [1, "00" * 32]}},
        {"at": head["at"] + 1},
        {"public_key": "00" * 32},
    ):
        assert not (await app.verify(against={**head, **change})).ok, change
