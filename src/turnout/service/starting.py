"""Starting a run: a thread is given an input, once a key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from turnout.core import canon, tracing
from turnout.core import entries as e
from turnout.core.graph import Graph
from turnout.core.inputs import active_runs, check_input, check_tenant
from turnout.core.view import ThreadView
from turnout.errors import InputInvalid, KeyReused, ThreadBusy
from turnout.ports.clock import Chance, Clock
from turnout.ports.rows import KeyRow
from turnout.ports.store import Store
from turnout.runtime.outside import append_outside
from turnout.service.inputs import check_name, check_new_name, check_order, same_input
from turnout.service.outcome import Run
from turnout.service.schedules import aware

IfActive = Literal["queue", "refuse", "replace"]


def key_of(tenant: str, graph: str, key: str) -> str:
    """What a store knows the idempotency key of a start by. Each tenant and graph has keys of its own."""
    # The length keeps tenant "a:b" with graph "c" apart from tenant "a" with graph "b:c".
    whose = f"start@{len(tenant)}:{tenant}" if tenant else "start"
    return f"{whose}:{graph}:{key}"


def digest_of(graph: str, given: Mapping[str, Any], thread: str | None, priority: int, at: int | None) -> str:
    """By which a store knows that a start is the same as before. `thread` is the one that was asked for."""
    return canon.digest([graph, given, thread, priority, at])


def older_digest(graph: str, given: Mapping[str, Any], thread: str | None) -> str:
    """What the keys of a store have that were used before priority and moment counted: it stands for any of these."""
    return canon.digest([graph, given, thread])


@dataclass(frozen=True)
class Start:
    """What is to be started, as `App.start` takes it; checked by `checked`, and plain from then on.

    `at` is the moment that it waits for, in microseconds since 1970, or None.
    """

    graph: Graph
    input: dict[str, Any]
    thread: str | None
    key: str | None
    by: str
    if_active: IfActive
    tenant: str
    priority: int
    at: int | None
    traceparent: str

    @cached_property
    def row(self) -> str:
        """What the store knows the idempotency key by; "" without one."""
        return key_of(self.tenant, self.graph.name, self.key) if self.key is not None else ""

    @cached_property
    def digest(self) -> str:
        """By which the same input is known, sent again with its key."""
        return digest_of(self.graph.name, self.input, self.thread, self.priority, self.at)

    def again(self, found: KeyRow) -> Run:
        """The run that the key was used for before. Raises `KeyReused` when that was another input."""
        older = older_digest(self.graph.name, self.input, self.thread)
        return same_input(found, older if found.digest == older else self.digest, self.key)

    def named(self, chance: Chance) -> str:
        """The thread: the one asked for, or a new one, which with a key has the same name each time."""
        if self.thread is not None:
            return self.thread
        return "t-" + (hashlib.sha256(self.row.encode()).hexdigest()[:16] if self.row else chance.hex(16))

    def drafts(self, view: ThreadView, now: int) -> list[e.Draft]:
        """The entries of this start on a thread as it stands. Raises `ThreadBusy`, `InputInvalid`."""
        if not view.runs:
            check_new_name(view.thread)
        check_tenant(view, self.tenant)
        check_input(self.graph, view, self.input, max(self.at or 0, now))
        active = active_runs(view, now)
        if active and self.if_active == "refuse":
            raise ThreadBusy(
                f"thread {view.thread!r} has run {active[0]} active; wait for it, or send with if_active (--if-active) 'queue' or 'replace'"
            )
        replaced = active if self.if_active == "replace" else []
        body = e.InputReceived(
            graph=self.graph.name, input=self.input, key=self.key, by=self.by, tenant=self.tenant,
            priority=self.priority, at=self.at, traceparent=tracing.clean(self.traceparent),
        )  # fmt: skip
        return [
            *(
                e.Draft(n, "", e.CancelRequested(by=self.by, reason="replaced by a new input"))
                for n in replaced
            ),
            e.Draft(view.runs + 1, "", body),
        ]


def checked(
    graph: Graph, given: Mapping[str, Any], *, thread: str | None, key: str | None, by: str, if_active: IfActive,
    tenant: str, priority: int, at: datetime | None, traceparent: str,
) -> Start:  # fmt: skip
    """What a caller asks for, if it holds by itself. Raises `InputInvalid`."""
    plain = canon.plain(dict(given), "the input")
    canon.plain(key, "the idempotency key")
    check_order(tenant, priority)
    if thread is not None:
        check_name(thread)
    starts = aware("a delayed start", at) if at is not None else None
    if starts is not None and if_active != "queue":
        raise InputInvalid(
            f"if_active={if_active!r} is about the runs of this moment; a delayed start waits for its turn (queue)"
        )
    return Start(graph, plain, thread, key, by, if_active, tenant, priority, starts, traceparent)


async def start(store: Store, clock: Clock, chance: Chance, asked: Start) -> Run:
    """The run, which is new unless the key was used for the same input before. Raises `KeyReused`, `ThreadBusy`,
    `InputInvalid`."""
    key = asked.row
    if key and (found := await store.key(key)) is not None:
        return asked.again(found)
    thread = asked.named(chance)

    def keys(view: ThreadView) -> list[KeyRow]:
        return [KeyRow(key, view.thread, view.runs, asked.digest)] if key else []

    try:
        _, made = await append_outside(
            store, clock, thread, lambda view: asked.drafts(view, clock.now()), keys=keys
        )
    except KeyReused:
        found = await store.key(key)
        if found is None:
            raise
        return asked.again(found)
    return Run(thread, made[-1].run)
