"""The command line: what works, in one process and through the installed program."""

import json
import re

import pytest
from tests.e2e.cli_desk import Folder

# --- the way of a run ---------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_a_thread_is_run_paused_approved_explained_replayed_and_verified_from_a_shell(folder: Folder) -> None:
    first = folder.shell("""turnout run desk:refunds --input '{"order": "A-17"}' --thread case-17 --by eve""")
    assert first.returncode == 0, first.stderr
    command = next(line.strip() for line in first.stdout.splitlines() if "turnout approve" in line)
    second = folder.shell(command.replace("YOU", "dana"))
    assert "case-17/1 finished" in second.stdout, second.stderr
    assert len(folder.ledger()) == 1
    page = folder.shell("turnout explain case-17 --graphs desk:refunds", COLUMNS="100")
    for said in (
        "What state",
        "order_total",
        "WRITE send_refund",
        "dana",
        "asked finance",
        "yes, identically",
    ):
        assert said in page.stdout, said
    assert "\x1b" not in page.stdout
    assert max(map(len, page.stdout.splitlines())) <= 100
    assert not re.search(r" $", page.stdout, re.M)
    assert folder.shell("turnout replay --all --graphs desk:both").returncode == 0
    assert folder.shell("turnout head > head.json && turnout verify --against head.json").returncode == 0
    assert len(folder.ledger()) == 1


def test_run_says_what_came_of_it_and_fails_with_one_when_the_run_fails(folder: Folder) -> None:
    done = folder.json(
        "run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "small", "--key", "k"
    )
    assert (done["thread"], done["run"], done["outcome"]) == ("small", 1, "finished")
    assert done["state"]["receipt"] == "R-A-1"
    again = folder.json(
        "run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "small", "--key", "k"
    )
    assert again["run"] == 1
    assert len(folder.ledger()) == 1
    failed = folder.run("run", "desk:refunds", "--input", '{"order": "bad"}', ok=False)
    assert failed.exit_code == 1
    assert "ValueError: no such order" in failed.stdout
    (folder.path / "in.json").write_text('{"order": "A-0"}')
    assert "finished" in folder.run("run", "desk.py:refunds", "--input-file", "in.json").stdout
    assert (
        "finished" in folder.run("run", "desk:refunds", "--input-file", "-", input='{"order": "A-0"}').stdout
    )


