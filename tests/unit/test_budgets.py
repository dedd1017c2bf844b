"""Budgets are set in code, at run time and in the file; what can't be one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.capped import app_with, look, three
from tests.unit.runs import Work, chain

from turnout import Budget, Context, Failed, Paused, approve, tables
from turnout.errors import InputInvalid, SettingsInvalid
from turnout.testing import open_test_app


async def test_a_budget_that_is_set_while_runs_go_on_holds_from_then_on() -> None:
    async def more(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(look, n=1)
        await ctx.review("go on?")
        await ctx.call(look, n=2)
        return {}

    async with app_with(more) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Paused)
        await app.put_budget(Budget(name="none", per="thread", calls=0))
        await app.resolve(outcome.reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("t/1"), Failed)


@pytest.mark.parametrize(
    ("terms", "word"),
    [
        ({"per": "moon", "calls": 1}, "per must be"), ({"per": "all"}, "caps nothing"),
        ({"per": "all", "calls": -1}, "below 0"), ({"per": "all", "calls": 1, "roles": ("x",)}, "roles"),
        ({"per": "all", "calls": 1, "at_cap": "sing"}, "at_cap"), ({"per": "all", "calls": 1, "name": "a/b"}, "name"),
    ],
)  # fmt: skip
async def test_a_budget_that_cannot_be_is_refused(terms: dict[str, Any], word: str) -> None:
    async with app_with(three) as app:
        with pytest.raises(InputInvalid, match=word):
            await app.put_budget(Budget(**{"name": "b", **terms}))
        assert await app.budgets() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[budgets.a]\nper = "run"\n', "turnout.toml:1: budgets.a: it caps nothing; give it money, tokens, calls or time"),
        ('[budgets.a]\nper = "run"\ncals = 3\n', "turnout.toml:3: budgets.a has no 'cals'; did you mean 'calls'?"),
        ('[budgets.a]\nper = "moon"\ncalls = 3\n', "turnout.toml:2: budgets.a.per: Input should be 'run', 'thread'"),
        ('[budgets.a]\nper = "run"\ndollars = 1e999999\n', "turnout.toml:3: budgets.a.dollars: Input should be less than"),
        ('[budgets.a]\nper = "run"\nseconds = 1e14\n', "a cap is a whole number, not below 0 and not above 9007199254740992"),
        ('[budgets.a]\nper = "run"\ndollars = -1\n', "turnout.toml:3: budgets.a.dollars: Input should be greater than"),
        ('[budgets.a]\nper = "run"\ncalls = 1\nroles = ["x"]\n', "turnout.toml:1: budgets.a: roles are for the review"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "turnout.toml"
    file.write_text(text)
    with pytest.raises(SettingsInvalid) as found:
        tables.find(file)
    assert said in str(found.value)


async def test_budgets_of_the_file_are_set_when_the_app_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "turnout.toml"
    file.write_text('[budgets.day]\nper = "tenant"\nday = true\ndollars = 0.0000019\nseconds = 1.5\n')
    store = f"sqlite:///{tmp_path / 's.db'}"
    async with open_test_app(store, graphs=[chain(three, tools=[look])], config=file) as app:
        [found] = await app.budgets()
        assert (found.name, found.per, found.day, found.caps) == (
            "day",
            "tenant",
            True,
            {"micros": 1, "ms": 1500},
        )
        assert await app.drop_budget("day")
    async with open_test_app(store, graphs=[chain(three, tools=[look])], config=file) as app:
        assert len(await app.budgets("day")) == 1
    async with open_test_app(store, graphs=[chain(three, tools=[look])]) as app:
        assert len(await app.budgets("day")) == 1, "it stays though this app doesn't know of it"
