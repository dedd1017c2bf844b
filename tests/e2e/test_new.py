"""`turnout new`: the project that it writes runs, and its README is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

TURNOUT = Path(sys.executable).with_name("turnout")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("TURNOUT_", "PYTEST_"))}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )


def new(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    return run(folder, str(TURNOUT), "new", name)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    done = new(tmp_path, "helpdesk")
    assert done.returncode == 0, done.stderr
    assert "turnout run helpdesk.graph:graph" in done.stdout
    return tmp_path / "helpdesk"


def test_the_tests_of_a_new_project_pass(project):
    done = run(project, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_commands_in_the_readme_of_a_new_project_work(project):
    block = re.search(r"```sh\n(.*?)```", (project / "README.md").read_text(), re.S)
    assert block is not None
    review = ""
    for line in block[1].splitlines():
        command = shlex.split(line)
        assert command[0] == "turnout"
        done = run(project, str(TURNOUT), *[review if word == "REVIEW" else word for word in command[1:]])
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if command[1] == "run":
            [review] = set(re.findall(r"rev-[0-9a-f]{12}", done.stdout))
            assert not (project / "outbox.jsonl").exists()
        if command[1] == "approve":
            [sent] = (project / "outbox.jsonl").read_text().splitlines()
            assert json.loads(sent)["to"] == "ada"
        if command[1] == "replay":
            assert "identical" in done.stdout
    assert review


def test_nothing_of_the_templates_is_left_in_a_new_project(project):
    files = [path for path in project.rglob("*") if path.is_file()]
    assert {str(path.relative_to(project)) for path in files} == {
        "helpdesk/__init__.py", "helpdesk/graph.py", "tests/test_graph.py", "README.md", "pyproject.toml", ".gitignore",
    }  # fmt: skip
    for path in files:
        text = path.read_text()
        assert not re.search(r"@[A-Z]+@", text)
        assert "://" not in text


@pytest.mark.parametrize(
    "name", ["my-desk", "3x", "../a", "a/b", "class", "", "Desk", "json", "turnout", "tests"]
)
def test_a_bad_name_is_refused_in_one_line(tmp_path, name):
    done = new(tmp_path, name)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_word_of_python_s_own_is_said_to_be_one(tmp_path):
    assert "'class' is a word of Python's own" in new(tmp_path, "class").stderr


def test_a_folder_that_is_not_empty_stays_as_it_is(tmp_path):
    (tmp_path / "helpdesk").mkdir()
    (tmp_path / "helpdesk" / "notes.txt").write_text("mine")
    done = new(tmp_path, "helpdesk")
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert [path.name for path in (tmp_path / "helpdesk").iterdir()] == ["notes.txt"]


def test_a_file_of_that_name_stays_as_it_is(tmp_path):
    (tmp_path / "helpdesk").write_text("mine")
    done = new(tmp_path, "helpdesk")
    assert done.returncode == 1
    assert (tmp_path / "helpdesk").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "helpdesk").mkdir()
    assert new(tmp_path, "helpdesk").returncode == 0
    assert (tmp_path / "helpdesk" / "helpdesk" / "graph.py").is_file()