def test_a_run_behind_another_or_behind_a_timer_says_so_instead_of_hanging(folder: Folder) -> None:
    folder.paused()
    queued = folder.json("run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "case-17")
    assert (queued["outcome"], queued["behind"]) == ("waiting", "run case-17/1")
    assert len(queued["reviews"]) == 1
    later = folder.json("run", "desk:waits", "--input", '{"order": "later"}', "--thread", "t")
    assert (later["outcome"], later["until"] is not None) == ("waiting", True)


def test_a_decision_needs_the_role_and_without_code_names_the_command_that_goes_on(folder: Folder) -> None:
    review = folder.paused()
    refused = folder.run("approve", review, "--by", "dana", ok=False)
    assert refused.exit_code == 1
    assert "is for finance" in refused.stderr
    stale = folder.run("approve", review, "--by", "dana", "--role", "finance", "--shown", "00", ok=False)
    assert stale.exit_code == 1
    assert "look at it again" in stale.stderr
    done = folder.run("approve", review, "--by", "dana", "--role", "finance")
    assert "turnout worker" in done.stdout
    assert folder.ledger() == []
    late = folder.run("reject", review, "--by", "zoe", "--role", "finance", ok=False)
    assert late.exit_code == 1
    assert "dana" in late.stderr
    assert "1 finished" in folder.run("worker", "desk:refunds", "--until-idle").stdout
    assert len(folder.ledger()) == 1


def test_an_edit_takes_pairs_or_json_and_keeps_types(folder: Folder) -> None:
    review = folder.paused()
    wrong = folder.run("edit", review, "--set", "amount=lots", "--by", "d", "--role", "finance", ok=False)
    assert "amount" in wrong.stderr
    done = folder.json(
        "edit", review, "--payload", '{"amount": 100}', "--by", "d", "--role", "finance", "-g", "desk:refunds"
    )
    assert done["state"]["amount"] == 100
    assert folder.ledger()[0].startswith("A-17 100 ")


def test_reviews_lists_and_shows_with_the_digest(folder: Folder) -> None:
    review = folder.paused()
    assert [found["id"] for found in folder.json("reviews", "--role", "finance")] == [review]
    assert folder.json("reviews", "--role", "legal") == []
    whole = folder.json("reviews", review)
    card = folder.run("reviews", review).stdout
    assert whole["shown"] in card
    elsewhere = f"sqlite:///{folder.path}/turnout.db"
    for words in (["reviews"], ["reviews", review]):
        assert folder.run(*words, "--store", elsewhere).stdout.rstrip().endswith(f" --store {elsewhere}"), (
            words
        )
    assert "9000" in card
    folder.run("reject", review, "--by", "d", "--role", "finance", "--comment", "no")
    assert folder.json("reviews") == []
    assert folder.json("reviews", "--status", "all")[0]["status"] == "reject"
    assert "reject by d" in folder.run("reviews", review).stdout


def test_a_review_that_was_edited_shows_what_was_asked_and_what_it_became_by_whom(folder: Folder) -> None:
    review = folder.paused()
    before = folder.json("reviews", review)
    folder.run("edit", review, "--set", "amount=100", "--by", "dana", "--role", "finance")
    after = folder.json("reviews", review)
    assert (after["payload"]["amount"], after["shown"] != before["shown"]) == (100, True)  # what is asked now
    asked, _, became = folder.run("reviews", review).stdout.partition("changed by dana")
    assert ("9000" in asked, before["shown"] in asked, "100" in asked) == (True, True, False)
    assert ("100" in became, after["shown"] in became) == (True, True)


def test_threads_show_and_explain_look_back(folder: Folder) -> None:
    folder.paused("case-17")
    folder.run("run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "small")
    assert [row["thread"] for row in folder.json("threads")] == ["case-17", "small"]
    assert [row["thread"] for row in folder.json("threads", "--status", "waiting")] == ["case-17"]
    assert [row["thread"] for row in folder.json("threads", "--search", "mal")] == ["small"]
    assert [row["thread"] for row in folder.json("threads", "--limit", "1", "--after", "case-17")] == [
        "small"
    ]
    assert folder.json("show", "small", "--at", "2")["state"]["amount"] == 0
    shown = folder.json("show", "small", "--entries")
    assert [entry["seq"] for entry in shown["entries"]] == list(range(1, shown["head"] + 1))
    assert shown["runs"][0]["status"] == "finished"
    report = folder.json("explain", "small", "--at", "2")
    assert (report["at"], report["status"]) == (2, "running")
    assert "waits for review" in folder.run("explain", "case-17").stdout
    assert "amount 0 -> 300" in folder.run("explain", "small", "--diff").stdout


def test_nothing_in_a_journal_can_talk_to_the_terminal(folder: Folder) -> None:
    evil = "\x1b]0;gotcha\x07\x1b[31m[bold]x[/bold]\u202e"
    folder.json("run", "desk:refunds", "--input", json.dumps({"order": evil}), "--thread", "case")
    review = folder.json("reviews")[0]["id"]
    folder.run("reject", review, "--by", evil, "--role", "finance", "--comment", evil)
    for words in (["explain", "case"], ["show", "case", "--entries"], ["reviews", review], ["threads"]):
        said = folder.run(*words).stdout
        assert "\x1b" not in said
        assert "\x07" not in said
        assert "\u202e" not in said


def test_a_fork_waits_for_a_word_before_it_pays_again(folder: Folder) -> None:
    folder.run("run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "small")
    made = folder.json("fork", "small", "--at", "5", "--set", "amount=7", "--name", "f", "-g", "desk:refunds")
    assert made == {"thread": "f", "run": 1, "parent": "small"}
    assert len(folder.ledger()) == 1
    assert "forked from small at entry 5" in folder.run("explain", "f").stdout
    went = folder.json(
        "fork", "small", "--at", "3", "--update", '{"amount": 9}', "-g", "desk:refunds", "--go"
    )
    assert went["outcome"] == "finished"


def test_replay_names_the_first_divergence_and_whatif_the_difference(folder: Folder) -> None:
    folder.run("run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "small")
    same = folder.json("whatif", "small", "-g", "desk:refunds")
    assert (same["same"], same["changed"], same["gap"]) == (True, {}, None)
    folder.paused()
    different = folder.run("whatif", "case-17", "-g", "desk_v2:refunds", "--fail-on-change", ok=False)
    assert different.exit_code == 1
    assert "send_refund" in different.stdout
    assert folder.run("whatif", "case-17", "-g", "desk_v2:refunds").exit_code == 0
    diverged = folder.run("replay", "case-17", "-g", "desk_v2:refunds", ok=False)
    assert diverged.exit_code == 1
    assert "expected" in diverged.stdout
    assert len(folder.ledger()) == 1
    page = folder.run("explain", "case-17", "-g", "desk_v2:refunds").stdout
    assert "not with this code" in page


def test_check_prints_a_graph_its_problems_a_flowchart_and_what_is_in_flight(folder: Folder) -> None:
    assert "look_up" in folder.run("check", "desk:refunds").stdout
    chart = folder.run("check", "desk:refunds", "--mermaid").stdout
    assert chart.startswith("flowchart TD")
    assert '-->|"small refund"|' in chart
    (folder.path / "broken.py").write_text(
        "from pydantic import BaseModel\nfrom turnout import Graph\nimport datetime\n\n"
        "class S(BaseModel):\n    x: int = 0\n\ng = Graph('g', state=S)\n\n"
        "@g.node\nasync def one(state, ctx):\n    return {'x': datetime.datetime.now().year}\n\n"
        "@g.node\nasync def two(state, ctx):\n    return {}\n\ng.start('oen')\ng.edge(one, 'twoo')\n"
    )
    broken = folder.run("check", "broken:g", ok=False)
    assert broken.exit_code == 1
    assert broken.stdout.count("problem:") >= 3
    assert "broken.py:12" in broken.stdout
    [data] = json.loads(folder.run("check", "broken:g", "--json", ok=False).stdout)
    assert not data["ok"]
    assert data["warnings"][0]["line"] == 12
    refused = folder.run("run", "broken:g", ok=False)
    assert "turnout check" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    folder.paused()
    adopted = folder.json("check", "--in-flight", "-g", "desk_v2:refunds")
    assert [one["adopted"] for one in adopted] == [True]
    changed = (folder.path / "desk.py").read_text().replace("Refund this order?", "Really?")
    (folder.path / "desk_reworded.py").write_text(changed)
    refused = folder.run("check", "--in-flight", "-g", "desk_reworded:refunds", ok=False)
    assert refused.exit_code == 1
    assert "0 of 1" in refused.stdout, refused.output


def test_labels_of_a_flowchart_are_escaped_and_subgraphs_are_blocks(folder: Folder) -> None:
    (folder.path / "nested.py").write_text(
        "from pydantic import BaseModel\nfrom turnout import END, Graph, field, rule\n\n"
        "class S(BaseModel):\n    x: int = 0\n\ninner = Graph('inner', state=S)\n\n"
        "@inner.node\nasync def a(state, ctx):\n    return {}\n\ninner.start(a)\ninner.edge(a, END)\n"
        "outer = Graph('outer', state=S)\nouter.node(inner)\n\n"
        "@outer.node\nasync def b(state, ctx):\n    return {}\n\nouter.start(inner)\nouter.edge(inner, b)\n"
        "outer.route(b, [rule('a \"b\" | <c>;', field('x') > 1, to=inner)], default=END)\n"
    )
    chart = folder.run("check", "nested:outer", "--mermaid").stdout
    assert re.search(r'subgraph \w+\["inner"\]\n\s+n0\["a"\]\n\s+end', chart)
    assert '|"a #34;b#34; #124; #60;c#62;#59;"|' in chart
    assert "n0 --> n1" in chart


def test_signals_and_cancels_reach_the_thread(folder: Folder) -> None:
    paused = folder.json("run", "desk:waits", "--input", '{"order": "A"}', "--thread", "w")
    assert paused["signals"] == ["goods-returned"]
    said = folder.run("signal", "w", "goods-returned", "--payload", '{"n": 1}', "-g", "desk:waits").stdout
    assert "w/1 finished" in said
    folder.json("run", "desk:waits", "--input", '{"order": "A"}', "--thread", "v")
    cancelled = folder.run("cancel", "v", "--by", "dana", "--reason", "enough", "-g", "desk:waits")
    assert "cancelled by dana: enough" in cancelled.stdout
    nothing = folder.run("cancel", "v", ok=False)
    assert nothing.exit_code == 1


def test_graphs_and_store_come_from_the_environment_too(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_STORE", "sqlite:///other.db")
    monkeypatch.setenv("TURNOUT_GRAPHS", "desk:refunds, desk:waits")
    review = folder.paused()
    assert (folder.path / "other.db").exists()
    assert not (folder.path / "turnout.db").exists()
    assert "finished" in folder.run("approve", review, "--by", "d", "--role", "finance").stdout
    assert folder.json("replay", "--all")[0]["identical"]


def test_whatif_finds_no_change_on_a_thread_that_waits_when_the_code_is_the_same(folder: Folder) -> None:
    folder.paused()
    assert folder.json("whatif", "case-17", "-g", "desk:refunds")["same"]


def test_a_child_whose_graph_is_not_at_hand_is_named_and_found_with_graphs(folder: Folder) -> None:
    (folder.path / "family.py").write_text(
        "from pydantic import BaseModel\nfrom turnout import END, Graph\n\nclass S(BaseModel):\n    x: int = 0\n\n"
        "child = Graph('child', state=S)\n\n@child.node\nasync def one(state, ctx):\n    return {'x': 1}\n\n"
        "child.start(one)\nchild.edge(one, END)\nparent = Graph('parent', state=S)\n\n"
        "@parent.node\nasync def two(state, ctx):\n    return {'x': (await ctx.run('child', {}))['x'] + 1}\n\n"
        "parent.start(two)\nparent.edge(two, END)\n"
    )
    waiting = folder.json("run", "family:parent", "--thread", "p")
    assert waiting["outcome"] == "waiting"
    assert "'child' is not at hand" in waiting["behind"]
    folder.run("worker", "family:parent", "family:child", "--until-idle")
    assert folder.json("show", "p")["state"] == {"x": 2}
    done = folder.json("run", "family:parent", "--thread", "q", "--graphs", "family:child")
    assert done["state"] == {"x": 2}


@pytest.mark.e2e
def test_a_page_that_is_cut_by_head_ends_quietly(folder: Folder) -> None:
    folder.paused()
    said = folder.shell("turnout show case-17 --entries --json | head -1")
    assert said.stderr == ""
