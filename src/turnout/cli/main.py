"""`turnout`: the service from the command line. Commands are loaded when they are asked for."""

from __future__ import annotations

import importlib
import logging
import os
from difflib import get_close_matches

import click

from turnout.cli.trouble import lines
from turnout.errors import TurnoutError

COMMANDS = {
    "new": "turnout.cli.new:new",
    "demo": "turnout.cli.demo:demo",
    "check": "turnout.cli.check:check",
    "models": "turnout.cli.models:models",
    "tools": "turnout.cli.tools:tools",
    "policy": "turnout.cli.policy:policy",
    "guards": "turnout.cli.guards:guards",
    "run": "turnout.cli.runs:run",
    "worker": "turnout.cli.worker:worker",
    "serve": "turnout.cli.serve:serve",
    "token": "turnout.cli.tokens:token",
    "schedule": "turnout.cli.schedules:schedule",
    "schedules": "turnout.cli.schedules:schedules",
    "schedule-pause": "turnout.cli.schedules:schedule_pause",
    "schedule-resume": "turnout.cli.schedules:schedule_resume",
    "schedule-drop": "turnout.cli.schedules:schedule_drop",
    "threads": "turnout.cli.show:threads",
    "show": "turnout.cli.show:show",
    "explain": "turnout.cli.show:explain",
    "reviews": "turnout.cli.reviews:reviews",
    "approve": "turnout.cli.reviews:approve",
    "edit": "turnout.cli.reviews:edit",
    "reject": "turnout.cli.reviews:reject",
    "respond": "turnout.cli.reviews:respond",
    "landed": "turnout.cli.reviews:landed",
    "did-not-happen": "turnout.cli.reviews:did_not_happen",
    "signal": "turnout.cli.runs:signal",
    "cancel": "turnout.cli.runs:cancel",
    "limits": "turnout.cli.limits:limits",
    "budgets": "turnout.cli.budgets:budgets",
    "costs": "turnout.cli.budgets:costs",
    "aside": "turnout.cli.aside:aside",
    "take-back": "turnout.cli.aside:take_back",
    "outbox": "turnout.cli.outbox:outbox",
    "replay": "turnout.cli.proof:replay",
    "fork": "turnout.cli.runs:fork",
    "whatif": "turnout.cli.proof:whatif",
    "verify": "turnout.cli.proof:verify",
    "head": "turnout.cli.proof:head",
    "migrate": "turnout.cli.migrate:migrate",
    "export": "turnout.cli.moving:export",
    "import": "turnout.cli.moving:import_",
}
"""Every command and where it is, in the order of `turnout --help`."""

INTERRUPTED = (
    "interrupted; what was begun is on record: `turnout threads` lists it, and "
    "`turnout worker MODULE:GRAPH --until-idle` goes on with it"
)


class Refused(click.ClickException):
    """An error of Turnout's as the command line shows it: one line (or one for each mistake in settings), exit code 1."""

    def __init__(self, error: object) -> None:
        self.lines = lines(error)
        super().__init__("\n".join(self.lines))

    def show(self, file: object = None) -> None:
        for line in self.lines:
            click.echo(f"error: {line}", err=True)


class Commands(click.Group):
    """The commands of the list above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, name = place.split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, 1)
            hint = f"Did you mean {near[0]!r}?" if near else "`turnout --help` lists them."
            raise click.UsageError(f"No such command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise Refused(INTERRUPTED) from None
        except TurnoutError as error:
            if _debug(ctx):
                raise
            raise Refused(error) from None
        except Exception as error:
            if _debug(ctx):
                raise
            found = f"unexpected {type(error).__name__}: {error}; `turnout --debug ...` shows where"
            raise Refused(found) from None


def _debug(ctx: click.Context) -> bool:
    return bool(ctx.params.get("debug")) or os.environ.get("TURNOUT_DEBUG", "") not in ("", "0")


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, help="Show tracebacks (or set TURNOUT_DEBUG=1).")
@click.version_option(package_name="turnout", message="turnout %(version)s")
def main(debug: bool) -> None:
    """LLM work on rails: durable runs, human review, and a journal that explains and replays.

    The store is --store URL or TURNOUT_STORE, by default sqlite:///turnout.db in the working folder.
    """
    for name in (
        "psycopg",
        "psycopg.pool",
        "pgqueuer",
    ):  # what they warn of comes as an error of ours, or passes
        logging.getLogger(name).setLevel(logging.NOTSET if debug else logging.CRITICAL)
