"""A file that isn't whole, isn't ours or isn't what was written is refused, with where; and nothing is imported."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.moving.desk import furnish, graphs
from tests.moving.homes import File, Home, Memory

from turnout.errors import ExportInvalid, JournalDamaged, TurnoutError
from turnout.service.moving import house
from turnout.stores.sqlite import SqliteStore
from turnout.testing import VirtualClock

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good export."""
    folder = tmp_path_factory.mktemp("written")

    async def write() -> None:
        home = File(folder, VirtualClock())
        await furnish(home)
        async with home.app() as app:
            await app.export_to(str(folder / "good.jsonl"))

    asyncio.run(write())
    return (folder / "good.jsonl").read_bytes()


def parsed(data: bytes) -> Lines:
    return [json.loads(line) for line in data.splitlines()]


def sealed(lines: Lines) -> bytes:
    """The lines as a file, with a last line that fits: as somebody would who forges one."""
    *body, last = lines
    said = b"".join(
        json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for line in body
    )
    count = {kind: sum(line["turnout"] == kind for line in body) for kind in ("thread", "entry", "value")}
    last = {
        **last, "threads": count["thread"], "entries": count["entry"], "values": count["value"],
        "sha256": hashlib.sha256(said).hexdigest(),
    }  # fmt: skip
    return said + json.dumps(last, separators=(",", ":")).encode() + b"\n"


async def refused(data: bytes, tmp_path: Path) -> TurnoutError:
    """The error that `data` gets; checks that a check, an import of the file, and one through a pipe all refuse it."""
    path = tmp_path / "house.jsonl"
    path.write_bytes(data)
    home = Memory(tmp_path, VirtualClock())
    with pytest.raises((ExportInvalid, JournalDamaged)) as found:
        await house.check(str(path))
    async with home.app() as app:
        for file in (str(path), io.BytesIO(data)):
            with pytest.raises(type(found.value)):
                await app.import_from(file)
        assert await app.store.threads() == []
    await home.close()
    said = str(found.value)
    assert "\n" not in said
    return found.value


def test_the_good_file_has_every_kind_of_line(written: bytes) -> None:
    kinds = {line["turnout"] for line in parsed(written)}
    assert kinds == {"export", "thread", "run", "review", "key", "head", "value", "entry", "end", "whole"}


async def test_the_good_file_is_good_even_when_it_is_sealed_again(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "again.jsonl"
    path.write_bytes(sealed(parsed(written)))
    assert (await house.check(str(path))).threads == (await house.check(io.BytesIO(written))).threads > 10


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\n", "is not an export of Turnout"),
        (b"SQLite format 3\0" + bytes(70_000), "is not an export of Turnout"),
        (b'{"format":"turnout head 1","at":1}\n', "is not an export of Turnout"),
        (b'{"turnout":"export","format":2,"who":"knows"}\n', "format 2, this Turnout reads 1; upgrade"),
        (b'{"turnout":"export"}\n', "line 1 of .* is not a line of an export"),
        (b'{"turnout":"export","format":1', "ends in the middle of line 1"),
        (b'{"turnout":"export","format":0,"export":"a","at":1,"by":"t","store":"s"}\n', "first line"),
    ],
)  # fmt: skip
async def test_a_file_that_is_not_ours_is_known_by_its_first_line(
    data: bytes, says: str, tmp_path: Path
) -> None:
    error = await refused(data, tmp_path)
    assert isinstance(error, ExportInvalid)
    assert re.search(says, str(error)), error


async def test_a_file_that_is_not_there_says_so() -> None:
    with pytest.raises(ExportInvalid, match="can't be read: No such file"):
        await house.check("/nowhere/house.jsonl")


async def test_a_file_that_was_cut_off_is_known_wherever_it_was_cut(written: bytes, tmp_path: Path) -> None:
    ends = [n + 1 for n, byte in enumerate(written) if byte == 10]
    some = random.Random(1).sample(range(1, len(written)), 30)
    for cut in sorted({*ends[:-1:9], ends[-2], *some, len(written) - 1}):
        error = await refused(written[:cut], tmp_path)
        assert isinstance(error, ExportInvalid)
        assert "cut off" in str(error), (cut, error)
        assert "--resume" in str(error)


