"""Options and arguments that several commands share, and how their values are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from turnout.errors import InputInvalid
from turnout.settings import DEFAULT_STORE

F = TypeVar("F", bound=Callable[..., Any])


def store_option(command: F) -> F:
    """--store URL."""
    return click.option(
        "--store",
        metavar="URL",
        envvar="TURNOUT_STORE",
        default=DEFAULT_STORE,
        show_default=True,
        help="The store (or set TURNOUT_STORE).",
    )(command)


def json_option(command: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print plain JSON data.")(command)


def graphs_option(command: F) -> F:
    """--graphs MODULE:GRAPH, any number of times."""
    return click.option(
        "--graphs",
        "-g",
        metavar="MODULE:GRAPH",
        multiple=True,
        help="The code: desk:refunds or desk.py:refunds (or set TURNOUT_GRAPHS). May be given again.",
    )(command)


def json_value(text: str, what: str) -> Any:
    """JSON that somebody typed. Raises `InputInvalid` with line and column."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputInvalid(
            f"{what} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}; "
            f'it looks like \'{{"order": "A-17"}}\''
        ) from None
    except RecursionError:
        raise InputInvalid(f"{what} is nested too deeply") from None


def json_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object that somebody typed. Raises `InputInvalid`."""
    value = json_value(text, what)
    if not isinstance(value, dict):
        raise InputInvalid(f'{what} must be a JSON object, like \'{{"order": "A-17"}}\'')
    return value


def file_text(path: str, what: str) -> str:
    """The text of a file, or of standard input for `-`. Raises `InputInvalid`."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputInvalid(f"{what}: {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputInvalid(f"{what}: {path} is not UTF-8 text") from None


def assignments(given: Sequence[str], texts: Collection[str] = ()) -> dict[str, Any]:
    """`--set name=value` options as an object: values are JSON where they are JSON, else text; `texts` are always text."""
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InputInvalid(f"--set {pair!r} must look like name=value, e.g. --set amount=100")
        try:
            found[name.strip()] = value if name.strip() in texts else json.loads(value)
        except json.JSONDecodeError:
            found[name.strip()] = value
    return found
