"""A fork as it is asked for: of what, where, under which name, once a key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from turnout.core import canon
from turnout.core.graph import Graph
from turnout.errors import ForkRefused, KeyReused
from turnout.ports.clock import Chance, Clock
from turnout.ports.rows import KeyRow, ThreadRow
from turnout.ports.store import Store
from turnout.runtime import forking
from turnout.service.inputs import check_new_name, same_input
from turnout.service.outcome import Run
from turnout.service.threads import view_at


@dataclass(frozen=True)
class Fork:
    """What is asked for. `at` is the entry to fork at, or None for the newest; `update` is for the state there."""

    parent: ThreadRow
    graph: Graph
    at: int | None
    update: dict[str, Any]
    by: str
    key: str | None


async def fork(store: Store, clock: Clock, chance: Chance, asked: Fork, name: str | None) -> Run:
    """The run of the new thread; of the one made before when the key was used for the same fork.

    Raises `UnknownEntry`, `ForkRefused`, `InputInvalid`, `KeyReused`.
    """
    parent = asked.parent.thread
    canon.plain(asked.key, "the idempotency key")
    # The length keeps thread "a:b" with key "c" apart from thread "a" with key "b:c".
    row = f"fork:{len(parent)}:{parent}:{asked.key}" if asked.key is not None else ""
    update, given = canon.plain(asked.update, "the fork's update"), canon.plain(name, "the fork's name")
    digest = canon.digest([asked.at, update, given]) if row else ""
    if row and (found := await store.key(row)) is not None:
        return same_input(found, digest, asked.key)
    view = await view_at(store, parent, asked.parent.head if asked.at is None else asked.at)
    run = view.run.number if view.run else view.runs
    # With a key it has the same name each time.
    made = name or f"{parent}-fork-" + (
        hashlib.sha256(row.encode()).hexdigest()[:12] if row else chance.hex(6)
    )
    check_new_name(made)
    keys = [KeyRow(row, made, run, digest)] if row else []
    try:
        await forking.fork(store, clock, asked.graph, view, made, asked.update, asked.by, keys)
    except (ForkRefused, KeyReused):  # it may have been asked for twice at once
        if row and (found := await store.key(row)) is not None:
            return same_input(found, digest, asked.key)
        raise
    return Run(made, run)
