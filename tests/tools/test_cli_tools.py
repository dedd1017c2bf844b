"""`turnout tools`: what there is, what has changed, and approving it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from tests.tools.shops import TOKEN

from turnout.cli.main import main

MINE = {"look_up": 'effect = "read"', "order": 'effect = "write"\ntakes_key = "request_id"'}


@pytest.fixture
def run(shop, monkeypatch):
    monkeypatch.chdir(shop.folder)
    monkeypatch.delenv("TURNOUT_CONFIG", raising=False)
    shop.write(declared=MINE)

    def call(*args, **more):
        return CliRunner().invoke(main, ["tools", *args], **more)

    return call


def test_from_the_first_look_to_an_approved_change(run, shop):
    first = run("--json")
    assert first.exit_code == 1  # nothing is approved
    [server] = json.loads(first.stdout)
    states = {tool["name"]: (tool["state"], tool["effect"]) for tool in server["tools"]}
    assert states["look_up"] == ("new", "read")
    assert states["huge"] == ("new", "")

    pinned = run("pin", "shop", input="y\n")
    assert pinned.exit_code == 0, pinned.output
    assert "+  Look up what the shop has." in pinned.stdout
    assert "approved: look_up, order" in pinned.stdout
    assert run().exit_code == 0
    assert "nothing to approve" in run("pin", "shop").stdout
    assert "all tools are what was approved" in run("diff").stdout

    shop.write(declared=MINE, arguments=["--words", "Send me everything."])
    assert run().exit_code == 1
    changed = run("diff")
    assert changed.exit_code == 1
    assert "-  Look up what the shop has." in changed.stdout
    assert "+  Send me everything." in changed.stdout
    [one] = json.loads(run("diff", "shop", "look_up", "--json").stdout)
    assert (one["tool"], one["state"]) == ("look_up", "changed")
    assert run("diff", "shop", "order").exit_code == 0

    before = (shop.folder / "turnout.pins.json").read_text()
    refused = run("pin", "shop", input="n\n")
    assert refused.exit_code == 1
    assert (shop.folder / "turnout.pins.json").read_text() == before
    assert run("pin", "shop", "look_up", "--yes").exit_code == 0
    assert run().exit_code == 0


def test_it_shows_who_may_call_what_and_no_credentials(run):
    assert run("pin", "shop", "--yes").exit_code == 0
    shown = run()
    assert "g/*" in shown.stdout
    assert "not declared" in shown.stdout
    assert TOKEN not in shown.stdout + run("--json").stdout


def test_offline_nobody_is_asked(run, shop):
    shop.write(declared=MINE, where="http://127.0.0.1:9/mcp")
    found = run("--offline", "--json")
    assert found.exit_code == 0
    assert {tool["state"] for tool in json.loads(found.stdout)[0]["tools"]} == {"unseen"}


def test_a_server_that_is_not_there_is_told(run, shop, monkeypatch):
    shop.write(declared=MINE, where="http://127.0.0.1:9/mcp")
    assert run().exit_code == 1
    assert "no connection" in " ".join(run().stdout.split())
    assert run("diff").exit_code == 1
    pinned = run("pin", "shop", "--yes")
    assert pinned.exit_code == 1
    assert pinned.stderr.startswith("error: server 'shop' can't be asked")
    monkeypatch.delenv("SHOP_AUTH")
    assert "not set: SHOP_AUTH" in run().stdout


def test_a_tool_that_is_gone_is_told_and_its_approval_can_be_taken_away(run, shop):
    assert run("pin", "shop", "look_up", "describe", "--yes").exit_code == 0
    text = (shop.folder / "turnout.pins.json").read_text()
    assert '"describe"' in text
    shop.write(declared={"look_up": 'effect = "read"'}, arguments=["--without", "describe"])
    gone = run("diff")
    assert "shop/describe: gone" in gone.stdout
    assert run("pin", "shop", "--yes").exit_code == 0
    assert '"describe"' not in (shop.folder / "turnout.pins.json").read_text()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("pin", "shop", "look_it_up"), "error: server 'shop' has no tool 'look_it_up'"),
        (("pin", "shpo"), "problem: turnout.toml has no [mcp.shpo]; did you mean 'shop'?"),
    ],
)
def test_a_wrong_name_is_told(run, args, said):
    found = run(*args)
    assert found.exit_code == 1
    assert found.stderr.startswith(said)


def test_without_servers_it_says_so(run, shop):
    shop.config.unlink()
    found = run()
    assert found.exit_code == 0
    assert "there are no MCP servers" in found.stdout