async def test_any_altered_byte_is_found_and_where_is_said(written: bytes, tmp_path: Path) -> None:
    lines = written.splitlines(keepends=True)
    starts = [sum(map(len, lines[:n])) for n in range(len(lines))]
    chance = random.Random(2)
    for number, (start, line) in enumerate(zip(starts, lines, strict=True), 1):
        if number % 4 and json.loads(line)["turnout"] == "entry":
            continue
        at = start + chance.randrange(len(line))
        other = bytes([written[at] ^ chance.choice([1, 2, 32, 128])])
        error = await refused(written[:at] + other + written[at + 1 :], tmp_path)
        assert str(error), number


def entries_of(lines: Lines, thread: str) -> list[int]:
    """Where the entries of a thread are."""
    begin = next(
        n for n, line in enumerate(lines) if line["turnout"] == "thread" and line["thread"] == thread
    )
    end = next(n for n in range(begin, len(lines)) if lines[n]["turnout"] == "end")
    return [n for n in range(begin, end) if lines[n]["turnout"] == "entry"]


def place(lines: Lines, kind: str, thread: str = "") -> int:
    """Where the first line of a kind is, in a thread."""
    begin = next((n for n, line in enumerate(lines) if line.get("thread") == thread), 0)
    return next(n for n in range(begin, len(lines)) if lines[n]["turnout"] == kind)


def text(line: dict[str, Any], old: str, new: str) -> None:
    assert old in line["text"]
    line["text"] = line["text"].replace(old, new, 1)


