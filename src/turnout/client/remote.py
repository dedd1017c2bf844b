"""Remote: the methods of `App`, over HTTP. See there for what each does and raises."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from turnout.client import answers
from turnout.client.candidate import texts
from turnout.client.wire import Wire, new_key
from turnout.core import canon
from turnout.core.budgets import Budget
from turnout.core.entries import Entry
from turnout.core.graph import Graph
from turnout.core.reviews import Judgement
from turnout.core.view import ThreadView
from turnout.errors import ServiceUnavailable, UnknownGraph, UsageError
from turnout.policy.text import Source
from turnout.ports.policy import Policy
from turnout.ports.rows import LimitRow, ThreadRow
from turnout.ports.tools import ServerSeen
from turnout.runtime.replay import Replayed
from turnout.runtime.whatif import WhatIf
from turnout.runtime.worker import Drained
from turnout.service.budgets import BudgetReport, Cost
from turnout.service.cursors import ENTRIES, OUTBOX, REVIEWS, THREADS, cursor, notice_place
from turnout.service.inputs import parse_run
from turnout.service.items import (
    Done,
    EntryItem,
    GraphItem,
    GuardItem,
    InFlightItem,
    Me,
    ReplayItem,
    RunRef,
    RunState,
    ThreadItem,
    VerifiedItem,
    WhatIfItem,
    WorkerItem,
)
from turnout.service.moving.progress import Exported, Imported
from turnout.service.outbox import Outgoing
from turnout.service.outcome import Outcome, Review, Run
from turnout.service.policies import Backtest, PolicyHere, PolicyReport
from turnout.service.proof import InFlight, Verified
from turnout.service.report import Report
from turnout.service.schedules import Missed, Overlap, Schedule
from turnout.service.starting import IfActive

T = TypeVar("T")
HOLD = 30.0
"""Seconds that one request waits for a run; then another one does."""
LONGEST = 999_999.0
"""Seconds that a request can ask to wait; a server takes no more digits."""
PAGE = 1000
"""Items that are asked for at a time."""
AGAIN = 1.0
"""Seconds before a stream that broke off is begun again."""


class Remote:
    """An app behind a server. Made by `connect`; use it as `async with connect(...) as app`."""

    def __init__(self, wire: Wire, graphs: Mapping[str, Graph]) -> None:
        self.url = wire.url
        self.graphs = dict(graphs)
        self._wire = wire

    async def __aenter__(self) -> Remote:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connection go."""
        await self._wire.close()

    async def me(self) -> Me:
        """Who you are there, and what you may do."""
        return await self._get("/me", Me)

    # --- runs ----------------------------------------------------------------------------------------------------

    async def start(
        self, graph: str | Graph, input: Mapping[str, Any], *, thread: str | None = None,
        idempotency_key: str | None = None, by: str = "", if_active: IfActive = "queue", tenant: str = "",
        priority: int = 0, at: datetime | None = None, traceparent: str = "",
    ) -> Run:  # fmt: skip
        """Give a thread an input; returns at once."""
        body = {
            "graph": _name(graph), "input": canon.plain(dict(input), "the input"), "thread": thread, "if_active": if_active,
            "tenant": tenant, "priority": priority, "at": at, "by": by,
        }  # fmt: skip
        key = idempotency_key if idempotency_key is not None else new_key()
        headers = {"Idempotency-Key": key} | ({"traceparent": traceparent} if traceparent else {})
        found = await self._post("/runs", RunState, body, headers=headers)
        return Run(found.thread, found.run, found.new or idempotency_key is None)

    async def run(self, graph: str | Graph, input: Mapping[str, Any], **options: Any) -> Outcome:
        """`start` and `wait` in one."""
        return await self.wait(await self.start(graph, input, **options))

    async def wait(self, run: Run | str, *, timeout: float | None = None) -> Outcome:
        """Until the run has ended or waits for somebody; `timeout` in seconds."""
        run = parse_run(run)
        end = time.monotonic() + timeout if timeout is not None else None
        while True:
            left = HOLD if end is None else min(HOLD, end - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"run {run} is still going")
            path = f"{_thread(run.thread)}/runs/{run.number}"
            async with asyncio.timeout(left + 1 if end is not None else None):
                found = await self._get(path, RunState, wait=max(1.0, left))
            outcome = answers.outcome(found, self.graphs)
            if outcome is not None:
                return outcome

    async def standing(self, run: Run | str, *, wait: float = 0.0) -> RunState:
        """How the run stands, at the latest after `wait` seconds (whole ones, and no more than the server allows)."""
        run = parse_run(run)
        seconds = math.ceil(min(wait, LONGEST))
        return await self._get(f"{_thread(run.thread)}/runs/{run.number}", RunState, wait=seconds)

    async def cancel(
        self, thread: str, *, run: int | None = None, by: str = "", reason: str = "", idempotency_key: str | None = None
    ) -> Run:  # fmt: skip
        """Ask the active run (or the given one) to stop."""
        body = {"run": run, "by": by, "reason": reason}
        key = {"Idempotency-Key": idempotency_key if idempotency_key is not None else new_key()}
        found = await self._post(f"{_thread(thread)}/cancel", RunRef, body, headers=key)
        return Run(found.thread, found.run)

    async def signal(
        self, thread: str, name: str, payload: Any = None, *, by: str = "", idempotency_key: str | None = None
    ) -> bool:
        """Send a signal to a thread."""
        body = {"name": name, "payload": canon.plain(payload, "the signal's payload"), "by": by}
        key = {"Idempotency-Key": idempotency_key if idempotency_key is not None else new_key()}
        found = await self._post(f"{_thread(thread)}/signals", Done, body, headers=key)
        return found.done or idempotency_key is None

    # --- whose turn it is ----------------------------------------------------------------------------------------

    async def limits(self) -> list[LimitRow]:
        """How many threads of a graph or a tenant may be held at once, where that is limited."""
        return await self._get("/limits", list[LimitRow])

    async def limit(self, kind: str, name: str, at_once: int | None) -> None:
        """At most `at_once` threads of a graph or tenant are held at a time."""
        path = f"/limits/{quote(kind, safe='')}/{quote(name, safe='')}"
        if at_once is None:
            await self._wire.ask("DELETE", path)
        else:
            await self._wire.ask("PUT", path, body={"at_once": at_once})

    async def workers(self) -> list[WorkerItem]:
        """The workers that hold threads, with their leases."""
        return await self._get("/workers", list[WorkerItem])

    async def set_aside(self, thread: str, reason: str, *, by: str = "") -> bool:
        """Have no worker take the thread any more."""
        said = await self._wire.ask("PUT", f"{_thread(thread)}/aside", body={"reason": reason, "by": by})
        return msgspec.json.decode(said, type=Done).done

    async def take_back(self, thread: str, *, not_imported: bool = False) -> bool:
        """Have workers take the thread again; one that was moved away only when nobody has imported it."""
        query = {"not_imported": not_imported or None}
        said = await self._wire.ask("DELETE", f"{_thread(thread)}/aside", query=query)
        return msgspec.json.decode(said, type=Done).done

    # --- the outbox ----------------------------------------------------------------------------------------------

    async def outbox(
        self,
        *,
        status: str = "",
        tenant: str = "",
        after: tuple[datetime, str] | None = None,
        limit: int = 100,
    ) -> list[Outgoing]:
        """Notices to people and other systems, the newest first; `after` is `created_at` and `id` of the last one of the page
        before."""
        query = {"status": status, "tenant": tenant}
        last = notice_place(*after) if after is not None else ""
        return await self._pages(OUTBOX, "/outbox", answers.OutboxPage, query, last, limit)

    async def resend(self, notice: str = "", *, tenant: str = "") -> list[str]:
        """Have a notice sent again, or all that are dead."""
        path = f"/outbox/{quote(notice, safe='')}/resend" if notice else "/outbox/resend"
        # One that is named is sent again whatever became of it: asked for twice, it might be sent twice.
        said = await self._wire.ask("POST", path, query={"tenant": tenant}, again=not notice)
        return msgspec.json.decode(said, type=list[str])

    # --- budgets -------------------------------------------------------------------------------------------------

    async def budgets(self, name: str = "") -> list[BudgetReport]:
        """The budgets, and how they stand."""
        return await self._get("/budgets", list[BudgetReport], query={"name": name})

    async def put_budget(self, budget: Budget) -> None:
        """Set a budget, or change it."""
        body = {part: said for part, said in msgspec.to_builtins(budget.check()).items() if part != "name"}
        await self._wire.ask("PUT", _budget(budget.name), body=body)

    async def drop_budget(self, name: str) -> bool:
        """Take a budget away."""
        return msgspec.json.decode(await self._wire.ask("DELETE", _budget(name)), type=Done).done

    async def costs(
        self,
        by: str = "graph",
        *,
        since: datetime | None = None,
        graph: str = "",
        tenant: str = "",
        thread: str = "",
    ) -> list[Cost]:
        """What calls have cost."""
        query = {
            "by": by, "graph": graph, "tenant": tenant, "thread": thread,
            "since": since.isoformat() if since is not None else None,
        }  # fmt: skip
        return await self._get("/costs", list[Cost], query=query)

    # --- schedules -----------------------------------------------------------------------------------------------

    async def schedule(
        self, name: str, graph: str | Graph, input: Mapping[str, Any], *, cron: str | None = None, at: datetime | None = None,
        timezone: str = "UTC", missed: Missed = "once", overlap: Overlap = "skip", tenant: str = "", priority: int = 0,
        by: str = "",
    ) -> Schedule:  # fmt: skip
        """Have the graph started by the clock."""
        body = {
            "graph": _name(graph), "input": canon.plain(dict(input), "the input"), "cron": cron, "at": at,
            "timezone": timezone, "missed": missed, "overlap": overlap, "tenant": tenant, "priority": priority, "by": by,
        }  # fmt: skip
        return msgspec.json.decode(await self._wire.ask("PUT", _schedule(name), body=body), type=Schedule)

    async def schedules(self, graph: str = "") -> list[Schedule]:
        """The schedules, or those of one graph."""
        return await self._get("/schedules", list[Schedule], query={"graph": graph})

    async def pause_schedule(self, name: str) -> Schedule:
        """Have a schedule fire nothing until it is resumed."""
        return await self._post(f"{_schedule(name)}/pause", Schedule)

    async def resume_schedule(self, name: str) -> Schedule:
        """Have a paused schedule fire again."""
        return await self._post(f"{_schedule(name)}/resume", Schedule)

    async def drop_schedule(self, name: str) -> Schedule:
        """Forget a schedule; what it has started stays."""
        return msgspec.json.decode(
            await self._wire.ask("DELETE", _schedule(name), again=False), type=Schedule
        )

    # --- reviews -------------------------------------------------------------------------------------------------

    async def reviews(
        self, *, status: str = "open", thread: str = "", role: str = "", after: str = "", limit: int = 1000
    ) -> list[Review]:
        """Reviews, the earliest due first."""
        query = {"status": status or "all", "thread": thread, "role": role}
        return await self._pages(REVIEWS, "/reviews", answers.ReviewPage, query, after, limit)

    async def review(self, review: str) -> Review:
        """One review."""
        return await self._get(f"/reviews/{quote(review, safe='')}", Review)

    async def resolve(
        self, review: str | Review, judgement: Judgement, *, idempotency_key: str | None = None
    ) -> Review:
        """Record a person's decision. Who decides is who the token is for; where nobody signs in, who is named."""
        shown = judgement.shown or (review.shown if isinstance(review, Review) else None)
        found = review if isinstance(review, Review) else await self.review(review)
        body = {
            "decision": judgement.decision, "by": judgement.by.strip(), "comment": judgement.comment,
            "payload": canon.plain(judgement.payload, "the payload"),
            "roles": list(judgement.roles) if judgement.roles is not None else None,
        }  # fmt: skip
        headers = {
            "If-Match": f'"{shown or found.shown}"',
            "Idempotency-Key": idempotency_key if idempotency_key is not None else new_key(),
        }
        return await self._post(
            f"/reviews/{quote(found.id, safe='')}/decisions", Review, body, headers=headers
        )

    # --- reading -------------------------------------------------------------------------------------------------

    async def threads(
        self, *, graph: str = "", status: str = "", search: str = "", tenant: str = "", aside: bool = False,
        after: str = "", limit: int = 100,
    ) -> list[ThreadRow]:  # fmt: skip
        """Threads in the order of their names."""
        query = {"graph": graph, "status": status, "search": search, "tenant": tenant, "aside": aside or None}
        found: list[ThreadItem] = await self._pages(
            THREADS, "/threads", answers.ThreadPage, query, after, limit
        )
        return [answers.thread_row(item) for item in found]

    async def entries(self, thread: str, *, after: int = 0, upto: int | None = None) -> list[Entry]:
        """Entries of the thread's journal, whole. (`stored`, the bytes in the store, stays there.)"""
        limit = upto - after if upto is not None else 1 << 62
        items: list[EntryItem] = []
        if limit > 0:
            items = await self._pages(
                ENTRIES, f"{_thread(thread)}/entries", answers.EntryPage, {}, str(after), limit
            )
        return [answers.entry(item) for item in items]

    async def view(self, thread: str, *, at: int | None = None) -> ThreadView:
        """The thread as it is, or as it was after entry `at`."""
        return await self._get(f"{_thread(thread)}/view", ThreadView, query={"seq": at})

    async def state(self, thread: str, *, at: int | None = None) -> dict[str, Any]:
        """The thread's state as plain data, now or after entry `at`."""
        return await self._get(f"{_thread(thread)}/state", dict[str, Any], query={"seq": at})

    async def explain(self, thread: str, *, at: int | None = None) -> Report:
        """The four questions, answered from the record."""
        return await self._get(f"{_thread(thread)}/explain", Report, query={"seq": at})

    async def tools(self, servers: Sequence[str] = (), *, ask: bool = True) -> list[ServerSeen]:
        """The MCP servers of the server's turnout.toml and their tools; with `ask` as they are now."""
        query = {"server": list(servers)}
        if ask:
            return await self._post("/tools", list[ServerSeen], query=query)
        return await self._get("/tools", list[ServerSeen], query=query)

    async def guards(self) -> list[GuardItem]:
        """The guardrails there, in the order in which they look."""
        return await self._get("/guards", list[GuardItem])

    async def stream(self, thread: str, *, after: int | None = None) -> AsyncIterator[Any]:
        """Events of a thread as they happen: entries, and what `ctx.emit` says in the process that is connected to.

        From now on, or from behind entry `after`. A stream that breaks off is begun again where it was.
        """
        last = f"{quote(thread, safe='')}:{after}" if after is not None else ""
        while True:
            try:
                async with self._wire.stream(f"{_thread(thread)}/events", last, {}) as lines:
                    async for name, told in answers.events(lines):
                        last = name or last
                        for event in told:
                            yield event
            except ServiceUnavailable:
                if not last:
                    raise
            if not last:  # from now on: what comes before the next attempt would be missed
                raise ServiceUnavailable(f"{self.url} has ended the stream before it began; ask for it again")
            await asyncio.sleep(AGAIN)

    async def graph_items(self) -> list[GraphItem]:
        """The graphs of the server's code."""
        return await self._get("/graphs", list[GraphItem])

    def graph(self, name: str) -> Graph:
        """A graph that was given to `connect`. Raises `UnknownGraph`."""
        if name not in self.graphs:
            raise UnknownGraph(f"graph {name!r} wasn't given to connect(...); its code is in the server")
        return self.graphs[name]

    # --- proof ---------------------------------------------------------------------------------------------------

    async def replay(self, thread: str, *, progress: Callable[[int], None] | None = None) -> Replayed:
        """Make every entry again from the server's code, calling nothing. (`progress` isn't told over HTTP.)"""
        return answers.replayed(await self._post(f"{_thread(thread)}/replay", ReplayItem, long=True))

    async def fork(
        self, thread: str, *, at: int | None = None, update: Mapping[str, Any] | None = None, name: str | None = None,
        by: str = "", idempotency_key: str | None = None,
    ) -> Run:  # fmt: skip
        """A new thread that shares the journal up to entry `at` and goes on by itself."""
        plain = canon.plain(dict(update), "the fork's update") if update else None
        key = {"Idempotency-Key": idempotency_key if idempotency_key is not None else new_key()}
        body = {"at": at, "update": plain, "name": name, "by": by}
        found = await self._post(f"{_thread(thread)}/forks", RunRef, body, headers=key)
        return Run(found.thread, found.run, found.new or idempotency_key is None)

    async def whatif(
        self, thread: str, graph: str | Graph | None = None, *, policy: Source | Policy | None = None
    ) -> WhatIf:
        """Run the thread's inputs again under the server's code (or another graph of it, by its name), or other rules of
        policy, answered from the record. Raises `UsageError` when the graph is another version than the server has."""
        if isinstance(graph, Graph):
            await self._check_version(graph)
        rules = {"files": texts(policy)} if policy is not None else None
        query = {"graph": _name(graph) if graph is not None else None}
        path = f"{_thread(thread)}/whatif"
        return answers.whatif(await self._post(path, WhatIfItem, rules, query=query, long=True))

    async def policy(self) -> PolicyHere:
        """The policy that calls are decided by there."""
        return await self._get("/policies", PolicyHere)

    async def policy_check(self, folder: Source) -> PolicyReport:
        """What is wrong with the rules of a folder on this machine, as far as the server's graphs tell."""
        found = await self._post("/policies/check", PolicyReport, {"files": texts(folder)})
        return replace(found, folder=str(folder)) if isinstance(folder, str | Path) else found

    async def backtest(
        self, candidate: Source | Policy, *, since: datetime | None = None, graph: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> Backtest:  # fmt: skip
        """Decide every call on record again under the rules of a folder on this machine. (`progress` isn't told over HTTP.)"""
        body = {"files": texts(candidate), "since": since, "graph": graph}
        return await self._post("/policies/backtest", Backtest, body, long=True)

    async def check_in_flight(self, progress: Callable[[int], None] | None = None) -> list[InFlight]:
        """Would the server's code adopt the unfinished runs?"""
        found = await self._get("/in-flight", list[InFlightItem], long=True)
        return [answers.in_flight(item) for item in found]

    async def verify(
        self, thread: str = "", *, against: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] | None = None, signed_by: str = "",
    ) -> Verified:  # fmt: skip
        """Check chains, values, rows and snapshots of one thread or all."""
        path = f"{_thread(thread)}/verify" if thread else "/verify"
        body = dict(against) if against is not None else None
        query = {"signed_by": signed_by}
        return answers.verified(await self._post(path, VerifiedItem, body, query=query, long=True))

    async def head(self, thread: str = "") -> dict[str, Any]:
        """A signed statement of how far the journals have come."""
        return await self._get(f"{_thread(thread)}/head" if thread else "/head", dict[str, Any], long=True)

    # --- what only a process on the store can do -----------------------------------------------------------------

    async def drain(self, seconds: float | None = None) -> Drained:
        """Not over HTTP. Raises `UsageError`."""
        raise _on_the_store("drain")

    async def rebuild_ledger(self, thread: str = "", *, progress: Callable[[int], None] | None = None) -> int:
        """Not over HTTP. Raises `UsageError`."""
        raise _on_the_store("rebuild_ledger")

    async def export_to(self, *args: Any, **options: Any) -> Exported:
        """Not over HTTP. Raises `UsageError`."""
        raise _on_the_store("export_to")

    async def import_from(self, *args: Any, **options: Any) -> Imported:
        """Not over HTTP. Raises `UsageError`."""
        raise _on_the_store("import_from")

    # --- inside --------------------------------------------------------------------------------------------------

    async def _check_version(self, graph: Graph) -> None:
        """Code isn't sent: is it the server's? Raises `UsageError`, `UnknownGraph`."""
        there = await self._get(f"/graphs/{quote(graph.name, safe='')}", GraphItem)
        if there.fingerprint != graph.fingerprint:
            raise UsageError(
                f"this is {graph.label}, and the server has {graph.name}@{there.fingerprint}; code isn't sent, so a what-if "
                f"under another version needs the store itself: use open_app there, or have the server serve that version"
            )

    async def _get(
        self, path: str, kind: type[T], *, query: Mapping[str, Any] | None = None, wait: float = 0.0, long: bool = False
    ) -> T:  # fmt: skip
        said = await self._wire.ask("GET", path, query=query, wait=wait, long=long)
        return msgspec.json.decode(said, type=kind)

    async def _post(
        self, path: str, kind: type[T], body: Any = None, *, query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None, long: bool = False,
    ) -> T:  # fmt: skip
        said = await self._wire.ask("POST", path, body=body, query=query, headers=headers, long=long)
        return msgspec.json.decode(said, type=kind)

    async def _pages(
        self, of: str, path: str, kind: Any, query: Mapping[str, Any], after: str, limit: int
    ) -> list[Any]:
        found: list[Any] = []
        place: str | None = cursor(of, after) if after else ""
        while place is not None and len(found) < limit:
            asked = {**query, "cursor": place, "limit": min(PAGE, limit - len(found))}
            page: Any = await self._get(path, kind, query=asked)
            found += page.items
            place = page.next
        return found


def _on_the_store(method: str) -> UsageError:
    return UsageError(
        f"{method} needs the store itself: use open_app there (or the command line), not a server"
    )


def _name(graph: str | Graph) -> str:
    return graph.name if isinstance(graph, Graph) else graph


def _thread(thread: str) -> str:
    return f"/threads/{quote(thread, safe='')}"


def _budget(name: str) -> str:
    return f"/budgets/{quote(name, safe='')}"


def _schedule(name: str) -> str:
    return f"/schedules/{quote(name, safe='')}"
