"""The command line when something is wrong: one line that says what to do, a non-zero exit, nothing changed."""

import hashlib
import json
import sqlite3
import sys

import pytest
from tests.e2e.cli_desk import Folder


def refused(folder: Folder, *words: str) -> str:
    """The one line that a command is refused with."""
    result = folder.run(*words, ok=False)
    assert result.exit_code == 1, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert result.stdout == ""
    return str(lines[0])


def contents(folder: Folder) -> dict[str, str]:
    """Every file of the folder and a digest of its bytes. SQLite's side files hold no more than the main one says."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.path.iterdir()
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


READS = [
    ["threads"],
    ["show", "case-17"],
    ["explain", "case-17"],
    ["reviews"],
    ["verify"],
    ["head"],
    ["approve", "rev-1", "--by", "dana"],
    ["signal", "case-17", "go"],
    ["cancel", "case-17"],
    ["replay", "case-17", "-g", "desk:refunds"],
    ["check", "--in-flight", "-g", "desk:refunds"],
]


@pytest.mark.parametrize("words", READS, ids=lambda words: words[0])
def test_a_store_that_is_not_there_is_not_made_by_looking(folder: Folder, words: list[str]) -> None:
    before = contents(folder)
    assert "there is no store at turnout.db" in refused(folder, *words)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("dsek:refunds", "did you mean desk?"),
        ("nowhere:refunds", "there is no module 'nowhere'"),
        ("desk:refund", "did you mean desk:refunds?"),
        ("desk:zzz", "it has desk:refunds, desk:waits"),
        ("desk:number", "is int, not a graph"),
        ("desk", "doesn't say which graph; it has desk:refunds"),
        ("dsk.py:refunds", "did you mean desk.py?"),
        ("raises:g", "ZeroDivisionError: division by zero (raises.py:2)"),
        ("raises.py:g", "ZeroDivisionError: division by zero (raises.py:2)"),
        ("wrong_word:g", "isn't one of 'pure', 'read', 'write' (wrong_word.py:2)"),
        ("typo:g", "SyntaxError"),
        ("needs:g", "No module named 'nothing_of_that_name'"),
        ("leaves:g", "SystemExit: 3"),
        ("desk:both", "name the one to run"),
    ],
)
def test_a_wrong_place_for_a_graph_is_named_with_what_is_near(folder: Folder, place: str, says: str) -> None:
    (folder.path / "raises.py").write_text("x = 1\ny = x / 0\n")
    (folder.path / "typo.py").write_text("def g(:\n")
    (folder.path / "wrong_word.py").write_text("from turnout import tool\ntool(effect='wirte')(print)\n")
    (folder.path / "needs.py").write_text("import nothing_of_that_name\n")
    (folder.path / "leaves.py").write_text("raise SystemExit(3)\n")
    before = contents(folder)
    assert says in refused(folder, "run", place, "--input", '{"order": "A-1"}')
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"order": "A-1",}', "line 1, column 17"),
        ('{"order":\n nope}', "line 2, column 2"),
        ("[1, 2]", "must be a JSON object"),
        ('{"ordr": "A-1"}', "did you mean 'order'?"),
        ('{"order": 17}', "order"),
        ("{}", "order"),
        ('{"order": "A-1", "amount": NaN}', "NaN"),
    ],
)
def test_a_bad_input_is_refused_with_the_place_and_starts_nothing(
    folder: Folder, text: str, says: str
) -> None:
    folder.paused()
    before = folder.json("threads")
    assert says in refused(folder, "run", "desk:refunds", "--input", text)
    assert folder.json("threads") == before


def test_unknown_names_come_with_a_hint(folder: Folder) -> None:
    folder.paused()
    assert "did you mean 'case-17'?" in refused(folder, "explain", "case17")
    assert "there is no thread 'zzz'" in refused(folder, "show", "zzz")
    assert "run 1 of the thread 'case-17'" in refused(folder, "explain", "case-17/1")
    assert "entries 1 to" in refused(folder, "show", "case-17", "--at", "99")
    assert "turnout reviews" in refused(folder, "approve", "rev-zzz", "--by", "dana")
    folder.run("run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "small")
    assert "thread 'small' has no open review" in refused(folder, "approve", "small", "--by", "dana")
    assert "TURNOUT_GRAPHS" in refused(folder, "replay", "case-17")
    assert "there is no graph 'refunds'" in refused(folder, "replay", "case-17", "-g", "desk:waits")
    assert "not a store's address" in refused(folder, "threads", "--store", "mysql://x")
    assert "can't be read" in refused(folder, "verify", "--against", "nope.json")
    (folder.path / "x.json").write_text('{"a": 1}')
    assert "turnout head" in refused(folder, "verify", "--against", "x.json")
    assert "name=value" in refused(folder, "edit", "rev-1", "--set", "amount", "--by", "dana")


def test_each_mistake_in_settings_is_told_on_a_line_of_its_own(folder: Folder) -> None:
    (folder.path / "turnout.toml").write_text('[serve]\nrat = 1\n\n[policy]\nfoldr = "x"\n')
    result = folder.run("run", "desk:refunds", "--input", '{"order": "A-1"}', ok=False)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: turnout.toml:2: serve has no 'rat'; did you mean 'rate'?",
        "error: turnout.toml:5: policy has no 'foldr'; did you mean 'folder'?",
    ]


def test_a_wrong_command_line_is_a_usage_error(folder: Folder) -> None:
    for words in (
        ["threads", "--nope"],
        ["approve", "rev-1"],
        ["replay"],
        ["frobnicate"],
        ["edit", "r", "--by", "d"],
    ):
        assert folder.run(*words, ok=False).exit_code == 2, words
    assert "Did you mean 'explain'?" in folder.run("explane", "case-17", ok=False).stderr
    assert "'withdrawn'" in folder.run("reviews", "--status", "opn", ok=False).stderr


@pytest.mark.parametrize(
    "words", [*READS, ["run", "desk:refunds", "--input", '{"order": "A"}']], ids=lambda w: w[0]
)
def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(folder: Folder, words: list[str]) -> None:
    (folder.path / "turnout.db").write_bytes(b"these are my notes, not a database\n" * 100)
    before = contents(folder)
    assert "not a SQLite database or is damaged" in refused(folder, *words)
    assert contents(folder) == before


def test_a_database_of_another_program_is_refused_and_left_as_it_was(folder: Folder) -> None:
    other = sqlite3.connect(folder.path / "turnout.db")
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    other.close()
    before = contents(folder)
    assert "not a Turnout store" in refused(folder, "threads")
    assert "not a Turnout store" in refused(folder, "run", "desk:refunds", "--input", '{"order": "A"}')
    assert contents(folder) == before


def test_a_store_of_a_newer_turnout_is_refused_and_left_as_it_was(folder: Folder) -> None:
    folder.paused()
    store = sqlite3.connect(folder.path / "turnout.db")
    store.execute("PRAGMA user_version = 99")
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    before = contents(folder)
    assert "upgrade" in refused(folder, "threads")
    assert "upgrade" in refused(folder, "run", "desk:refunds", "--input", '{"order": "A"}')
    assert contents(folder) == before


def test_a_store_that_was_cut_short_is_refused_and_left_as_it_was(folder: Folder) -> None:
    folder.paused()
    whole = (folder.path / "turnout.db").read_bytes()
    for length in (50, 5000, len(whole) // 2):
        (folder.path / "turnout.db").write_bytes(whole[:length])
        for side in ("turnout.db-wal", "turnout.db-shm"):
            (folder.path / side).unlink(missing_ok=True)
        before = contents(folder)
        result = folder.run("explain", "case-17", ok=False)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        assert "damaged" in result.stderr, (length, result.stderr)
        assert contents(folder) == before, length


def test_a_locked_store_is_said_to_be_locked(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.paused()
    holder = sqlite3.connect(folder.path / "turnout.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    holder.execute("UPDATE threads SET graph = graph")
    try:
        assert [row["thread"] for row in folder.json("threads")] == ["case-17"]  # readers don't mind
        said = refused(folder, "signal", "case-17", "go")
        assert "locked" in said
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert folder.json("explain", "case-17")["signals"] == []


def test_a_folder_as_store_and_a_folder_that_is_not_there_are_refused(folder: Folder) -> None:
    (folder.path / "store").mkdir()
    assert "can't be opened" in refused(folder, "threads", "--store", "sqlite:///store")
    words = ["run", "desk:refunds", "--input", '{"order": "A"}', "--store"]
    assert "can't be opened" in refused(folder, *words, "sqlite:///store")
    assert "doesn't exist" in refused(folder, *words, "sqlite:///nowhere/x.db")
    assert list((folder.path / "store").iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="wants a folder that even root can't write")
def test_a_folder_that_may_not_be_written_is_refused(folder: Folder) -> None:
    words = ["run", "desk:refunds", "--input", '{"order": "A"}', "--store", "sqlite:////proc/turnout.db"]
    assert "can't be opened" in refused(folder, *words)


def test_a_damaged_journal_is_found_by_verify_and_named_by_explain(folder: Folder) -> None:
    folder.paused()
    store = sqlite3.connect(folder.path / "turnout.db")
    store.execute("UPDATE entries SET body = ? WHERE seq = 2", (b'{"x": 1',))
    store.commit()
    store.close()
    found = folder.run("verify", "case-17", ok=False)
    assert found.exit_code == 1
    assert "entry 2" in found.stdout
    assert json.loads(folder.run("verify", "--json", ok=False).stdout)["ok"] is False
    assert "turnout verify" in refused(folder, "explain", "case-17")


def test_debug_shows_the_traceback_and_nothing_else_does(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = folder.shell("turnout threads")
    assert (said.returncode, len(said.stderr.splitlines())) == (1, 1)
    shown = folder.shell("turnout --debug threads")
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr
    assert "Traceback" in folder.shell("turnout threads", TURNOUT_DEBUG="1").stderr
