"""What is said to a thread from outside while it runs: a cancel, a signal."""

from __future__ import annotations

from typing import Any

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.inputs import active_runs
from turnout.core.view import ThreadView
from turnout.errors import KeyReused, UnknownRun
from turnout.ports.clock import Clock
from turnout.ports.rows import KeyRow
from turnout.ports.store import Store
from turnout.runtime.outside import append_outside
from turnout.service.outcome import Run
from turnout.service.threads import thread_row


async def cancel(
    store: Store, clock: Clock, thread: str, run: int | None, by: str, reason: str, key: str | None = None
) -> Run:
    """Ask the active run (or the given one) to stop, once a `key`. Raises `UnknownThread`, `UnknownRun`, `KeyReused`."""
    await thread_row(store, thread)
    canon.plain(key, "the idempotency key")
    row = f"cancel:{len(thread)}:{thread}:{key}" if key is not None else ""
    digest = canon.digest([run, reason])
    before = await _asked_before(store, row, digest)
    if before is not None:
        return before
    number = 0

    def make(view: ThreadView) -> list[e.Draft]:
        nonlocal number
        active = active_runs(view)
        number = run if run is not None else (active[0] if active else 0)
        if number not in active:
            raise UnknownRun(
                f"thread {thread!r} has no active run{f' {run}' if run else ''}; nothing to cancel"
            )
        if view.run is not None and view.run.number == number and view.run.cancel is not None:
            return []
        return [e.Draft(number, "", e.CancelRequested(by=by, reason=reason))]

    def keys(view: ThreadView) -> list[KeyRow]:
        return [KeyRow(row, thread, number, digest)] if row else []

    try:
        await append_outside(store, clock, thread, make, keys=keys)
    except KeyReused:  # the same one, sent twice at once
        before = await _asked_before(store, row, digest)
        if before is None:
            raise
        return before
    return Run(thread, number)


async def _asked_before(store: Store, key: str, digest: str) -> Run | None:
    """The run that was asked to stop with this key. Raises `KeyReused` when that was another request."""
    found = await store.key(key) if key else None
    if found is None:
        return None
    if found.digest != digest:
        raise KeyReused(
            f"the idempotency key was used for another cancel on thread {found.thread!r}; use a new key"
        )
    return Run(found.thread, found.run)


async def signal(
    store: Store, clock: Clock, thread: str, name: str, payload: Any, by: str, key: str | None
) -> bool:
    """Send a signal to a thread, once a `key`. False: it was sent before. Raises `UnknownThread`, `KeyReused`."""
    await thread_row(store, thread)
    plain = canon.plain(payload, "the signal's payload")
    canon.plain(key, "the idempotency key")
    # The length keeps thread "a:b" with key "c" apart from thread "a" with key "b:c".
    row = f"signal:{len(thread)}:{thread}:{key}" if key is not None else ""
    digest = canon.digest([name, plain])

    def make(view: ThreadView) -> list[e.Draft]:
        body = e.SignalReceived(name=name, payload=plain, by=by)
        return [e.Draft(view.run.number if view.run else view.runs, "", body)]

    def keys(view: ThreadView) -> list[KeyRow]:
        return [KeyRow(row, thread, view.runs, digest)] if row else []

    try:
        await append_outside(store, clock, thread, make, keys=keys)
    except KeyReused:
        found = await store.key(row)
        if found is not None and found.digest != digest:
            raise KeyReused(
                f"the idempotency key {key!r} was used for another signal to thread {thread!r}; use a new key"
            ) from None
        return False
    return True