Forgery = Callable[[Lines], None]
FORGERIES: dict[str, tuple[str, Forgery]] = {
    "an entry's body": (
        r"thread asked: entry 1 \(input.received\) was altered",
        lambda f: text(f[entries_of(f, "asked")[0]], '"a"', '"A"'),
    ),
    "an entry's time": (
        r"thread asked: entry 3 .* was altered",
        lambda f: f[entries_of(f, "asked")[2]].update(at=5),
    ),
    "an entry's digest": (
        r"thread asked: entry 3 .* was altered",
        lambda f: f[entries_of(f, "asked")[2]].update(digest="ab" * 32),
    ),
    "an entry's kind": (
        "thread asked: 'what.ever' is no kind of entry; a newer Turnout may know it",
        lambda f: f[entries_of(f, "asked")[2]].update(kind="what.ever"),
    ),
    "a thread's name": (
        r"line \d+ of .* can't be a thread's name",
        lambda f: f[place(f, "thread", "asked")].update(thread="as\x1bked"),
    ),
    "an entry taken out": (
        r"thread asked: entry 3 is missing \(found entry 4",
        lambda f: f.pop(entries_of(f, "asked")[2]) and None,
    ),
    "two entries changed round": (
        r"thread asked: entry 2 is missing \(found entry 3",
        lambda f: f.insert(entries_of(f, "asked")[1], f.pop(entries_of(f, "asked")[2])),
    ),
    "the last entry taken out": (
        r"thread asked: it should end at entry",
        lambda f: f.pop(entries_of(f, "asked")[-1]) and None,
    ),
    "an entry of another thread": (
        r"thread failed: entry 1 .* was altered or put in",
        lambda f: f[entries_of(f, "failed")[0]].update(f[entries_of(f, "gone")[0]]),
    ),
    "a value": (
        r"thread \S+: the stored value \w+... was altered",
        lambda f: text(f[place(f, "value")], "l", "L"),
    ),
    "a value taken out": (r"the stored value \w+... is missing", lambda f: f.pop(place(f, "value")) and None),
    "a value twice": (
        "is in the file twice", lambda f: f.insert(place(f, "value"), f[place(f, "value")]),
    ),
    "a value's address": (
        "32 bytes in hex", lambda f: f[place(f, "value")].update(address="zz"),
    ),
    "a value that is not JSON": (
        r"the stored value \w+... can't be read",
        lambda f: f[place(f, "value")].update(text='{"$ref":'),
    ),
    "a value in bytes": (
        "was altered|can't be read",
        lambda f: f[place(f, "value")].update(text=None, base64=base64.b64encode(b"\xff\xfe").decode()),
    ),
    "nothing in a value": ("must have either text or base64", lambda f: f[place(f, "value")].pop("text") and None),
    "a run's status": (
        "thread asked: what the file says of its runs", lambda f: f[place(f, "run", "asked")].update(status="failed"),
    ),
    "a run taken out": ("of its runs", lambda f: f.pop(place(f, "run", "asked")) and None),
    "a review's status": (
        "thread asked: what the file says of its reviews",
        lambda f: f[place(f, "review", "asked")].update(status="open"),
    ),
    "a review's payload": ("of its reviews", lambda f: text(f[place(f, "review", "asked")], '"letter"', '"Letter"')),
    "a signed head": (
        "thread asked: entry .* is not what was signed",
        lambda f: f[place(f, "head", "asked")].update(digest="ab" * 32),
    ),
    "a signed head beyond the end": (
        "of a signed head at entry 999", lambda f: f[place(f, "head", "asked")].update(seq=999),
    ),
    "the thread's status": (
        "thread asked: what the file says of the thread",
        lambda f: f[place(f, "thread", "asked")].update(status="running"),
    ),
    "the thread's tenant": ("of the thread", lambda f: f[place(f, "thread", "asked")].update(tenant="acme")),
    "the thread's epoch": ("of the thread", lambda f: f[place(f, "thread", "asked")].update(epoch=99)),
    "who waits for it": ("of the thread", lambda f: f[place(f, "thread", "asked")].update(parent="failed")),
    "the thread's digest": (
        "it should end at entry", lambda f: f[place(f, "thread", "asked")].update(digest="ab" * 32),
    ),
    "a key taken out": (
        "thread asked: what the file says of the idempotency key of run 1 is not what",
        lambda f: f.pop(place(f, "key", "asked")) and None,
    ),
    "a key's run": ("the idempotency key of run 1", lambda f: f[place(f, "key", "asked")].update(run=99)),
    "a key's digest": ("the idempotency key of run 1", lambda f: f[place(f, "key", "asked")].update(digest="zz")),
    "a key twice": (
        r"line \d+ of .*: the idempotency key 'start:asks:key asked' is in the file twice",
        lambda f: f.insert(place(f, "key", "asked"), dict(f[place(f, "key", "asked")])),
    ),
    "a key of an input that nobody has sent": (
        "thread asked: the file has an idempotency key 'start:asks:k' that its journal doesn't have",
        lambda f: f.insert(place(f, "key", "asked"), {**f[place(f, "key", "asked")], "key": "start:asks:k"}),
    ),
    "a key of a schedule that hasn't fired": (
        "thread asked: the file has an idempotency key 'schedule:nightly:1' that",
        lambda f: f.insert(
            place(f, "key", "asked"), {**f[place(f, "key", "asked")], "key": "schedule:nightly:1", "digest": "zz"}
        ),
    ),
    "a key of something else": (
        r"line \d+ of .*: 'what:ever' can't be an idempotency key of thread asked",
        lambda f: f[place(f, "key", "asked")].update(key="what:ever"),
    ),
    "a key of a signal to another thread": (
        "can't be an idempotency key of thread rung",
        lambda f: f[place(f, "key", "rung")].update(key="signal:5:asked:bell"),
    ),
    "a key of a run that isn't there": (
        "thread rung: the file has an idempotency key 'signal:4:rung:bell'",
        lambda f: f[place(f, "key", "rung")].update(run=7, key="signal:4:rung:bell"),
    ),
    "a time that no store can keep": (
        r"line \d+ of .* is not a line of an export: .*wake_at",
        lambda f: f[place(f, "thread", "asked")].update(wake_at=2**70),
    ),
    "a number that no store can keep": (
        r"line \d+ of .* is not a line of an export: .*seq",
        lambda f: f[place(f, "head", "asked")].update(seq=-(2**63) - 1),
    ),
    "escapes for a terminal": (
        r"line \d+ of .*: '\\x1b\[31mx' can't be why a thread was set aside",
        lambda f: f[place(f, "thread", "asked")].update(aside="\x1b[31mx"),
    ),
    "a fork's base": (
        "thread fork: it is a fork of asking at entry 99, which the file doesn't have",
        lambda f: f[place(f, "thread", "fork")].update(base_seq=99),
    ),
    "a fork of another thread": (
        "thread fork: ", lambda f: f[place(f, "thread", "fork")].update(base_thread="asked", base_seq=3),
    ),
    "a fork before its base": (
        "is a fork of asking, which doesn't stand before it",
        lambda f: f.insert(1, f.pop(place(f, "thread", "fork"))),
    ),
    "a thread twice": (
        "thread asked is in the file twice",
        lambda f: f.insert(-1, dict(f[place(f, "thread", "asked")])),
    ),
    "a thread without an end": (
        "but thread asked has no end", lambda f: f.pop(place(f, "end", "asked")) and None,
    ),
    "the last end taken out": ("has no end", lambda f: f.pop(-2) and None),
    "a run behind entries": (
        "stands behind entries",
        lambda f: f.insert(entries_of(f, "asked")[1], f.pop(place(f, "run", "asked"))),
    ),
    "an entry outside of threads": (
        "line 2 of .* stands outside of a thread", lambda f: f.insert(1, dict(f[entries_of(f, "asked")[0]])),
    ),
    "a second first line": ("stands outside of a thread", lambda f: f.insert(1, dict(f[0]))),
    "an unknown field": (
        "line 2 of .* is not a line of an export: .*unknown field", lambda f: f[1].update(colour="red"),
    ),
    "an unknown kind": ("line 2 of .* is not a line of an export", lambda f: f[1].update(turnout="cat")),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGERIES)
