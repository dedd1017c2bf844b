"""What policy costs: a call with 50 rules loaded against one without, and a decision alone."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from turnout import END, Context, Finished, Graph, open_app, tool
from turnout.core.verdict import Caller, Question, Resource
from turnout.policy.cedar import open_policy

NARROW = """@id("rule-{i}") permit(principal in Graph::"calls", action == Action::"call", resource == Tool::"tool_{i}")
when {{ context.args.amount > {i} && principal.tenant == "acme" && context.spent.micros < 5000000 }};
"""
WIDE = """@id("rule-{i}") permit(principal, action == Action::"call", resource is Tool)
when {{ context.args.amount > {i} && resource.effect != "write" && context.spent.micros < 5000000 }};
"""


class Calls(BaseModel):
    n: int


@tool(effect="pure")
async def tool_7(order: str, amount: int, note: str) -> int:
    return amount


graph = Graph("calls", state=Calls, tools=[tool_7])
took: list[float] = []


@graph.node
async def work(state: Calls, ctx: Context) -> dict[str, Any]:
    started = time.perf_counter()
    for i in range(state.n):
        await ctx.call(tool_7, order=f"A-{i}", amount=1000 + i, note="as agreed")
    took.append((time.perf_counter() - started) / state.n * 1e6)
    return {}


graph.start(work)
graph.edge(work, END)


def policy(folder: Path, n: int, rules: int) -> dict[str, Any]:
    """µs a call of a pure tool (its entry is staged, and nothing is committed in between): without rules, with rules of
    which one can be about it, with rules that are all about it; and of a decision alone."""
    places = {"narrow": NARROW, "wide": WIDE}
    for name, text in places.items():
        (folder / name).mkdir()
        (folder / name / "rules.cedar").write_text("".join(text.format(i=i) for i in range(rules)))
    found: dict[str, list[float]] = {"none": [], "narrow": [], "wide": []}
    for _ in range(5):
        for name in found:
            asyncio.run(calls(folder, name, n))
            found[name].append(took.pop())
    figures = {name: statistics.median(values) for name, values in found.items()}
    for name in places:
        figures[f"decide {name}"] = decided(folder / name, n)
    return figures


async def calls(folder: Path, name: str, n: int) -> None:
    rules = folder / name if name != "none" else ""
    async with open_app("sqlite://", graphs=[graph], policy=rules, config="") as app:
        outcome = await app.run(graph, {"n": n}, tenant="acme")
        if not isinstance(outcome, Finished):
            sys.exit(f"the calls were not made: {outcome}")


def decided(folder: Path, n: int) -> float:
    rules = open_policy(folder)
    asked = [
        Question(
            Caller("calls", "work", "acme"), Resource("tool", "tool_7", "pure"),
            {"order": f"A-{i}", "amount": 1000 + i, "note": "as agreed"}, now=1_767_225_600_000_000 + i,
        )
        for i in range(n)
    ]  # fmt: skip
    if rules.decide(asked[0]).decision != "allow":
        sys.exit("the rules don't allow what is measured")
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        for question in asked:
            rules.decide(question)
        rounds.append((time.perf_counter() - started) / n * 1e6)
    return statistics.median(rounds)
