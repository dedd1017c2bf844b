"""`turnout export` and `turnout import`, as somebody types them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.cli_desk import Folder

import turnout.cli.moving as moving

NEW = "sqlite:///new.db"


def lines(folder: Folder, file: str = "house.jsonl") -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder.path / file).read_text().splitlines()]


def test_a_paused_refund_moves_and_is_paid_where_it_went(folder: Folder) -> None:
    review = folder.paused()
    said = folder.run("export", "--to", "house.jsonl", "--move")
    assert said.stdout == "exported 1 thread, 7 entries to house.jsonl; 1 set aside here\n"
    refused = folder.run(
        "approve", review, "--by", "dana", "--role", "finance", "-g", "desk:refunds", ok=False
    )
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: thread 'case-17' takes no entries in this store: moved to /")
    assert refused.stderr.count("\n") == 1
    said = folder.run("import", "house.jsonl", "--store", NEW)
    assert said.stdout == "imported 1 thread, 7 entries; 0 continued, 0 here already\n"
    done = folder.json(
        "approve", review, "--by", "dana", "--role", "finance", "-g", "desk:refunds", "--store", NEW
    )
    assert done["outcome"] == "finished"
    assert len(folder.ledger()) == 1
    assert folder.run("verify", "--store", NEW).exit_code == 0
    assert folder.run("replay", "case-17", "-g", "desk:refunds", "--store", NEW).exit_code == 0


def test_what_moved_away_is_no_trouble_and_comes_back_only_by_somebody_s_word(folder: Folder) -> None:
    folder.paused()
    folder.run("run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "paid")
    folder.run("export", "--to", "house.jsonl", "--move")
    for words in (["aside"], ["threads"], ["show", "case-17"], ["explain", "case-17"]):
        said = folder.run(*words).stdout
        assert "moved" in said, words
        assert "take-back" not in said, words
        assert "set aside" not in said, words
    refused = folder.run("take-back", "case-17", ok=False)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "two stores would do its work" in refused.stderr
    assert folder.json("show", "case-17")["aside"].startswith("moved to /")
    said = folder.run("take-back", "case-17", "--not-imported").stdout
    assert said == "case-17 is due; a running worker takes it\n"
    said = folder.run("take-back", "paid", "--not-imported").stdout
    assert said == "paid is set aside no more; it has nothing to do (finished)\n"


def test_a_copy_is_set_aside_until_it_is_taken_back(folder: Folder) -> None:
    review = folder.paused()
    folder.run("export", "--to", "house.jsonl")
    said = folder.run("import", "house.jsonl", "--store", NEW)
    assert (
        "1 unfinished thread set aside, for the file is a copy: `turnout take-back THREAD` once"
        in said.stdout
    )
    assert "imported from a copy" in folder.run("aside", "--store", NEW).stdout
    decide = ("approve", review, "--by", "dana", "--role", "finance", "-g", "desk:refunds", "--store", NEW)
    assert folder.run(*decide, ok=False).exit_code == 1
    folder.run("take-back", "case-17", "--store", NEW)
    assert folder.json(*decide)["outcome"] == "finished"


@pytest.mark.e2e
def test_a_pipe_carries_a_store_to_another_one(folder: Folder) -> None:
    folder.paused()
    folder.paused("case-18")
    said = folder.shell(f"turnout export --to - --move | turnout import - --store {NEW} --json")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert (found["ok"], found["new"], found["file"]) == (True, 2, "the stream")
    assert "exported 2 threads, 14 entries to the stream; 2 set aside here" in said.stderr
    again = folder.shell(f"turnout export --to - --store {NEW} | turnout import - --check")
    assert again.stdout == "the stream is whole: 2 threads\n"


def test_what_is_said_as_json(folder: Folder) -> None:
    folder.paused()
    found = folder.json("export", "--to", "house.jsonl")
    assert found == {
        "ok": True, "file": "house.jsonl", "export": found["export"], "threads": 1, "entries": 7, "values": 0,
        "bytes": (folder.path / "house.jsonl").stat().st_size, "sha256": lines(folder)[-1]["sha256"], "moved": 0,
        "away": 0, "taken": [], "failed": {}, "notes": [],
    }  # fmt: skip
    checked = folder.json("import", "house.jsonl", "--check")
    assert (checked["ok"], checked["threads"], checked["new"]) == (True, 1, 0)
    assert not (folder.path / "new.db").exists()
    imported = folder.json("import", "house.jsonl", "--store", NEW)
    assert imported == {
        "ok": True, "file": "house.jsonl", "export": found["export"], "threads": 1, "new": 1, "continued": 0, "same": 0,
        "entries": 7, "aside": 1, "signed": 0, "refused": {}, "notes": [],
    }  # fmt: skip


def test_threads_are_chosen_and_what_goes_along_is_said(folder: Folder) -> None:
    folder.paused()
    folder.paused("case-18")
    folder.run("fork", "case-17", "--name", "branch", "-g", "desk:refunds")
    folder.run("export", "branch", "--to", "house.jsonl")
    assert [line["thread"] for line in lines(folder) if line["turnout"] == "thread"] == ["case-17", "branch"]
    said = folder.run("export", "branch", "--to", "other.jsonl")
    assert said.stderr == "note: thread case-17 is taken along: branch is a fork of it\n"
    folder.run("export", "--status", "waiting", "--graph", "refunds", "--to", "third.jsonl")
    assert sum(line["turnout"] == "thread" for line in lines(folder, "third.jsonl")) == 2


def test_an_export_that_was_cut_off_is_resumed(folder: Folder) -> None:
    folder.paused()
    folder.paused("case-18")
    folder.run("export", "--to", "house.jsonl")
    whole = (folder.path / "house.jsonl").read_bytes()
    (folder.path / "house.jsonl").write_bytes(whole[: len(whole) // 2])
    refused = folder.run("import", "house.jsonl", "--store", NEW, ok=False)
    assert refused.exit_code == 1
    assert "`turnout export --to house.jsonl --resume` goes on with it" in refused.stderr
    folder.run("export", "--to", "house.jsonl", "--resume")
    assert (folder.path / "house.jsonl").read_bytes() == whole


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("import", "nothing.jsonl"), "error: nothing.jsonl can't be read: No such file or directory\n"),
        (("import", "desk.py"), "error: desk.py is not an export of Turnout; `turnout export --to FILE` makes one\n"),
        (("import", "desk.py", "--check"), "error: desk.py is not an export of Turnout;"),
        (("import", "."), "error: . can't be read: Is a directory\n"),
        (("export", "nobody", "--to", "x.jsonl"), "error: there is no thread 'nobody' in"),
        (("export", "--to", "desk.py"), "error: desk.py is there already; --resume goes on"),
        (("export", "--to", "desk.py", "--resume"), "error: desk.py is not an export of Turnout"),
        (("export", "--to", "no/x.jsonl"), "error: no/x.jsonl can't be made: No such file or directory"),
        (("export", "--to", "x.jsonl", "--store", "sqlite:///none.db"), "error: there is no store at none.db"),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_said_in_one_line(folder: Folder, words: tuple[str, ...], says: str) -> None:
    folder.paused()
    found = folder.run(*words, ok=False)
    assert found.exit_code == 1
    assert found.stderr.startswith(says), found.stderr
    assert found.stderr.count("\n") == 1
    assert not (folder.path / "x.jsonl").exists()


def test_a_bad_file_makes_no_store(folder: Folder) -> None:
    folder.paused()
    folder.run("export", "--to", "house.jsonl")
    data = (folder.path / "house.jsonl").read_bytes()
    (folder.path / "cut.jsonl").write_bytes(data[:-9])
    (folder.path / "altered.jsonl").write_bytes(data.replace(b"A-17", b"A-18", 1))
    for name in ("desk.py", "cut.jsonl", "altered.jsonl", "nothing.jsonl"):
        assert folder.run("import", name, "--store", NEW, ok=False).exit_code == 1
        assert folder.shell(f"cat {name} | turnout import - --store {NEW}").returncode == 1
        assert not (folder.path / "new.db").exists()
    folder.run("import", "house.jsonl", "--store", NEW)


@pytest.mark.parametrize(
    "words",
    [
        ("export",),
        ("export", "--status", "wating", "--to", "x"),
        ("export", "case-17", "--graph", "refunds", "--to", "x"),
        ("export", "--to", "-", "--json"),
        ("export", "--to", "-", "--resume"),
        ("import",),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(folder: Folder, words: tuple[str, ...]) -> None:
    folder.paused()
    assert folder.run(*words, ok=False).exit_code == 2


def test_threads_that_can_not_come_in_are_named_and_the_others_come(folder: Folder) -> None:
    folder.paused()
    folder.run("export", "--to", "house.jsonl")
    folder.paused("case-18")
    folder.run("export", "--to", "both.jsonl")
    folder.run("run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "case-17", "--store", NEW)
    refused = folder.run("import", "both.jsonl", "--store", NEW, ok=False)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(
        "error: thread 'case-17' is here already and differs from entry 1 on: here it is "
    )
    assert refused.stderr.endswith("nothing was imported (--keep-going brings in the others)\n")
    some = folder.run("import", "both.jsonl", "--store", NEW, "--keep-going", ok=False)
    assert some.exit_code == 1
    assert some.stderr.startswith("problem: thread 'case-17' is here already and differs from entry 1 on")
    assert "imported 1 thread, 7 entries" in some.stdout


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.paused()
    monkeypatch.setattr(moving, "EVERY", 0.0)
    said = folder.run("export", "--to", "house.jsonl").stderr.splitlines()
    assert said
    assert all(line.startswith("exporting: ") for line in said)
    said = folder.run("import", "house.jsonl", "--store", NEW).stderr.splitlines()
    assert said[0].startswith("checking: ")
    assert said[-1] == "importing: 1 thread, 7 entries (100 %)"


@pytest.mark.e2e
def test_progress_is_a_bar_on_a_terminal(folder: Folder) -> None:
    folder.paused()
    ours, theirs = pty.openpty()
    program = [str(Path(sys.executable).parent / "turnout"), "export", "--to", "house.jsonl"]
    done = subprocess.run(
        program, cwd=folder.path, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=True, text=True,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert "exporting" in said
    assert "\x1b[" in said
    assert done.stdout == "exported 1 thread, 7 entries to house.jsonl\n"