async def test_a_forged_file_is_refused_though_it_is_sealed_again(
    written: bytes, tmp_path: Path, what: str
) -> None:
    says, forge = FORGERIES[what]
    lines = parsed(written)
    forge(lines)
    error = await refused(sealed(lines), tmp_path)
    assert re.search(says, str(error)), error


@pytest.mark.parametrize("field", ["wake_at", "created_at", "updated_at", "aside", "moved"])
async def test_what_no_journal_covers_is_covered_by_the_last_line(
    written: bytes, tmp_path: Path, field: str
) -> None:
    lines = parsed(written)
    lines[place(lines, "thread", "asking")][field] = {"aside": "x", "moved": True}.get(field, 7)
    data = sealed(lines).replace(parsed(sealed(lines))[-1]["sha256"].encode(), lines[-1]["sha256"].encode())
    error = await refused(data, tmp_path)
    assert "was altered: its journals are what was written" in str(error)


async def test_a_line_that_is_not_json_is_named_by_its_number(written: bytes, tmp_path: Path) -> None:
    lines = written.splitlines(keepends=True)
    lines[7] = b"this was a line\n"
    error = await refused(b"".join(lines), tmp_path)
    assert f"line 8 of {tmp_path / 'house.jsonl'} is not JSON" in str(error)


async def test_what_comes_behind_the_last_line_is_not_ignored(written: bytes, tmp_path: Path) -> None:
    error = await refused(written + written.splitlines(keepends=True)[1], tmp_path)
    assert "comes after the last line" in str(error)


async def test_counts_of_the_last_line_are_checked(written: bytes, tmp_path: Path) -> None:
    lines = parsed(sealed(parsed(written)))
    lines[-1]["threads"] += 1
    data = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
    error = await refused(data, tmp_path)
    assert "something was cut out or put in" in str(error)


async def test_a_broken_journal_is_not_exported_and_the_others_are_on_demand(
    old: Home, new: Home, file: str
) -> None:
    """The one test here that breaks a store, with SQL."""
    await furnish(old)
    store: Any = await old.open()
    if isinstance(store, SqliteStore):
        store._writer.db.execute(
            "UPDATE entries SET body = CAST(replace(body, 'ada', 'eve') AS BLOB) "
            "WHERE seq = 1 AND number = (SELECT number FROM threads WHERE thread = 'asking')"
        )
    else:
        with psycopg.connect(store._conninfo, autocommit=True) as connection:
            connection.execute(
                "UPDATE turnout.entries SET body = convert_to(replace(convert_from(body, 'UTF8'), 'ada', 'eve'), 'UTF8') "
                "WHERE seq = 1 AND thread = 'asking'"
            )
    if store.url != "sqlite://":
        await store.close()
    async with old.app(*graphs()) as app:
        with pytest.raises(
            JournalDamaged, match=r"thread asking: entry 1 \(input.received\) was altered.*--keep-going"
        ):
            await app.export_to(file)
        with pytest.raises(JournalDamaged, match="thread asking"):
            await app.export_to(f"{file}.move", move=True)
        assert (await app.store.thread("asking")).aside == ""  # it couldn't be moved: it goes on here
        found = await app.export_to(f"{file}.some", keep_going=True)
    assert set(found.failed) == {"asking", "fork", "zz-fork-of-fork"}
    assert "entry 1 (input.received) was altered" in found.failed["asking"]
    assert "it is a fork of asking, which could not be exported" in found.failed["fork"]
    assert not found.ok
    async with new.app(*graphs()) as app:
        await app.import_from(f"{file}.some")
        names = [row.thread for row in await app.threads()]
        assert "asking" not in names
        assert {"asked", "talk", "parent"} <= set(names)
        assert (await app.verify()).ok
