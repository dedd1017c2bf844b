"""Waiting for a run to come to rest, and telling what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from turnout.cli.output import console, print_json, value, when, words
from turnout.core.aside import away
from turnout.core.entries import Micros, WriteKnown
from turnout.ports.clock import at, micros
from turnout.service.app import App
from turnout.service.outcome import Cancelled, Failed, Finished, Outcome, Paused, Review, Run

PATIENCE = 5_000_000
"""Microseconds: a timer or a retry that is due sooner is waited for."""


@dataclass(frozen=True)
class Waiting:
    """The run goes on by itself: at `until`, or when `behind` (another run or a child thread) has gone on."""

    until: datetime | None = None
    behind: str = ""
    reviews: tuple[Review, ...] = ()


async def rest(app: App, run: Run) -> Outcome | Waiting:
    """Until the run has ended, waits for somebody, or waits for what may take long (a timer, another run, a child)."""
    while True:
        try:
            return await app.wait(run, timeout=0.5)
        except TimeoutError:
            resting = await _resting(app, run)
            if resting is not None:
                return resting


async def _resting(app: App, run: Run) -> Waiting | None:
    row = await app.store.thread(run.thread)
    if row is None or row.owner or row.status not in ("waiting", "diverged"):
        return None
    view = await app.view(run.thread)
    if view.run is None:
        starts = next((queued.at for queued in view.queue if queued.run == run.number), None)
        return _until(starts) if starts is not None else None
    if view.run.number != run.number:
        return Waiting(
            behind=f"run {run.thread}/{view.run.number}", reviews=tuple(await app.reviews(thread=run.thread))
        )
    if row.wake_at is not None:
        return _until(row.wake_at)
    for step in view.run.steps.values():
        for effect in step.effects.values():
            if effect.kind == "child" and effect.status == "waiting":
                child = await _child(app, effect.child)
                if child is not None:
                    return child
    return None


def _until(moment: Micros) -> Waiting | None:
    return Waiting(until=at(moment)) if moment > micros(datetime.now(UTC)) + PATIENCE else None


async def _child(app: App, thread: str) -> Waiting | None:
    """What a child thread rests on, if it does."""
    rows = await app.store.runs(thread)
    if not rows or rows[-1].end_seq is not None:
        return None
    run = Run(thread, rows[-1].run)
    if rows[-1].graph not in app.graphs:
        return Waiting(
            behind=f"child {thread}: its graph {rows[-1].graph!r} is not at hand (--graphs MODULE:GRAPH)"
        )
    try:
        found = await app.wait(run, timeout=0)
    except TimeoutError:
        return await _resting(app, run)
    return (
        Waiting(behind=f"child {thread}", reviews=tuple(found.reviews)) if isinstance(found, Paused) else None
    )


# --- telling ----------------------------------------------------------------------------------------------------


def outcome_data(run: Run, outcome: Outcome | Waiting) -> dict[str, Any]:
    """The JSON of an outcome: thread, run, outcome (finished, paused, waiting, failed or cancelled), and by outcome

    finished   state
    paused     reviews, signals (their names), divergence, aside
    waiting    until, behind, reviews
    failed     error, writes, state
    cancelled  by, reason, writes
    """
    data: dict[str, Any] = {
        "thread": run.thread,
        "run": run.number,
        "outcome": type(outcome).__name__.lower(),
    }
    for name, found in vars(outcome).items():
        if name == "state":
            data[name] = found.model_dump(mode="json") if found is not None else None
        elif name == "reviews":
            data[name] = [vars(review) for review in found]
        else:
            data[name] = found
    return data


def tell(store: str, run: Run, outcome: Outcome | Waiting, *, as_json: bool, code: tuple[str, ...]) -> None:
    """Print an outcome and the commands that come next; exits with 1 when the run failed or was cancelled."""
    if as_json:
        print_json(outcome_data(run, outcome))
    else:
        _show(store, run, outcome, code)
    if isinstance(outcome, Failed | Cancelled):
        raise click.exceptions.Exit(1)


def _show(store: str, run: Run, outcome: Outcome | Waiting, code: tuple[str, ...]) -> None:
    out = console()
    name = str(run)
    if isinstance(outcome, Finished):
        out.print(f"{name} finished", style="bold green")
        out.print(f"  state   {value(outcome.state.model_dump(mode='json'))}", soft_wrap=True)
    elif isinstance(outcome, Paused):
        out.print(f"{name} is paused", style="bold yellow")
        if outcome.aside:
            out.print(f"  set aside: {words(outcome.aside)}", style="bold red", soft_wrap=True)
        if outcome.divergence is not None:
            found = outcome.divergence
            out.print(f"  this code diverges from the record at {found.where}", soft_wrap=True)
            out.print(
                f"    expected {words(found.expected)}\n    actual   {words(found.actual)}", soft_wrap=True
            )
            out.print(
                "  nothing was sent; bring back the code that it began on, or mend this one"
                " (`turnout check --in-flight` tells)",
                soft_wrap=True,
            )
        for signal in outcome.signals:
            out.print(f"  waits for the signal {signal!r}")
    elif isinstance(outcome, Waiting):
        out.print(f"{name} waits", style="bold yellow")
        if outcome.until is not None:
            out.print(f"  until {when(outcome.until)}; a worker goes on then")
        if outcome.behind:
            out.print(f"  for {outcome.behind}")
    elif isinstance(outcome, Failed):
        out.print(f"{name} failed", style="bold red")
        where = f" ({outcome.error.where})" if outcome.error.where else ""
        out.print(f"  {outcome.error.type}: {words(outcome.error.message)}{where}", soft_wrap=True)
    else:
        who = f" by {words(outcome.by)}" if outcome.by else ""
        out.print(f"{name} was cancelled{who}" + (f": {words(outcome.reason)}" if outcome.reason else ""))
    for write in outcome.writes if isinstance(outcome, Failed | Cancelled) else ():
        out.print(f"  write {_write(write)}", soft_wrap=True)
    for review in outcome.reviews if isinstance(outcome, Paused | Waiting) else ():
        roles = f" (for {', '.join(review.roles)})" if review.roles else ""
        out.print(f"  review {review.id}  {words(review.question)}{roles}", soft_wrap=True)
        out.print(f"    {value(review.payload, 200)}", soft_wrap=True)
    out.print("next:")
    for line in _next(run, outcome, store_flag(store), code):
        out.print(f"  {line}", soft_wrap=True)


def _next(run: Run, outcome: Outcome | Waiting, store: str, code: tuple[str, ...]) -> list[str]:
    graphs = "".join(f" --graphs {place}" for place in code) or " --graphs MODULE:GRAPH"
    lines = []
    if isinstance(outcome, Paused) and outcome.aside:
        child = outcome.aside.startswith("child ")
        if child:
            lines.append(f"turnout aside{store}")
        elif not away(outcome.aside):
            lines.append(f"turnout take-back {run.thread}{store}")
    for review in outcome.reviews if isinstance(outcome, Paused | Waiting) else ():
        lines.append(f"turnout reviews {review.id}{store}")
        lines.append(f"{decide_command(review)}{store}{graphs}")
    for signal in outcome.signals if isinstance(outcome, Paused) else ():
        lines.append(f"turnout signal {run.thread} {signal} --payload '{{}}'{store}{graphs}")
    if isinstance(outcome, Waiting) and outcome.until is not None:
        lines.append(f"turnout worker{store} {' '.join(code) or 'MODULE:GRAPH'}")
    lines.append(f"turnout explain {run.thread}{store}")
    if isinstance(outcome, Finished | Failed):
        lines.append(f"turnout replay {run.thread}{store}{graphs}")
    return lines


def decide_command(review: Review) -> str:
    """The command that decides a review, as its first allowed decision, short of the store."""
    decision = review.allowed[0].replace("_", "-")
    more = {"edit": " --set NAME=VALUE", "respond": " 'TEXT'", "landed": """ --result '"RESULT"'"""}.get(
        decision, ""
    )
    role = f" --role {review.roles[0]}" if review.roles else ""
    return f"turnout {decision} {review.id}{more} --by YOU{role}"


def store_flag(store: str) -> str:
    """` --store URL` for a command that is suggested, if this one was given it."""
    from turnout.settings import DEFAULT_STORE, masked

    context = click.get_current_context()
    given = context.get_parameter_source("store")
    said = given is click.core.ParameterSource.COMMANDLINE and store != DEFAULT_STORE
    return f" --store {masked(store)}" if said else ""


def _write(write: WriteKnown) -> str:
    what = {
        "landed": "landed",
        "did_not_happen": "did not happen",
        "unknown": "OUTCOME UNKNOWN",
        "compensated": "undone",
    }
    return f"{write.name} of step {write.step}: {what[write.outcome]} (key {write.idempotency_key})"
