"""Promise 12: tamper-evident, up to an anchor."""

import json
import shutil
import sqlite3

import pytest
from tests.promises.bench import app_on, finish, load, sql

from turnout import approve
from turnout.core.entries import GENESIS, chain
from turnout.errors import InputInvalid
from turnout.service.signing import Signer

DESK = """
class S(BaseModel):
    order: str = "A"
    amount: int = 0
    notes: Annotated[list[str], append] = []

@tool(effect="read")
async def price(order: str) -> str:
    return "price " + "p" * 2000

desk = Graph("desk", state=S, tools=[price])

@desk.node
async def work(state, ctx):
    await ctx.call(price, order=state.order)
    answer = await ctx.review("pay?", payload={"amount": 70})
    return {"amount": 70, "notes": [answer.summary, "n" * 9000]}

desk.start(work)
desk.edge(work, END)
"""


@pytest.fixture(autouse=True)
def early_snapshots(monkeypatch):
    monkeypatch.setattr("turnout.runtime.journal.SNAPSHOT_FROM", 1_500)


async def recorded(tmp_path):
    """A store of two threads, the first of three runs; its exported head; and a copy of it from before the last run."""
    m = load(tmp_path, DESK)
    path = tmp_path / "t.db"
    async with app_on(path, m.desk) as app:
        await run(app, "t", 1)
        await run(app, "t", 2)
    shutil.copy(path, tmp_path / "earlier.db")
    async with app_on(path, m.desk) as app:
        await run(app, "t", 3)
        await run(app, "other", 1)
        await app.start("desk", {}, thread="waiting")
        await finish(app, "waiting/1")
        head = await app.head()
        assert (await app.verify(against=head)).problems == []
        assert sql(path, "SELECT count(*) FROM snapshots WHERE number = 1") == [(1,)]
    return m, path, json.loads(json.dumps(head))


async def run(app, thread, n):
    await app.start("desk", {"order": f"o{n}"}, thread=thread)
    await finish(app, f"{thread}/{n}")
    [review] = await app.reviews(thread=thread)
    await app.resolve(review, approve(by="dana", comment="fine"))
    await finish(app, f"{thread}/{n}")


async def problems(m, path, head=None, thread=""):
    async with app_on(path, m.desk, work=False) as app:
        return (await app.verify(thread, against=head)).problems


def reseal(path, number=1):
    """What somebody does who knows the format: make every digest of a thread fit again, and its row, and drop the
    heads that the store has signed."""
    db = sqlite3.connect(path)
    (name,) = db.execute("SELECT thread FROM threads WHERE number = ?", (number,)).fetchone()
    previous, last = GENESIS, 0
    for seq, kind, run_, step, at, epoch, body in db.execute(
        "SELECT seq, kind, run, step, at, epoch, body FROM entries WHERE number = ? ORDER BY seq", (number,)
    ).fetchall():
        previous = chain(previous, (name, seq, kind, run_, step, at, epoch), body)
        db.execute("UPDATE entries SET digest = ? WHERE number = ? AND seq = ?", (previous, number, seq))
        last = seq
    db.execute("UPDATE threads SET head = ?, digest = ? WHERE number = ?", (last, previous, number))
    db.execute("DELETE FROM heads WHERE thread = ?", (name,))
    db.execute("DELETE FROM snapshots WHERE number = ?", (number,))
    db.commit()
    db.close()


async def test_an_untouched_store_verifies(tmp_path):
    m, path, head = await recorded(tmp_path)
    async with app_on(path, m.desk, work=False) as app:
        found = await app.verify(against=head)
    assert found.ok
    assert (found.threads, found.heads) == (3, 4)
    assert found.entries > 20
    assert found.values > 0


