"""`--help`: a purpose and an example for each command, and the examples work."""

import re
import time

import click
import pytest
from tests.e2e.cli_desk import Folder

from turnout.cli.main import COMMANDS, main


def commands() -> list[tuple[str, click.Command]]:
    context = click.Context(main)
    found = [(name, main.get_command(context, name)) for name in COMMANDS]  # type: ignore[attr-defined]
    return [(name, command) for name, command in found if command is not None]


def test_every_command_is_there_with_a_purpose_of_one_line_and_an_example() -> None:
    assert [name for name, _ in commands()] == list(COMMANDS)
    for name, command in commands():
        text = command.help or ""
        assert text.split("\n")[0].endswith("."), name
        assert re.search(rf"turnout {name}\b", text.split("Example")[1]), name


def test_help_comes_quickly_and_loads_no_store(folder: Folder) -> None:
    begun = time.monotonic()
    said = folder.shell("turnout --help")
    assert said.returncode == 0
    assert "explain" in said.stdout
    assert time.monotonic() - begun < 10  # under 0.5 s on a quiet machine; this only catches the absurd
    loaded = folder.shell("python -X importtime -c 'import turnout.cli.main' 2>&1 | grep -c 'rich\\b'")
    assert loaded.stdout.strip() == "0"


def examples() -> list[str]:
    lines = []
    for name, command in commands():
        if name in ("demo", "new"):  # they have tests of their own
            continue
        shown = (command.help or "").split("Example")[1]
        lines += [line.strip() for line in shown.splitlines() if line.strip().startswith("turnout")]
    return lines


@pytest.mark.e2e
@pytest.mark.parametrize("line", examples())
def test_the_example_of_every_help_works_as_printed(folder: Folder, line: str) -> None:
    review = folder.paused()
    if "turnout landed" in line or "turnout did-not-happen" in line:
        letter = folder.paused("letter", "letter")
        said = folder.json("approve", letter, "--by", "dana", "--role", "finance", "-g", "desk:refunds")
        review = said["reviews"][0]["id"]
    folder.shell("turnout head > head.json")
    if "turnout schedule-" in line:
        folder.run("schedule", "nightly", "desk:refunds", "--cron", "@daily", "--input", '{"order": "A-1"}')
    if "turnout policy" in line:
        folder.rules("candidate", "permit(principal, action, resource);")
    line = line.replace("postgresql://owner@db.internal/turnout", "postgres:help")
    if "turnout import" in line:
        folder.shell("turnout export --to house.jsonl")
    if line == "turnout worker desk:refunds":
        line += " --until-idle"
    if line.startswith("turnout serve"):
        line = f"timeout --preserve-status -s TERM 4 {line.removesuffix(' --port 8800')} --port 0"
    if line.startswith("turnout token revoke"):
        line = line.replace(
            "5f0c2a9d1e77", folder.json("token", "create", "dana", "--role", "viewer")["token"]["id"]
        )
    said = folder.shell(line.replace("rev-5f0c2a9d1e77", review))
    assert said.returncode == 0, said.stderr + said.stdout
    assert "Traceback" not in said.stderr
