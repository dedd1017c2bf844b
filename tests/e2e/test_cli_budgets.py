"""Budgets and costs from the command line."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from tests.e2e.conftest import Folder

pytestmark = pytest.mark.e2e


def test_budgets_are_set_listed_and_dropped(folder: Folder) -> None:
    said = folder.run(
        "budgets", "set", "daily", "--per", "tenant", "--day", "--dollars", "5.25", "--calls", "100", "--at-cap", "review",
        "--role", "finance",
    ).stdout  # fmt: skip
    assert said == "budget daily is set\n"
    assert folder.json("budgets") == [
        {
            "name": "daily", "per": "tenant", "day": True, "graph": "", "tenant": "",
            "caps": {"micros": 5_250_000, "calls": 100}, "at_cap": "review", "roles": ["finance"], "accounts": [],
        }
    ]  # fmt: skip
    shown = folder.run("budgets").stdout
    assert "daily  $5.25, 100 calls for each tenant a day; asks finance at the cap" in shown
    assert "nothing was spent yet" in shown
    assert folder.run("budgets", "drop", "daily").stdout == "no budget daily any more\n"
    assert folder.run("budgets", "drop", "daily").stdout == "there was no budget daily\n"
    assert folder.run("budgets").stdout == "no budgets\n"


def test_a_budget_that_says_nothing_is_refused(folder: Folder) -> None:
    folder.run("budgets", "set", "x", "--per", "all", "--calls", "1")
    assert "caps nothing" in folder.run("budgets", "set", "y", "--per", "all", ok=False).stderr
    assert (
        "dollars" in folder.run("budgets", "set", "y", "--per", "all", "--dollars", "lots", ok=False).stderr
    )
    assert [one["name"] for one in folder.json("budgets")] == ["x"]


def test_a_run_stops_at_a_cap_of_turnout_toml_and_goes_on_when_it_is_topped_up(folder: Folder) -> None:
    Path(folder.path, "turnout.toml").write_text(
        '[budgets.few]\nper = "run"\ncalls = 1\nat_cap = "review"\nroles = ["finance"]\n'
    )
    Path(folder.path, "two.py").write_text(TWO)
    assert "Top up budget few?" in folder.run("run", "two:graph", "--thread", "t").stdout
    shown = folder.run("budgets").stdout
    assert "few/run/t/1" in shown
    assert "few  1 call for each run; asks finance at the cap" in shown
    folder.run("edit", "t", "--set", "top_up=1", "--by", "dana", "--role", "finance")
    assert "finished" in folder.run("worker", "two:graph", "--until-idle").stdout + str(
        folder.json("show", "t")
    )
    [found] = folder.json("budgets")
    [account] = found["accounts"]
    assert (account["cap"], account["topped_up"], account["spent"], account["left"]) == (1, 1, 2, 0)


def test_costs_are_told_for_people_and_as_data(folder: Folder) -> None:
    Path(folder.path, "turnout.toml").write_text('[budgets.all]\nper = "all"\nday = true\ncalls = 9\n')
    Path(folder.path, "two.py").write_text(TWO)
    folder.run("run", "two:graph", "--thread", "t")
    [row] = folder.json("costs", "--by", "node", "--since", "7d")
    assert (row["what"], row["calls"], row["micros"]) == ("two ask", 2, 0)
    shown = folder.run("costs", "--by", "model").stdout
    assert shown.split()[:6] == ["model", "money", "tokens", "calls", "time", "assumed"]
    assert "tool look" in shown
    assert folder.run("costs", "--since", "2999-01-01").stdout == "no calls\n"
    assert "is no moment" in folder.run("costs", "--since", "soon", ok=False).stderr


def test_what_the_ledger_lacks_is_added(folder: Folder) -> None:
    Path(folder.path, "turnout.toml").write_text('[budgets.all]\nper = "all"\ncalls = 9\n')
    Path(folder.path, "two.py").write_text(TWO)
    folder.run("run", "two:graph", "--thread", "t")
    with sqlite3.connect(Path(folder.path, "turnout.db")) as db:
        db.execute("DELETE FROM budget_charges")
    db.close()
    assert "budgets rebuild" in json.dumps(folder.run("verify", "--json", ok=False).stdout)
    assert folder.run("budgets", "rebuild").stdout == "2 calls added to the ledger\n"
    folder.run("verify")


TWO = """
from pydantic import BaseModel
from turnout import END, Context, Graph, tool


class Empty(BaseModel):
    n: int = 0


@tool(effect="read")
async def look(n: int) -> int:
    return n


graph = Graph("two", state=Empty, tools=[look])


@graph.node
async def ask(state: Empty, ctx: Context) -> dict:
    return {"n": await ctx.call(look, n=1) + await ctx.call(look, n=2)}


graph.start(ask)
graph.edge(ask, END)
"""