TAMPERS = {
    "an altered body": "UPDATE entries SET body = CAST(replace(body, 'o1', 'o9') AS BLOB) WHERE number = 1 AND seq = 1",
    "an altered time": "UPDATE entries SET at = at + 1 WHERE number = 1 AND seq = 4",
    "an altered kind": "UPDATE entries SET kind = 'signal.received' WHERE number = 1 AND seq = 1",
    "an altered step": "UPDATE entries SET step = 'work.9' WHERE number = 1 AND seq = 4",
    "an altered run": "UPDATE entries SET run = 2 WHERE number = 1 AND seq = 4",
    "an altered epoch": "UPDATE entries SET epoch = 77 WHERE number = 1 AND seq = 4",
    "a missing entry": "DELETE FROM entries WHERE number = 1 AND seq = 4",
    "a missing first entry": "DELETE FROM entries WHERE number = 1 AND seq = 1",
    "two entries that changed places": "UPDATE entries SET seq = CASE seq WHEN 4 THEN -5 WHEN 5 THEN -4 END "
    "WHERE number = 1 AND seq IN (4, 5); UPDATE entries SET seq = -seq WHERE seq < 0",
    "an entry of another thread": "UPDATE entries SET (body, digest) = (SELECT body, digest FROM entries WHERE number = 2 "
    "AND seq = 4) WHERE number = 1 AND seq = 4",
    "an entry put in behind": "INSERT INTO entries SELECT number, seq + 1, kind, run, step, at, epoch, body, digest "
    "FROM entries WHERE number = 1 ORDER BY seq DESC LIMIT 1",
    "a missing value": "DELETE FROM stored_values",
    "an altered value": "UPDATE stored_values SET body = CAST(replace(body, 'pp', 'qq') AS BLOB)",
    "an altered snapshot": "UPDATE snapshots SET body = CAST(replace(body, '70', '71') AS BLOB) WHERE number = 1",
    "a snapshot of another entry": "UPDATE snapshots SET seq = seq - 1 WHERE number = 1",
    "a run that is said to have failed": "UPDATE runs SET status = 'failed' WHERE thread = 't' AND run = 1",
    "a run whose error is another": "UPDATE runs SET error = 'x' WHERE thread = 't' AND run = 1",
    "a run that is gone": "DELETE FROM runs WHERE thread = 't' AND run = 2",
    "a run that never was": "INSERT INTO runs SELECT thread, 9, graph, status, started_at, ended_at, end_seq, error "
    "FROM runs WHERE thread = 't' AND run = 1",
    "a review decided by another": "UPDATE reviews SET about = CAST(replace(about, 'dana', 'kim') AS BLOB) WHERE thread = 't'",
    "a review that is open again": "UPDATE reviews SET status = 'open' WHERE thread = 't'",
    "an open review that is closed": "UPDATE reviews SET status = 'approve' WHERE thread = 'waiting'",
    "a review that is gone": "DELETE FROM reviews WHERE thread = 'waiting'",
    "a review for other roles": "UPDATE reviews SET roles = 'anybody' WHERE thread = 'waiting'",
    "a thread that is said to be done": "UPDATE threads SET status = 'finished' WHERE thread = 'waiting'",
    "a thread of another graph": "UPDATE threads SET graph = 'other' WHERE thread = 't'",
    "a thread of another version": "UPDATE threads SET fingerprint = 'f' WHERE thread = 'waiting'",
    "a head row that is cut": "UPDATE threads SET head = head - 1 WHERE thread = 't'",
    "a signed head that was altered": "UPDATE heads SET seq = seq - 1 WHERE thread = 't'",
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERS)
async def test_verify_finds(tmp_path, name):
    m, path, _ = await recorded(tmp_path)
    db = sqlite3.connect(path)
    before = db.total_changes
    db.executescript(TAMPERS[name])
    assert db.total_changes > before
    db.close()
    found = await problems(m, path)
    assert found
    assert any("thread t" in p or "thread waiting" in p for p in found)


async def test_a_cut_tail_is_found_against_the_exported_head(tmp_path):
    m, path, head = await recorded(tmp_path)
    last = head["threads"]["t"][0]
    sql(path, "DELETE FROM entries WHERE number = 1 AND seq > ?", last - 3)
    reseal(path)
    assert any(f"has entry {last}" in p and "cut off" in p for p in await problems(m, path, head))


@pytest.mark.parametrize("run_", [1, 2, 3])
async def test_a_tail_cut_at_the_end_of_a_run_looks_whole_but_for_the_anchor(tmp_path, run_):
    """The strongest cut: rows, runs, reviews and the store's own signed heads are all put right."""
    m, path, head = await recorded(tmp_path)
    db = sqlite3.connect(path)
    (end,) = db.execute("SELECT end_seq FROM runs WHERE thread = 't' AND run = ?", (run_,)).fetchone()
    db.execute("DELETE FROM entries WHERE number = 1 AND seq > ?", (end,))
    db.execute("DELETE FROM runs WHERE thread = 't' AND run > ?", (run_,))
    db.execute("DELETE FROM reviews WHERE thread = 't' AND run > ?", (run_,))
    db.execute("UPDATE threads SET run = ? WHERE number = 1", (run_,))
    db.commit()
    db.close()
    reseal(path)
    assert await problems(m, path) == []
    against = await problems(m, path, head)
    assert (against == []) == (run_ == 3)
    if run_ < 3:
        assert "thread t: cut off or rolled back" in against[0]


