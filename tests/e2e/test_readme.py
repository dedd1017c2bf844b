"""What a newcomer types, and what somebody types at 3 a.m.: the commands of the pages exist and work."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import click
import pytest
from tests.e2e.cli_desk import Folder

from turnout.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[2]
TOUR = re.compile(r"^```console\n(?P<tour>.*?)^```", re.M | re.S)
ACTIVATE = ". .venv/bin/activate"
NEED_CODE = {"fork", "replay", "whatif"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples/agentdojo/README.md"]


def tour() -> list[str]:
    """The commands of README's tour, without the one that makes the programs of the venv known."""
    found = TOUR.search((ROOT / "README.md").read_text())
    assert found is not None
    lines = [line.removeprefix("$ ") for line in found["tour"].splitlines() if line.startswith("$ ")]
    assert lines[0] == ACTIVATE
    return lines[1:]


def commands() -> list[tuple[str, str]]:
    """Every `turnout ...` of the pages, on a line of its own or in the text, with the page that says it."""
    found = []
    for page in PAGES:
        text = page.read_text()
        said = re.findall(r"^(?: {4}|\$ )(turnout .*)$", text, re.M) + re.findall(r"`(turnout [^`]*)`", text)
        found += [(str(page.relative_to(ROOT)), line) for line in said]
    return found


@pytest.mark.e2e
def test_the_tour_of_the_readme_works_as_written_and_ends_identically(folder: Folder) -> None:
    marked = [f"echo '== {number}' && {line}" for number, line in enumerate(tour())]
    done = folder.shell("set -e\n" + "\n".join(marked))
    assert done.returncode == 0, done.stdout + done.stderr
    *_, explained, replayed = re.split(r"^== \d+\n", done.stdout, flags=re.M)
    assert "yes, identically" in explained
    assert "identical" in replayed.splitlines()[-1]
    assert done.stderr == ""


def test_the_incident_page_has_the_commands_that_an_incident_takes() -> None:
    named = {shlex.split(line)[1] for page, line in commands() if page == "docs/incident.md"}
    assert named >= {"threads", "explain", "cancel", "landed", "did-not-happen", "replay", "whatif", "verify"}


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_of_the_pages_exists_and_takes_what_it_is_given(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    _, name, *given = itertools.takewhile(lambda word: word not in ("&&", ">"), words)
    assert name in COMMANDS, f"{page}: {line}"
    command = main.get_command(click.Context(main), name)  # type: ignore[attr-defined]
    named = all(
        word.startswith("-") for word in given
    )  # in the text, `turnout verify --against` says no file
    command.make_context(name, given, resilient_parsing=named)


@pytest.mark.parametrize(
    ("page", "line"), [(page, line) for page, line in commands() if line.split()[1] in NEED_CODE]
)
def test_a_command_that_needs_the_code_says_where_it_is_or_its_page_sets_it_once(
    page: str, line: str
) -> None:
    set_once = "export TURNOUT_GRAPHS=" in (ROOT / page).read_text()
    assert set_once or "--graphs" in shlex.split(line, comments=True), f"{page}: {line}"
