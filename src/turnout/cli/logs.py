"""Log lines: as text, or as JSON with the thread, run and step that the code which logs is in."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from turnout.runtime.whereabouts import here

F = TypeVar("F", bound=Callable[..., Any])
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def log_option(command: F) -> F:
    """--log text|json."""
    return click.option(
        "--log", "log_format", type=click.Choice(["text", "json"]), default="text", show_default=True,
        help="How log lines look, on stderr; json has one object a line, with thread, run and step.",
    )(command)  # fmt: skip


def set_up(log_format: str) -> None:
    """Have log lines come out in that format. Text is as Python's logging does it by itself."""
    if log_format != "json":
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def say(log_format: str, text: str, level: int = logging.INFO) -> None:
    """Tell who looks at stderr: where log lines are JSON, as one of them."""
    if log_format == "json":
        logging.getLogger("turnout").log(level, "%s", text)
    else:
        click.echo(text, err=True)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message; thread, run and step where there are; error; and what the
    caller gave as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        place = here.get()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }  # fmt: skip
        if place.thread:
            line["thread"] = place.thread
        if place.run:
            line |= {"run": place.run, "step": place.step}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        line |= {
            name: value for name, value in vars(record).items() if name not in _USUAL and name not in line
        }
        return json.dumps(line, ensure_ascii=False, default=str)
