"""`turnout new`: a small project that runs, with its test."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import click

from turnout.errors import UsageError

FILES = {
    "{name}/__init__.py": None,
    "{name}/graph.py": "graph.py.in",
    "tests/test_graph.py": "test_graph.py.in",
    "README.md": "README.md.in",
    "pyproject.toml": "pyproject.toml.in",
    ".gitignore": "gitignore.in",
}
"""The files of a new project, and the templates (in `project/`) they are made from."""


@click.command()
@click.argument("name")
def new(name: str) -> None:
    """Write a small project into the folder NAME.

    It has a graph with a review, a test and a README.

    \b
    Example:
      turnout new helpdesk
    """
    folder = Path(name)
    _check_name(name)
    _check_folder(folder)
    try:
        _write(folder, name)
    except OSError as error:
        raise UsageError(f"the project can't be written: {error}; mend that and try again") from None
    click.echo(f"Made {name}/ with a graph ({name}/graph.py), its test and a README. Next:\n")
    click.echo(f"  cd {name}")
    given = '{"customer": "ada", "message": "I want my money back"}'
    click.echo(f"  turnout run {name}.graph:graph --thread ticket-1 --input '{given}'")
    click.echo("  python -m pytest")


def _write(folder: Path, name: str) -> None:
    templates = files("turnout.cli").joinpath("project")
    for place, template in FILES.items():
        text = templates.joinpath(template).read_text(encoding="utf-8") if template else ""
        text = text.replace("@NAME@", name).replace("@VERSION@", version("turnout"))
        path = folder / place.format(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _check_name(name: str) -> None:
    """Refuse what can't be imported, or would stand in the way of something else. Raises `UsageError`."""
    if keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} is a word of Python's own, which no module can be called; choose another, like my_{name.lower()}"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        fits = re.fullmatch(r"[a-z][a-z0-9_]*", better) and not keyword.iskeyword(better)
        hint = better if fits else "helpdesk"
        raise UsageError(
            f"{name!r} can't be a project's name: a lower-case letter, then letters, digits and _ (like {hint})"
        )
    installed = importlib.util.find_spec(name)
    taken = installed is not None and installed.origin is not None
    if taken or name in sys.stdlib_module_names or name in ("test", "tests", "outbox"):
        raise UsageError(f"{name!r} would hide a Python module of that name; choose another, like my_{name}")


def _check_folder(folder: Path) -> None:
    """Refuse a folder that isn't empty. Raises `UsageError`."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} exists and is not a folder; choose another name")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"the folder {folder} is not empty and stays as it is; choose another name")
