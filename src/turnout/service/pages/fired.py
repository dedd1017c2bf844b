"""Which rules of policy fired lately: from the verdicts on record of the threads that were made last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from turnout.core import entries as e
from turnout.ports.clock import at
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of

SAMPLE, DEEP = 100, 400
"""So many threads are looked at, and of each so many entries: its last ones."""


@dataclass(frozen=True)
class Fired:
    """A rule and what it led to ("": no rule spoke for the call): how often, of which set of rules, and where last."""

    rule: str
    decision: str
    digest: str
    calls: int
    names: tuple[str, ...]
    thread: str
    seq: int
    when: datetime


async def fired(store: Store) -> list[Fired]:
    """What fired lately, the most often first. At most `SAMPLE` times `DEEP` entries are read, of which only verdicts are
    decoded."""
    found: dict[tuple[str, str, str], Fired] = {}
    for row in await store.latest(limit=SAMPLE):
        rows = await store.read(row.thread, max(0, row.head - DEEP))
        verdicts = [one for one in rows if one.kind == e.VerdictGiven.kind]
        for entry in await entries_of(store, verdicts):
            if not isinstance(entry.body, e.VerdictGiven):
                continue
            said, name, when = entry.body.verdict, entry.body.question.resource.name, at(entry.at)
            for rule in said.policies or [""]:
                key = (rule, said.decision, said.digest)
                had = found.get(key) or Fired(*key, 0, (), row.thread, entry.seq, when)
                names = had.names if name in had.names else (*had.names, name)
                last = (row.thread, entry.seq, when) if when >= had.when else (had.thread, had.seq, had.when)
                found[key] = replace(
                    had, calls=had.calls + 1, names=names, thread=last[0], seq=last[1], when=last[2]
                )
    return sorted(found.values(), key=lambda one: (-one.calls, one.rule))
