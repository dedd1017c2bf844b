"""Turnout for agmi: how its nine edits reach the entries of a journal, and what `verify` says to them.

Three attackers, one class each:

* `Turnout`: edits rows of the SQLite file; the operator runs `verify` and nothing else.
* `AnchoredTurnout`: the same edits; the operator runs `verify` against a head that was exported to another place.
* `RechainedTurnout`: an attacker who knows the format: after the edit he numbers the entries anew, makes every digest
  fit and puts the thread's own row right. The operator has the exported head. (The package's own rows leave the
  chain as the edit left it; this one is ours.)

A record is an entry of the journal, of whatever kind. Everything is written and checked through `App`; the edits go
past it, through sqlite3.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from agmi.adapters.base import MemoryAdapter, Record
from pydantic import BaseModel

from turnout import END, Context, Graph, append, open_app
from turnout.core.entries import GENESIS, chain
from turnout.service.app import App

T = TypeVar("T")
THREAD, OTHER = "agmi-a", "agmi-b"
CONTENT = ("kind", "run", "step", "at", "epoch", "body", "digest")
COLUMNS = ("thread", "seq", *CONTENT)


class Memory(BaseModel):
    said: str
    notes: Annotated[list[str], append] = []


memory = Graph("memory", state=Memory)


@memory.node
async def remember(state: Memory, ctx: Context) -> dict[str, Any]:
    return {"notes": [f"noted: {state.said}"]}


memory.start(remember)
memory.edge(remember, END)


class Turnout(MemoryAdapter):
    """A conversation of `n` runs in one thread, and a last message to it."""

    name = "turnout"
    detection_point = "audit"
    supports_replay = True
    supports_metadata = True
    supports_snapshot = True
    anchored = False

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._head: dict[str, Any] | None = None

    @property
    def file(self) -> Path:
        """The store's SQLite file."""
        assert self._folder is not None, "setup() comes first"
        return self._folder / "store" / "turnout.db"

    # --- what the store's owner does -----------------------------------------------------------------------------

    def setup(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="turnout-agmi-"))
        self._head = None
        self.file.parent.mkdir()

    def teardown(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def seed(self, n: int) -> None:
        self._converse(THREAD, n)

    def seed_other(self, n: int) -> None:
        self._converse(OTHER, n)

    def append_genuine(self) -> None:
        async def send(app: App) -> None:
            await app.signal(THREAD, "message", {"text": "one more"})

        self._with_app(send)
        self._export()

    def reload(self) -> None:
        """Nothing to do: every look at the store opens it anew."""

    def verify(self) -> bool:
        async def check(app: App) -> list[str]:
            return (await app.verify(against=self._head)).problems

        problems = self._with_app(check)
        self.verify_detail = problems[0] if problems else None
        return not problems

    def _converse(self, thread: str, n: int) -> None:
        async def talk(app: App) -> None:
            for i in range(n):
                await app.run(memory, {"said": f"{thread} says {i}"}, thread=thread)

        async def close(app: App) -> None:
            await app.signal(thread, "message", {"text": f"{thread} says goodbye"})

        self._with_app(talk, work=True)
        self._with_app(close)
        self._export()

    def _export(self) -> None:
        """`turnout head`, kept where the attacker is not: in the operator's hands."""

        async def export(app: App) -> dict[str, Any]:
            return await app.head()

        if self.anchored:
            self._head = json.loads(json.dumps(self._with_app(export)))

    def _with_app(self, do: Callable[[App], Awaitable[T]], *, work: bool = False) -> T:
        async def main() -> T:
            async with open_app(f"sqlite:///{self.file}", graphs=[memory], work=work) as app:
                return await do(app)

        return asyncio.run(main())

    # --- what the attacker does ----------------------------------------------------------------------------------

    def read_all_raw(self) -> list[Record]:
        return self._rows(THREAD)

    def read_other_raw(self) -> list[Record]:
        return self._rows(OTHER)

    def _rows(self, thread: str) -> list[Record]:
        sql = f"""SELECT thread, seq, kind, e.run, step, at, e.epoch, body, e.digest
                  FROM entries e JOIN threads USING (number) WHERE thread = '{thread}' ORDER BY seq"""
        rows = self._sql(sql)
        return [Record(i, dict(zip(COLUMNS, row, strict=True))) for i, row in enumerate(rows)]

    def write_raw(self, record: Record) -> None:
        """Put the record's content at its position; past the end, insert it with the next number."""
        there = self.read_all_raw()
        content = tuple(record.fields[name] for name in CONTENT)
        if record.seq < len(there):
            assign = ", ".join(f"{name} = ?" for name in CONTENT)
            self._sql(
                f"UPDATE entries SET {assign} WHERE seq = ? AND number = {self._number()}",
                (*content, there[record.seq].fields["seq"]),
            )
        else:
            marks = ", ".join("?" * (len(CONTENT) + 2))
            self._sql(
                f"INSERT INTO entries (number, seq, {', '.join(CONTENT)}) VALUES ({marks})",
                (self._number(), there[-1].fields["seq"] + 1, *content),
            )

    def delete_raw(self, seq: int) -> None:
        number = self.read_all_raw()[seq].fields["seq"]
        self._sql(f"DELETE FROM entries WHERE seq = ? AND number = {self._number()}", (number,))

    def mutate_payload(self, record: Record) -> Record:
        record.fields["body"] = altered(record.fields["body"])
        return record

    def forge_record(self, template: Record) -> Record:
        return Record(template.seq + 1, self.mutate_payload(Record(0, dict(template.fields))).fields)

    def replay_onto(self, victim_seq: int, donor: Record) -> None:
        self.write_raw(Record(victim_seq, donor.fields))

    def read_meta(self, seq: int) -> dict[str, Any]:
        fields = self.read_all_raw()[seq].fields
        return {"at": fields["at"], "epoch": fields["epoch"]}

    def write_meta(self, seq: int, meta: dict[str, Any]) -> None:
        record = self.read_all_raw()[seq]
        record.fields["at"] = meta["at"] + (86_400_000_000 if meta.get("agmi_meta_tampered") else 0)
        self.write_raw(record)

    def snapshot_store(self) -> Path:
        """The whole folder: the database, and the signing key that lies beside it."""
        copy = self.file.parent.with_name("copy")
        shutil.copytree(self.file.parent, copy)
        return copy

    def restore_store(self, token: object) -> None:
        shutil.rmtree(self.file.parent)
        shutil.copytree(str(token), self.file.parent)

    def identity_of(self, record: Record) -> str:
        return f"{record.fields['thread']}:{record.fields['seq']}"

    def payload_of(self, record: Record) -> str:
        return f"{record.fields['kind']} {record.fields['body'].decode()}"

    def owner_of(self, record: Record) -> str:
        return str(record.fields["thread"])

    def _number(self) -> int:
        return int(self._sql(f"SELECT number FROM threads WHERE thread = '{THREAD}'")[0][0])

    def _sql(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        db = sqlite3.connect(self.file)
        try:
            with db:
                return db.execute(sql, values).fetchall()
        finally:
            db.close()


class AnchoredTurnout(Turnout):
    """With the head that the operator exported: what `turnout verify --against HEAD` does."""

    name = "turnout, exported head"
    anchored = True


class RechainedTurnout(AnchoredTurnout):
    """The attacker closes gaps, makes every digest fit again and puts the thread's own row right."""

    name = "turnout, exported head, attacker rebuilds the chain"

    def reload(self) -> None:
        """agmi has seen that the edit landed; now the attacker covers it up. Without an edit this changes nothing."""
        previous, last = GENESIS, 0
        for record in self.read_all_raw():
            f, last = record.fields, last + 1
            digest = chain(
                previous,
                (f["thread"], last, f["kind"], f["run"], f["step"], f["at"], f["epoch"]),
                f["body"],
            )
            self._sql(
                f"UPDATE entries SET seq = ?, digest = ? WHERE seq = ? AND number = {self._number()}",
                (last, digest, f["seq"]),
            )
            previous = digest
        self._sql("UPDATE threads SET head = ?, digest = ? WHERE thread = ?", (last, previous, THREAD))


def altered(body: bytes) -> bytes:
    """The body with its first piece of text changed, still the JSON of the same kind of entry."""
    data = json.loads(body)
    if not _alter(data):
        data["by"] = "somebody"
    return json.dumps(data, separators=(",", ":")).encode()


def _alter(data: Any) -> bool:
    places = data.items() if isinstance(data, dict) else enumerate(data)
    for name, value in list(places):
        if isinstance(value, str):
            data[name] = value + " [altered]"
            return True
        if isinstance(value, dict | list) and _alter(value):
            return True
    return False
