"""What must hold when a schedule is over, whatever happened in it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.graphs import VERSIONS, family
from tests.simulation.people import OVER, Said
from tests.simulation.watch import Watch
from tests.simulation.world import Ask, World

from turnout.core import entries as e
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of
from turnout.runtime.replay import replay
from turnout.service import proof
from turnout.service.signing import Signer

FAIR = {
    "Flaky",
    "ToolFailed",
    "ModelFailed",
    "ChildFailed",
    "StepTimeout",
    "RunTimeout",
    "Cancelled",
    "ExceptionGroup",
}
"""Why a step or a run of the simulation may fail."""


@dataclass
class Write:
    """A write as a journal has it. `intended` and `landed`: when that was durable (microseconds), the first time."""

    thread: str
    tool: str
    what: str
    key: str
    intended: int
    outcome: str = "unknown"
    landed: int | None = None
    absent: int = 0
    inherited: bool = False


@dataclass
class Record:
    """All journals, gone through."""

    entries: dict[str, list[e.Entry]] = field(default_factory=dict)
    writes: dict[str, list[Write]] = field(default_factory=dict)
    answers: dict[tuple[str, str], int] = field(default_factory=dict)  # thread, content: when it was durable


async def audit(
    store: Store, signer: Signer, watch: Watch, world: World, said: Said, *, replays: bool
) -> list[str]:
    """Everything that is wrong. `replays`: steps were run in the order that asyncio keeps, and so can be run again."""
    problems = list(watch.problems)
    verified = await proof.verify(store, signer)
    problems += verified.problems
    record = Record()
    for row in await store.threads(limit=100_000):
        entries = await entries_of(store, await store.read(row.thread), whole=True)
        record.entries[row.thread] = entries
        if row.status not in OVER:
            problems.append(f"{row.thread} has not come to its end: it is {row.status}")
        if row.owner:
            problems.append(f"{row.thread} is held by {row.owner}, who is gone")
        problems += _epochs(row.thread, entries)
        problems += _errors(row.thread, entries)
        _note(row.thread, entries, watch, record)
    world.closed = True
    for thread, entries in record.entries.items() if replays else ():
        problems += await _replayed(thread, entries)
    await asyncio.sleep(1)  # whatever a replay has left behind comes to its end
    problems += [f"a replay asked the world for {what}" for what in world.intruders]
    problems += _writes(record, world)
    problems += _asks(record, world)
    problems += _in_order(record, world)
    problems += await _said(store, record, said)
    return problems


def _epochs(thread: str, entries: list[e.Entry]) -> list[str]:
    own = [entry.epoch for entry in entries if entry.thread == thread]
    return [] if own == sorted(own) else [f"{thread}: its epochs don't only grow: {own}"]


def _errors(thread: str, entries: list[e.Entry]) -> Iterable[str]:
    for entry in entries:
        if isinstance(entry.body, e.StepFailed | e.RunFailed | e.RunFailing):
            error = entry.body.error
            if error.type not in FAIR:
                yield f"{thread}: {entry.kind} {entry.step}: {error.type}: {error.message} ({error.where})"


async def _replayed(thread: str, entries: list[e.Entry]) -> list[str]:
    """Of a run that two versions have worked on, only what is open must fit the newer one: that was proven then."""
    name = next((x.body.graph for x in entries if isinstance(x.body, e.InputReceived)), "")
    prints = {x.body.fingerprint for x in entries if isinstance(x.body, e.RunStarted | e.RunAdopted)}
    if len(prints) != 1 or not name:
        return []
    graphs = [family(name, version) for version in range(VERSIONS)]
    found = await replay(next(graph for graph in graphs if graph.fingerprint in prints), thread, entries)
    if found.divergence is None:
        return []
    return [f"{thread} doesn't replay: {found.divergence}"]


# --- writes and answers ------------------------------------------------------------------------------------------


def _note(thread: str, entries: list[e.Entry], watch: Watch, record: Record) -> None:
    """Put down what a journal says of writes and answers."""
    writes: dict[tuple[int, str, str, int], Write] = {}
    reviews: dict[str, Write] = {}
    answers: dict[str, int] = {}
    for entry in entries:
        body: Any = entry.body
        place = (entry.run, entry.step, getattr(body, "key", ""), getattr(body, "n", 0))
        durable = watch.durable[(entry.thread, entry.seq)]
        if isinstance(body, e.EffectIntended):
            if place not in writes:
                what = body.args["what"]
                writes[place] = Write(thread, body.name, what, body.idempotency_key, durable)
                writes[place].inherited = entry.thread != thread
                record.writes.setdefault(what, []).append(writes[place])
            writes[place].outcome = "unknown"  # also of one that is sent again
        elif isinstance(body, e.EffectSettled):
            _settled(writes[place], body.outcome, durable)
        elif isinstance(body, e.ReviewRequested) and body.purpose == "outcome":
            reviews[body.review] = writes[place]
        elif isinstance(body, e.ReviewDecided) and body.outcome and body.review in reviews:
            _settled(reviews[body.review], body.outcome, durable)
        elif isinstance(body, e.EffectRecorded) and body.error is None and body.result is not None:
            answer = body.result["text"] if body.effect == "model" else body.result
            text = answer[0] if isinstance(answer, list) else answer
            if isinstance(text, str) and "#" in text:
                content = text.rpartition(" ")[2].rpartition("#")[0]
                answers.setdefault(content, durable)
        elif isinstance(body, e.ThreadForked) and body.delta:
            answers.clear()  # they were given about another state
    record.answers |= {(thread, content): durable for content, durable in answers.items()}


def _settled(write: Write, outcome: str, durable: int) -> None:
    write.outcome = outcome
    if outcome == "landed" and write.landed is None:
        write.landed = durable
    write.absent += outcome == "did_not_happen"


def _writes(record: Record, world: World) -> Iterable[str]:
    """Exactly once, or not at all, or not known; and never sent before it was on record, or after it had been done."""
    for what, claims in record.writes.items():
        done = len(world.ledger.get(what, []))
        outcomes = Counter(claim.outcome for claim in claims)
        least = 1 if outcomes["landed"] else 0
        most = outcomes["landed"] + outcomes["unknown"]
        if not least <= done <= most:
            yield f"{what} was done {done} times; on record: {[f'{c.thread} {c.tool} {c.outcome}' for c in claims]}"
    for send in world.sends:
        mine = [claim for claim in record.writes.get(send.what, []) if claim.thread == send.thread]
        if not mine:
            yield f"{send.what} was sent for {send.thread} without being on record"
            continue
        [claim] = mine
        if claim.intended > send.at:
            yield f"{send.what} was sent before it was on record"
        if claim.landed is not None and claim.landed < send.at:
            yield f"{send.what} was sent again, after it was on record as landed"
        if claim.tool == "pay" and claim.key != send.key:
            yield f"{send.what} was sent with another key"
    for what, claims in record.writes.items():
        sends = sum(send.what == what for send in world.sends)
        if claims[0].tool == "post" and len(claims) == 1 and sends > 1 + claims[0].absent:
            yield f"{what} was sent {sends} times, though nobody could know what became of it"


def _in_order(record: Record, world: World) -> Iterable[str]:
    """What a step is told, and what it has done, is durable before it asks for the next thing."""
    asked: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for call in (*world.asks, *world.sends):
        content = call.content if isinstance(call, Ask) else call.what
        asked.setdefault((call.thread, content.rpartition(":")[0]), []).append((content, call.at))
    known = list(record.answers.items())
    known += [
        ((w.thread, w.what), w.landed) for ws in record.writes.values() for w in ws if w.landed is not None
    ]
    for (thread, earlier), durable in known:
        calls = asked.get((thread, earlier.rpartition(":")[0]), [])
        begun = max((at for content, at in calls if content == earlier and at <= durable), default=0)
        for content, at in calls:
            later = _place(earlier) < _place(content) or _next_turn(earlier, content)
            if later and begun < at < durable:
                yield f"{content} was asked for {(durable - at) / 1e6:g} s before {earlier} was durable"


def _place(content: str) -> int:
    """Which operation of its step a call belongs to."""
    return int(re.match(r"\d+", content.rpartition(":")[2]).group())  # type: ignore[union-attr]


def _next_turn(earlier: str, content: str) -> bool:
    """Do both belong to one agent, which asks for one thing after the other?"""
    agent, _, turn = content.partition("~")
    return earlier.startswith(f"{agent}~") and earlier.partition("~")[2][:1] < turn[:1]


def _asks(record: Record, world: World) -> Iterable[str]:
    """What is on record is not asked again."""
    for ask in world.asks:
        durable = record.answers.get((ask.thread, ask.content))
        if durable is not None and durable < ask.at:
            yield f"{ask.content} was asked again by {ask.machine} for {ask.thread}, though the answer was on record"


# --- what people were told ---------------------------------------------------------------------------------------


async def _said(store: Store, record: Record, said: Said) -> list[str]:
    problems: list[str] = []
    inputs: Counter[str] = Counter()
    made = set()
    decided: dict[str, list[e.ReviewDecided]] = {}
    cancelled = set()
    for thread, entries in record.entries.items():
        for entry in entries:
            body = entry.body
            if entry.thread != thread:
                continue
            if isinstance(body, e.InputReceived):
                made.add((thread, entry.run))
                inputs[body.key or ""] += 1
            elif isinstance(body, e.ReviewDecided):
                decided.setdefault(body.review, []).append(body)
            elif isinstance(body, e.CancelRequested):
                cancelled.add(thread)
    for key, runs in said.runs.items():
        if len(set(runs)) > 1:
            problems.append(f"the input {key} was said to be more than one run: {[str(run) for run in runs]}")
        if inputs[key] > 1:
            problems.append(f"the input {key} was taken {inputs[key]} times")
        problems += [
            f"{run} was promised, and isn't there" for run in runs if (run.thread, run.number) not in made
        ]
    for review, bodies in decided.items():
        if sum(bool(body.outcome) for body in bodies) > 1:
            problems.append(f"{review} was closed twice")
    for review, who, decision in said.decisions:
        if (who, decision) not in [(body.by, body.decision) for body in decided.get(review, [])]:
            problems.append(f"{who} was told that {decision} on {review} counts, and it isn't there")
    for review, first in said.closed:
        last = decided.get(review, [])[-1:]
        if "decision" in first and (
            not last or (last[0].by, last[0].decision) != (first["by"], first["decision"])
        ):
            problems.append(f"{review} was said to be closed by {first}, on record is {last}")
    for thread, key in said.signals:
        if await store.key(f"signal:{len(thread)}:{thread}:{key}") is None:
            problems.append(f"a signal to {thread} ({key}) was lost")
    for run, end in said.ends:
        now = next(row.status for row in await store.runs(run.thread) if row.run == run.number)
        if end not in ("paused", now):
            problems.append(f"{run} was said to be {end}, and it is {now}")
    problems += [f"the cancel of {run} was lost" for run in said.cancels if run.thread not in cancelled]
    problems += [f"the fork {run} was lost" for run in said.forks if run.thread not in record.entries]
    return problems
