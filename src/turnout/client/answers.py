"""Answers of the API as what `App` gives: outcomes with their models, rows, entries, events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict

from turnout.core.entries import BODIES, Entry
from turnout.core.graph import Graph
from turnout.core.view import ThreadView
from turnout.errors import StateInvalid
from turnout.ports.clock import micros
from turnout.ports.rows import ThreadRow
from turnout.runtime.replay import Replayed
from turnout.runtime.whatif import Path, WhatIf
from turnout.service.items import (
    EntryItem,
    InFlightItem,
    PathItem,
    ReplayItem,
    RunState,
    ThreadItem,
    VerifiedItem,
    WhatIfItem,
)
from turnout.service.live.ears import Piece
from turnout.service.outbox import Outgoing
from turnout.service.outcome import Cancelled, Failed, Finished, Outcome, Paused, Review
from turnout.service.proof import InFlight, Verified


class State(BaseModel):
    """A state whose graph isn't at hand: the fields that came, as plain data."""

    model_config = ConfigDict(extra="allow")


class ThreadPage(msgspec.Struct):
    items: list[ThreadItem]
    next: str | None


class ReviewPage(msgspec.Struct):
    items: list[Review]
    next: str | None


class OutboxPage(msgspec.Struct):
    items: list[Outgoing]
    next: str | None


class EntryPage(msgspec.Struct):
    items: list[EntryItem]
    next: str | None


def outcome(found: RunState, graphs: Mapping[str, Graph]) -> Outcome | None:
    """How the run stands; None: it is still going."""
    said = found.outcome
    match said.status:
        case "finished":
            return Finished(_state(found.graph, said.state or {}, graphs))
        case "failed":
            assert said.error is not None
            state: BaseModel | None = None
            if said.state is not None:
                try:
                    state = _state(found.graph, said.state, graphs)
                except StateInvalid:
                    state = None
            return Failed(said.error, state, list(said.writes))
        case "cancelled":
            return Cancelled(said.by, said.reason, list(said.writes))
        case "paused":
            return Paused(list(said.reviews), list(said.signals), said.divergence, said.aside)
    return None


def _state(graph: str, state: dict[str, Any], graphs: Mapping[str, Graph]) -> BaseModel:
    return graphs[graph].schema.load(state) if graph in graphs else State(**state)


def thread_row(item: ThreadItem) -> ThreadRow:
    """A thread as the store has it."""
    return ThreadRow(
        thread=item.thread, graph=item.graph, fingerprint=item.fingerprint, status=item.status, run=item.run,
        head=item.entries, digest=bytes.fromhex(item.digest), epoch=item.epoch, owner=item.owner,
        lease_until=_micros(item.lease_until) or 0, wake_at=_micros(item.wake_at), created_at=micros(item.created_at),
        updated_at=micros(item.updated_at), base_thread=item.parent, base_seq=item.parent_entry or 0, tenant=item.tenant,
        priority=item.priority, tries=item.tries, aside=item.aside,
    )  # fmt: skip


def _micros(moment: datetime | None) -> int | None:
    return micros(moment) if moment is not None else None


def entry(item: EntryItem) -> Entry:
    """An entry; without the bytes that it is stored as."""
    body = msgspec.convert(item.body, BODIES[item.kind])
    return Entry(
        item.thread, item.seq, item.kind, item.run, item.step, micros(item.at), item.epoch, b"",
        bytes.fromhex(item.digest), body,
    )  # fmt: skip


def replayed(item: ReplayItem) -> Replayed:
    """A replay. Of the view only the state came along."""
    view = ThreadView(thread=item.thread, state=item.state)
    return Replayed(
        item.thread, item.entries, item.divergence, view, item.effects, item.recorded, item.fingerprint
    )


def whatif(item: WhatIfItem) -> WhatIf:
    """A what-if."""
    return WhatIf(
        item.thread,
        _path(item.before),
        _path(item.after),
        item.gap,
        item.answered,
        list(item.unused),
        list(item.stopped),
    )


def _path(item: PathItem) -> Path:
    return Path(list(item.steps), list(item.decisions), item.status, item.state)


def verified(item: VerifiedItem) -> Verified:
    """What `verify` found."""
    return Verified(item.threads, item.entries, item.values, item.heads, item.newer, list(item.problems))


def in_flight(item: InFlightItem) -> InFlight:
    """An unfinished run, and whether it would be adopted."""
    return InFlight(item.thread, item.graph, item.before, item.now, item.divergence, list(item.proof))


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, tuple[Any, ...]]]:
    """The id ("": none) and the data of each event: an entry, what was emitted, or nothing: only a place to go on from."""
    said: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            said[name] = value.removeprefix(" ")
            continue
        if said.get("event") == "entry":
            yield said.get("id", ""), (entry(msgspec.json.decode(said["data"], type=EntryItem)),)
        elif said.get("event") == "piece":
            yield "", (msgspec.json.decode(said["data"], type=Piece).data,)
        elif said.get("event") == "place":
            yield said.get("id", ""), ()
        said = {}