async def test_a_rolled_back_database_is_found_against_the_exported_head(tmp_path):
    m, path, head = await recorded(tmp_path)
    shutil.copy(tmp_path / "earlier.db", path)
    assert await problems(m, path) == []  # a chain alone can't see it
    found = await problems(m, path, head)
    assert any("thread t: cut off or rolled back" in p for p in found)
    assert any("thread other: gone" in p for p in found)


async def test_a_chain_that_was_sealed_anew_is_found_against_the_exported_head(tmp_path):
    m, path, head = await recorded(tmp_path)
    sql(path, "UPDATE entries SET at = at + 1 WHERE number = 1 AND seq = 4")
    reseal(path)
    assert await problems(m, path) == []
    assert any("is not what the exported head says" in p for p in await problems(m, path, head))


async def test_a_chain_that_was_sealed_anew_is_found_by_the_heads_that_the_store_keeps(tmp_path):
    m, path, _ = await recorded(tmp_path)
    heads = sql(path, "SELECT * FROM heads")
    sql(path, "UPDATE entries SET at = at + 1 WHERE number = 1 AND seq = 4")
    reseal(path)
    for row in heads:
        sql(path, "INSERT OR IGNORE INTO heads VALUES (?, ?, ?, ?, ?)", *row)
    assert any("is gone or is not what was signed" in p for p in await problems(m, path))


async def test_a_head_that_was_altered_is_refused(tmp_path):
    m, path, head = await recorded(tmp_path)
    head["threads"]["t"][0] -= 1
    assert any("was altered" in p for p in await problems(m, path, head))
    for broken in ({}, {**head, "signature": "zz"}, {**head, "threads": 3}, []):
        with pytest.raises(InputInvalid, match="turnout head"):
            await problems(m, path, broken)


async def test_a_replaced_key_is_found(tmp_path):
    """Somebody seals a changed chain anew, signs the store's heads with a key of their own, and puts that key there."""
    m, path, head = await recorded(tmp_path)
    (tmp_path / "t.db.key").write_text("ab" * 32)
    found = await problems(m, path)
    assert any("was not signed with this store's key" in p for p in found)
    theirs = Signer(bytes.fromhex("ab" * 32))
    sql(path, "UPDATE entries SET at = at + 1 WHERE number = 1 AND seq = 4")
    reseal(path)
    db = sqlite3.connect(path)
    for thread, seq, at in db.execute("SELECT thread, seq, at FROM heads").fetchall():
        (digest,) = db.execute(
            "SELECT e.digest FROM entries e JOIN threads t ON e.number = t.number WHERE t.thread = ? AND seq = ?",
            (thread, seq),
        ).fetchone()
        row = theirs.head(thread, seq, digest, at)
        db.execute("UPDATE heads SET signature = ?, digest = ? WHERE thread = ? AND seq = ?",
                   (row.signature, digest, thread, seq))  # fmt: skip
    db.commit()
    db.close()
    assert await problems(m, path) == []  # to the store alone it looks whole
    found = await problems(m, path, head)
    assert any("key" in p for p in found)
    assert any("is not what the exported head says" in p for p in found)


async def test_a_head_signed_with_another_key_is_found(tmp_path):
    """Somebody hands in a head that fits the changed store, signed with a key of their own."""
    m, path, head = await recorded(tmp_path)
    theirs = Signer(bytes.fromhex("cd" * 32))
    said = {**{k: head[k] for k in ("format", "at", "threads")}, "public_key": theirs.public}
    forged = {**said, "signature": theirs.sign(said).hex()}
    assert any("key" in p for p in await problems(m, path, forged))


async def test_what_came_after_the_head_is_no_problem(tmp_path):
    m, path, head = await recorded(tmp_path)
    async with app_on(path, m.desk) as app:
        await run(app, "t", 4)
        found = await app.verify(against=head)
        assert found.problems == []
        assert found.newer > 0
        one = await app.head("t")
        assert list(one["threads"]) == ["t"]
        assert (await app.verify("t", against=one)).ok


async def test_the_digest_covers_the_bytes_as_stored(tmp_path):
    """A payload that can't be read (its key was destroyed) still verifies as a chain."""
    m, path, head = await recorded(tmp_path)
    db = sqlite3.connect(path)
    db.execute("UPDATE entries SET body = X'00FF00FF' WHERE number = 2 AND seq = 4")
    db.commit()
    db.close()
    reseal(path, 2)
    head = await head_of(m, path)
    found = await problems(m, path, head, "other")
    assert not any("altered" in p or "missing" in p or "exported" in p for p in found)
    assert any("entry 4" in p and "can't be read" in p for p in found)


async def head_of(m, path):
    async with app_on(path, m.desk, work=False) as app:
        return await app.head()
