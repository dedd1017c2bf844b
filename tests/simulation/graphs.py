"""Random graphs: `family(name, version)` is a graph in one of its versions, always the same for the same name.

A node is a list of operations. (These lie in a module of their own, which keeps them out of the fingerprints: a graph
is told from its other versions by the list, and is built ten times as fast.)
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.simulation.operations import TOOLS, Op, Work, play

from turnout import END, Context, Graph, Retry, fan_out, parallel, rule
from turnout import field as state_field

ROOTS, CHILDREN, VERSIONS = 48, 8, 3


@dataclass(frozen=True)
class Plan:
    """A graph in short: what each node does, how often the whole is gone through, and the shape of the middle."""

    name: str
    nodes: tuple[tuple[Op, ...], ...]
    middle: str  # chain | parallel | fan | rules
    rounds: int
    retries: tuple[int, ...]
    limits: tuple[float | None, ...]
    time_limit: float | None = None


SIMPLE: tuple[Op, ...] = (
    ("look",), ("book",), ("pay",), ("post",), ("model",), ("retrieve",), ("once",), ("now",), ("random",), ("uuid",),
    ("book",), ("pay",), ("post",), ("look",), ("twice",), ("braid",), ("agent",), ("agent",), ("sleep", 3), ("sleep", 40), ("signal", "s0"), ("signal", "s1"),
    ("review", "one"), ("review", "two"), ("review", "due", 2, "reject"), ("review", "due", 30, "approve"),
    ("review", "due", 5, "escalate"), ("flaky", 1),
)  # fmt: skip


def plan(name: str, child: bool = False) -> Plan:
    """The plan of that name."""
    chance = random.Random(f"plan {name}")
    nodes = tuple(
        tuple(_op(chance, child) for _ in range(chance.choice([0, 1, 1, 2, 2, 3])))
        for _ in range(chance.randint(1, 2 if child else 4))
    )
    count = len(nodes) + 1
    return Plan(
        name,
        nodes,
        middle=chance.choice(["chain", "parallel", "fan", "rules"]),
        rounds=1 if child else chance.choice([1, 1, 2]),
        retries=tuple(chance.choice([1, 2, 3, 3]) for _ in range(count)),
        limits=tuple(chance.choice([None, None, None, 20.0]) for _ in range(count)),
        time_limit=chance.choice([None, None, None, None, None, 100.0]),
    )


def _op(chance: random.Random, child: bool) -> Op:
    draw = chance.random()
    if draw < 0.15:
        return (
            chance.choice(["gather", "gather", "group"]),
            tuple(chance.choice(SIMPLE) for _ in range(chance.randint(2, 3))),
        )
    if draw < 0.3:
        return ("try", chance.choice(SIMPLE[:7]))
    if draw < 0.4 and not child:
        return ("child", f"c{chance.randrange(CHILDREN)}")
    return chance.choice(SIMPLE)


def newer(old: Plan, version: int) -> Plan:
    """Version 1 does something more at the end of a node, which any run can take up. Version 2 asks something else
    where there was something to ask: a run that has been there can't go on with it."""
    chance = random.Random(f"{old.name} {version}")
    number = chance.randrange(len(old.nodes))
    ops = old.nodes[number]
    if version == 0:
        return old
    if version == 1 or not ops:
        changed = (*ops, ("now",))
    else:
        changed = (("changed", ops[0]), *ops[1:])
    return replace(old, nodes=(*old.nodes[:number], changed, *old.nodes[number + 1 :]))


def build(plan: Plan) -> Graph:
    """The graph that a plan describes."""
    graph = Graph(plan.name, state=Work, tools=TOOLS.values(), time_limit=plan.time_limit)
    count = len(plan.nodes)
    spread = plan.middle if count > 2 else "chain"
    for number, ops in enumerate(plan.nodes):
        fan = "n1" if spread == "fan" and number == 0 else ""
        retry = Retry(attempts=plan.retries[number], wait=1.0)
        graph.node(_node(ops, fan), name=f"n{number}", retry=retry, time_limit=plan.limits[number])
    graph.node(_last(), name="last")
    graph.start("n0")
    for number in range(count):
        _route(graph, spread, number, count)
    graph.route("last", [rule("done", state_field("n") >= plan.rounds, to=END)], default="n0")
    return graph.build()


def _route(graph: Graph, spread: str, number: int, count: int) -> None:
    here, after = f"n{number}", f"n{number + 1}" if number + 1 < count else "last"
    if spread == "parallel":
        branches = parallel(*[f"n{i}" for i in range(1, count)], join="last")
        graph.edge(here, branches if number == 0 else "last")
    elif spread == "rules" and number == 0:
        rules = [rule("even", state_field("log").length() % 2 == 0, to="n2")]
        graph.route(here, rules, default="n1")
    else:
        graph.edge(here, after)


def _node(ops: tuple[Op, ...], fan: str) -> Callable[..., Any]:
    async def run(state: Work, ctx: Context) -> Any:
        log = await play(ops, state, ctx)
        return fan_out(fan, ["x", "y"], update={"log": log}) if fan else {"log": log}

    return run


def _last() -> Callable[..., Any]:
    async def last(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": 1}

    return last


@functools.cache
def family(name: str, version: int) -> Graph:
    """A graph of the pool (g0, g1, ... and the children c0, c1, ...) in one of its versions."""
    return build(newer(plan(name, name.startswith("c")), version))
