"""A fork as it is asked for: of what, where, under which name, once a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from turnout.core import canon
from turnout.core.graph import Graph
from turnout.ports.clock import Chance, Clock
from turnout.ports.rows import ThreadRow
from turnout.ports.store import Store
from turnout.runtime import forking
from turnout.service.inputs import check_name
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

    Raises `UnknownEntry`, `ForkRefused`, `InputInvalid`.
    """
    parent = asked.parent.thread
    if asked.key is not None:
        digest = canon.digest([asked.key, asked.at, canon.plain(asked.update, "the fork's update")])
        name = name or f"{parent}-fork-{digest[:12]}"
        made = await store.thread(name)
        if made is not None and made.base_thread == parent and asked.at in (None, made.base_seq):
            return Run(name, made.run, new=False)
    view = await view_at(store, parent, asked.parent.head if asked.at is None else asked.at)
    name = name or f"{parent}-fork-{chance.hex(6)}"
    check_name(name)
    await forking.fork(store, clock, asked.graph, view, name, asked.update, asked.by)
    return Run(name, view.run.number if view.run else view.runs)
