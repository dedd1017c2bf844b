"""The project's own machinery: what is pinned, what may import what, which Python will do."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = sorted((ROOT / "requirements").iterdir())
LOCKED = [path for path in REQUIREMENTS if path.suffix == ".txt"]


def named_in(name: str) -> list[str]:
    lines = (ROOT / f"requirements/{name}.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_runtime_requirements_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert named_in("runtime") == project["dependencies"]


def test_the_requirements_of_the_providers_are_those_of_the_extras():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(named_in("models")) == {*extras["openai"], *extras["anthropic"]}


@pytest.mark.parametrize("extra", ["policy", "mcp", "serve"])
def test_the_requirements_of_an_extra_are_those_of_the_package(extra: str):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(named_in(extra)) == set(extras[extra])


def test_the_requirement_of_presidio_is_that_of_the_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras["presidio"]) < set(named_in("presidio"))


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_no_requirements_file_names_an_index_or_a_folder(path: Path):
    found = re.findall(
        r"\S*://\S*|(?:^|\s)/\S+|--(?:extra-)?index-url|--find-links|--trusted-host", path.read_text()
    )
    assert found == []


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed(path: Path):
    entries = re.split(r"\n(?=\S)", "\n" + re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE))
    entries = [entry.strip() for entry in entries if entry.strip()]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+ ", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_one_package_has_one_version_in_all_venvs():
    pins: dict[str, set[str]] = {}
    for path in LOCKED:
        if path.stem not in ("lock", "litellm"):  # Turnout isn't installed in those
            for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), flags=re.MULTILINE):
                pins.setdefault(name, set()).add(version)
    shared = {
        name: found for name, found in pins.items() if name in (ROOT / "requirements/dev.txt").read_text()
    }
    assert {name: found for name, found in shared.items() if len(found) > 1} == {}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    if not program.exists():
        pytest.skip("import-linter is in the development venv only")
    command = [program, "--no-cache", "--config", ROOT / "pyproject.toml"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_every_import_points_down():
    done = lint_imports(ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("core", "import asyncio", "The core is pure"),
        ("core", "from os import path", "The core is pure"),
        ("core", "from datetime import datetime; import time", "The core is pure"),
        ("core", "import turnout.runtime", "Imports point down"),
        ("core", "from turnout import wiring", "Imports point down"),
        ("errors", "import turnout.core", "Imports point down"),
        ("ports", "import turnout.stores", "Imports point down"),
        ("stores", "import turnout.runtime", "Imports point down"),
        ("runtime", "import turnout.stores", "Imports point down"),
        ("service", "import turnout.stores", "Concrete stores are chosen in wiring alone"),
        ("wiring", "import turnout.cli", "Imports point down"),
        ("cli", "import turnout.stores", "Concrete stores are chosen in wiring alone"),
        ("service", "import turnout.models", "Models are reached through wiring alone"),
        ("cli", "import turnout.guards", "Guardrails are reached through wiring alone"),
        ("guards", "import turnout.runtime", "Imports point down"),
        ("models", "import turnout.runtime", "Imports point down"),
    ],
)
def test_an_import_that_points_up_is_found(tmp_path: Path, module: str, line: str, broken: str):
    shutil.copytree(ROOT / "src/turnout", tmp_path / "turnout", ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / "turnout" / module
    target = target / "mutant.py" if target.is_dir() else target.with_suffix(".py")
    with target.open("a") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"^{broken}.* BROKEN$", done.stdout, flags=re.MULTILINE), done.stdout


def test_a_new_top_level_module_needs_a_place_in_the_layers(tmp_path: Path):
    shutil.copytree(ROOT / "src/turnout", tmp_path / "turnout", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "turnout/somewhere.py").touch()
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "turnout.somewhere" in done.stdout


def test_too_old_a_python_is_refused_with_a_clear_error(tmp_path: Path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\ncase "$2" in *print*) echo 3.9 ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    command = [ROOT / "tools/find-python", str(old)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs Python 3.11 or newer" in done.stderr
    assert "is Python 3.9: too old" in done.stderr
