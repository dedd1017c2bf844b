"""`turnout policy`, and policy in the commands that run and show."""

import json

from tests.e2e.cli_desk import Folder

RULES = """
@id("reads") permit(principal, action == Action::"call", resource is Tool) when { resource.effect == "read" };
@id("small") permit(principal, action == Action::"call", resource == Tool::"send_refund") when { context.args.amount <= 100 };
@id("big") @review("finance") @reason("over 1 euro")
permit(principal, action == Action::"call", resource == Tool::"send_refund") when { context.args.amount > 100 };
"""
RUN = ("run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "case")


def test_a_call_is_held_approved_and_explained_under_the_rules_of_the_folder(folder: Folder) -> None:
    folder.rules("policies", RULES)
    held = folder.run(*RUN)
    assert "turnout approve" in held.stdout
    assert folder.ledger() == []
    shown = folder.run("reviews", "case").stdout
    assert "May refunds.pay call send_refund? over 1 euro" in shown
    assert "a yes is for" in shown
    done = folder.run("approve", "case", "--by", "dana", "--role", "finance", "-g", "desk:refunds")
    assert "case/1 finished" in done.stdout
    assert len(folder.ledger()) == 1
    page = folder.run("explain", "case", "-g", "desk:refunds").stdout
    assert "policy allows it: reads" in page
    assert "policy wants a person's yes: big" in page
    assert "approved by dana" in page
    assert "yes, identically" in page
    calls = folder.json("explain", "case")["calls"]
    assert [verdict["policies"] for call in calls for verdict in call["verdicts"]] == [["reads"], ["big"]]
    assert calls[1]["consents"][0]["by"] == ["dana"]


def test_the_folder_is_that_of_turnout_toml(folder: Folder) -> None:
    folder.rules("rules", RULES)
    (folder.path / "turnout.toml").write_text('[policy]\nfolder = "rules"\n')
    assert "turnout approve" in folder.run(*RUN).stdout
    assert "rules: 3 rules, no problem" in folder.run("policy", "check", "-g", "desk:refunds").stdout
    (folder.path / "turnout.toml").write_text('[policy]\nfolder = "rulse"\n')
    refused = folder.run(*RUN, ok=False)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: turnout.toml:2: policy.folder: rulse is no folder; ")
    (folder.path / "turnout.toml").write_text('[policy]\nfodler = "rules"\n')
    assert "did you mean 'folder'?" in folder.run(*RUN, ok=False).stderr


def test_check_tells_problems_and_warnings_with_file_and_line_and_fails_with_one(folder: Folder) -> None:
    place = folder.rules("candidate", RULES + 'permit(principal, action, resource == Tool::"send_refnud");')
    said = folder.run("policy", "check", str(place), "-g", "desk:refunds")
    assert (
        "warning: rules.cedar:6: Tool::\"send_refnud\" is not known here; did you mean 'send_refund'?"
        in said.stdout
    )
    assert "warning: write post_letter of graph refunds: no rule allows it" in said.stdout
    assert (
        folder.run("policy", "check", str(place), "-g", "desk:refunds", "--strict", ok=False).exit_code == 1
    )
    folder.rules(
        "candidate",
        RULES
        + "permit(principal, action, resource) when { 1 > };\npermit(principal, action, resource) when { context.args.amount > 1 };",
    )
    said = folder.run("policy", "check", str(place), "-g", "desk:refunds", ok=False)
    assert said.exit_code == 1
    assert "problem: rules.cedar:6: unexpected token" in said.stdout
    assert "problem: rules.cedar:7: attribute `args.amount`" in said.stdout
    assert "(for tool order_total)" in said.stdout
    data = json.loads(
        folder.run("policy", "check", str(place), "-g", "desk:refunds", "--json", ok=False).stdout
    )
    assert data["ok"] is False
    assert data["problems"][0]["line"] == 6
    assert [rule["id"] for rule in data["rules"]][:3] == ["reads", "small", "big"]


def test_check_without_rules_says_where_they_would_be(folder: Folder) -> None:
    refused = folder.run("policy", "check", ok=False)
    assert refused.exit_code == 2
    assert "policies/" in refused.stderr
    refused = folder.run("policy", "check", "nowhere", ok=False)
    assert refused.exit_code == 1
    assert "nowhere is no folder" in refused.stderr


def test_schema_prints_what_a_rule_can_be_about(folder: Folder) -> None:
    assert 'action "call" appliesTo' in folder.run("policy", "schema").stdout
    said = folder.run("policy", "schema", "-g", "desk:refunds").stdout
    assert "type send_refund_arguments = { order: String, amount: Long };" in said


def test_backtest_shows_what_flips_and_fails_with_one_when_something_does(folder: Folder) -> None:
    folder.run(*RUN)
    assert len(folder.ledger()) == 1
    place = folder.rules("candidate", RULES)
    said = folder.run("policy", "backtest", str(place), "--since", "30d", "-g", "desk:refunds", ok=False)
    assert said.exit_code == 1
    assert "refunds.pay: send_refund  allow -> review by finance  1 call" in said.stdout
    assert "case #" in said.stdout
    assert "over 1 euro" in said.stdout
    data = json.loads(
        folder.run("policy", "backtest", str(place), "-g", "desk:refunds", "--json", ok=False).stdout
    )
    assert (data["calls"], data["derived"], data["unchanged"]) == (2, 2, 1)
    assert data["flips"][0]["examples"][0]["args"] == {"order": "A-1", "amount": 300}
    folder.rules("candidate", "permit(principal, action, resource);")
    assert "all would be decided the same" in folder.run("policy", "backtest", str(place)).stdout
    folder.rules("candidate", RULES)
    assert folder.run("policy", "backtest", str(place), "--since", "2100-01-01").exit_code == 0
    assert folder.run("policy", "backtest", str(place), "--graph", "other").exit_code == 0
    assert "say 30d, 12h" in folder.run("policy", "backtest", str(place), "--since", "soon", ok=False).stderr
    assert len(folder.ledger()) == 1


def test_whatif_under_other_rules_shows_the_calls_that_they_stop(folder: Folder) -> None:
    folder.run(*RUN)
    place = folder.rules(
        "candidate",
        RULES.replace('@review("finance")', "").replace(
            'permit(principal, action == Action::"call", resource == Tool::"send_refund") when { context.args.amount > 100 }',
            'forbid(principal, action, resource == Tool::"send_refund") when { context.args.amount > 100 }',
        ),
    )
    said = folder.run(
        "whatif", "case", "-g", "desk:refunds", "--policy", str(place), "--fail-on-change", ok=False
    )
    assert said.exit_code == 1
    assert "would be denied: over 1 euro (big)" in " ".join(said.stdout.split())
    assert (
        folder.json("whatif", "case", "-g", "desk:refunds", "--policy", str(place))["stopped"][0]["step"]
        == "pay.1"
    )
    assert len(folder.ledger()) == 1


def test_check_of_a_graph_notes_its_writes_that_no_rule_is_about(folder: Folder) -> None:
    said = folder.run("check", "desk:refunds").stdout
    assert "note: write send_refund of graph refunds: no rule says who may call it" in said
    folder.rules("policies", RULES)
    said = folder.run("check", "desk:refunds").stdout
    assert "send_refund of graph" not in said
    assert "note: write post_letter of graph refunds: no rule allows it" in said
    [data] = folder.json("check", "desk:refunds")
    assert len(data["notes"]) == 1
