"""The demo as it is told on the screen: two processes, one kill, what became of it, and what to type next."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from turnout.demo import batch, local, place, results
from turnout.demo.batch import Batch
from turnout.demo.desk import ACCOUNT_CURRENCY, desk
from turnout.demo.place import Place
from turnout.demo.results import BOOKED, UNBOOKED, UNREAD, Proof, Result
from turnout.demo.watch import Seen, Work
from turnout.demo.work import reached
from turnout.errors import SettingsInvalid
from turnout.service.app import App
from turnout.service.outcome import Review
from turnout.wiring import open_app

COLOURS = {"paid": "green", "waiting": "yellow", "rejected": "red", "failed": "red"}
GRAPHS = "--graphs turnout.demo.desk:desk"


async def run(
    url: str, console: Console, model: str = "scripted",
    then: Callable[[App, Callable[[str], None]], Awaitable[None]] | None = None,
) -> bool:  # fmt: skip
    """Run the demo on the store at `url`, with the model `scripted` or `local`. False when the proof fails, which would
    be a bug. At the end `then` is given the desk's app, at work, and what takes words on this demo for others.

    Raises `SettingsInvalid` (the store isn't this demo's to use) or `TurnoutError` (a process broke).
    """
    if model == "local" and not local.available():
        raise SettingsInvalid(local.MISSING)
    where, inbox = place.at(url), batch.load()
    with place.held(where) as tell:
        where = place.make_fresh(where, inbox)
        _introduce(console, where, inbox, model)
        async with open_app(where.address, graphs=[desk], work=False) as app:
            killed = await _work_and_kill(console, app, where, len(inbox.requests), model)
            await _work_to_the_end(console, app, where, killed, len(inbox.requests), model)
            _table(console, await results.results(app, inbox, killed))
            with _progress(console) as show:
                proof = await results.prove(
                    app, where, lambda n: show(f"replaying {n} of {len(inbox.requests)}")
                )
            _proof(console, where, proof)
            _next(console, where, await app.reviews(), killed)
        if proof.holds and then is not None:
            async with (
                reached(model) as found,
                open_app(where.address, graphs=[desk], models=found, config="") as app,
            ):
                await then(app, tell)
        return proof.holds


def _introduce(console: Console, where: Place, inbox: Batch, model: str) -> None:
    console.print(f"[bold]A payments desk[/]: {len(inbox.requests)} requests, and a crash in the middle.")
    console.print(f"  store    {where.label} (made for this demo)")
    console.print(f"  bank     {where.ledger.name} (simulated: a file that only counts what was paid)")
    said = "real and very small (SmolLM2-135M on this machine: it writes the reviewers' summaries, badly)"
    if model != "local":
        said = "simulated (a script that writes the reviewers' summaries; nothing is called)"
    console.print(f"  model    {said}")
    console.print("  crash    real: a process of its own does the work, and is killed with SIGKILL")


async def _work_and_kill(console: Console, app: App, where: Place, size: int, model: str) -> Seen:
    work = Work(where, model)
    console.print(f"\n[bold]1  The first process[/] (pid {work.pid}) reads the inbox and pays.")
    try:
        with _progress(console) as show:
            seen = await work.watch(app, where, lambda s: show(_standing(s, size)), kill=True)
    finally:
        work.end()
    console.print(f"   {_standing(seen, size)}")
    console.print(
        f"   [bold red]Killed[/] (SIGKILL) with {_count(len(seen.in_flight), 'payment')} in flight:"
    )
    for request, booked in seen.in_flight.items():
        what = (
            "the bank has booked it, but the answer never came back"
            if booked
            else "on its way, not booked yet"
        )
        console.print(f"     {request}  {what}")
    return seen


async def _work_to_the_end(
    console: Console, app: App, where: Place, killed: Seen, size: int, model: str
) -> None:
    work = Work(where, model)
    console.print(
        f"\n[bold]2  A second process[/] (pid {work.pid}), the same program, is told nothing of the first."
    )
    console.print("   It sends itself the whole inbox again; what is known already is not started twice.")
    try:
        with _progress(console) as show:
            seen = await work.watch(app, where, lambda s: show(_standing(s, size)), kill=False)
    finally:
        work.end()
    console.print(f"   {_standing(seen, size)}")
    took = f"took over {_count(len(killed.working), 'unfinished request')} when the first one's lease ran out"
    console.print(f"   It {took}, and read {size - killed.taken_in} more.")


def _standing(seen: Seen, size: int) -> str:
    """How it stands, in one line."""
    return (
        f"{seen.taken_in:2} of {size} read: {len(seen.paid):2} paid, {len(seen.rejected)} rejected, {len(seen.failed)} failed, "
        f"{len(seen.waiting)} waiting for people, {len(seen.working)} at work"
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _table(console: Console, found: list[Result]) -> None:
    console.print("\n[bold]3  What happened[/]\n")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("request", "to", "euros", "outcome", "by rule", "at the kill"):
        table.add_column(title, no_wrap=True, justify="right" if title == "euros" else "left")
    for one in found:
        outcome, at_kill = (
            Text(one.outcome, style=COLOURS.get(one.outcome, "")),
            Text(one.at_kill, style="cyan"),
        )
        table.add_row(one.request, one.beneficiary, one.amount, outcome, one.why, at_kill)
    console.print(table)
    words = [f"[{c}]{sum(one.outcome == word for one in found)} {word}[/]" for word, c in COLOURS.items()]
    recovered = [one for one in found if one.at_kill not in ("", UNREAD)]
    console.print(
        f"\n   {len(found)} requests: {', '.join(words)}; [cyan]{len(recovered)} recovered[/] after the kill."
    )
    for word, text in ((BOOKED, "In flight, and booked"), (UNBOOKED, "In flight, not booked")):
        those = [one for one in found if one.at_kill == word]
        again = sum(one.sent_again for one in those)
        if those:
            console.print(f"   {text}: {len(those)}. The bank was asked; sent again: {again or 'none'}.")


def _proof(console: Console, where: Place, proof: Proof) -> None:
    audit = proof.audit
    console.print("\n[bold]4  The proof[/], from the bank's own file, which would show a payment made twice")
    said, made, different = len(proof.said_paid), audit.payments, len(audit.paid)
    lines = [
        (
            not audit.twice,
            f"none made twice: {made} payments, for {different} different requests",
            audit.twice,
        ),
        (not proof.lost, f"none lost: all {said} requests that Turnout calls paid were paid", proof.lost),
        (not proof.unknown, "none forgotten: Turnout knows of every payment that was made", proof.unknown),
        (
            not proof.different,
            f"all {proof.threads} journals replay identically, calling nothing",
            proof.different,
        ),
        (not proof.problems, "every journal's hash chain verified", proof.problems),
    ]
    for fine, text, wrong in lines:
        mark = "[green]ok[/]   " if fine else "[red]WRONG[/]"
        console.print(f"   {mark} {text}{': ' + escape(', '.join(wrong)) if wrong else ''}")


def _next(console: Console, where: Place, reviews: list[Review], killed: Seen) -> None:
    console.print(f"\n[bold]5  {len(reviews)} reviews wait[/], for as long as it takes, in {where.label}")
    for review in reviews:
        who = "two people" if review.quorum == 2 else "one person"
        who += f", not {review.requester}" if review.separate else ""
        console.print(f"   {review.id}  {escape(review.question)}  [dim]({who})[/]")
    console.print("\n[bold]Type next[/]")
    for about, command in commands(where, reviews, killed):
        console.print(f"   [dim]# {about}[/]")
        console.print(f"   {escape(command)}", soft_wrap=True)


def commands(where: Place, reviews: list[Review], killed: Seen) -> list[tuple[str, str]]:
    """What to type next, each with what it is for. All of it works on the demo's store as it is now."""
    turnout, store = _program(), f"--store {shlex.quote(where.url)}"
    one = next(r for r in reviews if r.quorum == 1 and "approve" in r.allowed)
    unclear = next(
        r for r in reviews if "edit" in r.allowed and r.payload["typed"].endswith(ACCOUNT_CURRENCY)
    )
    landed = next(
        (request for request, booked in killed.in_flight.items() if booked), next(iter(killed.in_flight))
    )
    decide = f"--by dana --role finance {store} {GRAPHS}"
    return [
        ("what waits, and for whom", f"{turnout} reviews {store}"),
        ("say yes: it is paid", f"{turnout} approve {one.id} {decide}"),
        ("say what was meant", f"{turnout} edit {unclear.id} --set euros=200 {decide}"),
        (f"why was {landed} paid, and what did the crash do?", f"{turnout} explain {landed} {store}"),
        ("do it again from the record, calling nothing", f"{turnout} replay {landed} {store} {GRAPHS}"),
        ("has anybody changed the record?", f"{turnout} verify {store}"),
    ]


def _program() -> str:
    """How the user calls this program: `turnout`, or with its path if the shell wouldn't find it."""
    called = Path(sys.argv[0])
    found = shutil.which("turnout")
    if called.name != "turnout" or (found and Path(found).resolve() == called.resolve()):
        return "turnout"
    with contextlib.suppress(ValueError):
        called = called.absolute().relative_to(Path.cwd())
    return shlex.quote(str(called))


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Shows a line of text as it changes: in its place on a terminal, else as a line a second."""
    if console.is_terminal:
        with console.status("", spinner="line") as status:
            yield lambda text: status.update(f"[dim]{escape(text)}[/]")
        return
    last = time.monotonic()

    def show(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= 1:
            last = time.monotonic()
            console.print(f"   {text}")

    yield show
