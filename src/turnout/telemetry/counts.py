"""What is counted of what has happened: names, amounts and attributes, the same for OpenTelemetry and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from turnout.core.attempts import Attempt
from turnout.telemetry import conventions as c
from turnout.telemetry.tracks import Track

Count = tuple[str, float, dict[str, str]]


def counts_of(track: Track) -> Iterator[Count]:
    """A metric's name, by how much, and its attributes."""
    if track.kind == "run":
        yield c.RUNS, 1, {c.GRAPH: track.graph, c.STATUS: track.facts["status"]}
    elif track.kind == "step":
        where = {c.GRAPH: track.graph, c.NODE: track.name}
        yield c.STEPS, 1, {**where, c.OUTCOME: track.facts["outcome"]}
        if track.known:
            yield c.STEP_DURATION, track.seconds, where
    elif track.kind == "attempt":
        yield from _attempt(track, track.facts["attempt"])
    elif track.kind == "verdict":
        yield c.VERDICTS, 1, {c.GRAPH: track.graph, c.NAME: track.name, c.VERDICT: track.facts["decision"]}
    elif track.kind == "finding":
        yield (
            c.FINDINGS,
            1,
            {c.GRAPH: track.graph, c.GUARD: track.facts["guard"], c.ACTION: track.facts["action"]},
        )
    else:
        outcome = track.facts.get("write") or ("failed" if track.error else "done")
        yield (
            c.EFFECTS,
            1,
            {c.GRAPH: track.graph, c.EFFECT: track.facts["kind"], c.NAME: _name(track), c.OUTCOME: outcome},
        )
        result = track.facts.get("result")
        if track.facts["kind"] == "model" and not track.facts["attempted"] and isinstance(result, dict):
            who = {c.OPERATION: c.CHAT, c.PROVIDER: track.name, c.REQUEST_MODEL: track.name}
            yield from _model(who, result.get("usage") or {}, track.seconds, result.get("cost_micros", 0))


def _name(track: Track) -> str:
    """The name of an effect, where those are few: questions of reviews may be any number."""
    return "" if track.facts["kind"] == "review" else track.name


def _attempt(track: Track, attempt: Attempt) -> Iterator[Count]:
    provider = (attempt.price.provider if attempt.price is not None else "") or attempt.deployment
    who = {c.OPERATION: c.CHAT, c.PROVIDER: provider, c.REQUEST_MODEL: attempt.model or attempt.deployment}
    if attempt.error:
        who[c.ERROR] = attempt.error
    if attempt.why != "cache":
        yield from _model(who, attempt.usage or {}, attempt.ms / 1000, attempt.cost_micros or 0)


def _model(who: dict[str, str], usage: dict[str, Any], seconds: float, cost: int) -> Iterator[Count]:
    yield c.MODEL_DURATION, seconds, who
    for kind in ("input", "output"):
        if usage.get(f"{kind}_tokens"):
            yield c.TOKENS_USED, usage[f"{kind}_tokens"], {**who, c.TOKEN_TYPE: kind}
    if cost:
        yield c.COSTS, cost, who
