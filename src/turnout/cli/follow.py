"""After a decision, a signal or a cancel: go on with the thread, or say which command does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click

from turnout.cli.load import Code
from turnout.cli.rest import Waiting, rest, tell
from turnout.cli.session import with_app
from turnout.service.app import App
from turnout.service.outcome import Cancelled, Outcome, Run
from turnout.settings import masked


def follow(
    store: str,
    job: Callable[[App], Awaitable[tuple[str, str]]],
    code: Code,
    *,
    as_json: bool = False,
    cancelled_is_fine: bool = False,
) -> None:
    """Do `job`, which gives a thread and what to say of it; with code at hand drive the thread to its next rest."""

    async def session(app: App) -> tuple[Run, Outcome | Waiting] | None:
        name, said = await job(app)
        if not as_json:
            click.echo(said)
        row = await app.store.thread(name)
        rows = await app.store.runs(name)
        if row is None or row.graph not in app.graphs or not rows:
            return None
        active = next((r for r in rows if r.end_seq is None), rows[-1])
        run = Run(name, active.run)
        return run, await rest(app, run)

    found = with_app(store, session, code=code, work=True)
    if found is not None:
        try:
            tell(store, *found, as_json=as_json, code=code.places)
        except click.exceptions.Exit:
            if not (cancelled_is_fine and isinstance(found[1], Cancelled)):
                raise
    elif not as_json:
        click.echo(
            f"it {'stops' if cancelled_is_fine else 'goes on'} in a running worker, or with: turnout worker MODULE:GRAPH --until-idle --store {masked(store)}"
        )
