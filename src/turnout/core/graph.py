"""Graph: the named declaration of a state schema, nodes, routes and tools, checked as a whole when it is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from turnout.core import canon, shape, source, taint
from turnout.core.entries import Split
from turnout.core.function_route import FunctionRoute
from turnout.core.routing import END, Choice, Edge, Parallel, Route, Rule, RuleTable
from turnout.core.shape import EXIT
from turnout.core.state import StateSchema
from turnout.core.tool import Tool
from turnout.errors import GraphInvalid, InputInvalid, RouteFailed

F = TypeVar("F", bound=Callable[..., Any])
NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]*$")


@dataclass(frozen=True)
class Retry:
    """How often a step is tried, and how long to wait in between (seconds; each wait is `factor` times the last)."""

    attempts: int = 3
    on: tuple[type[BaseException], ...] = (Exception,)
    wait: float = 1.0
    factor: float = 2.0
    longest: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.wait < 0 or self.factor < 1 or self.longest < 0:
            raise InputInvalid(
                f"{self} makes no sense: attempts is 1 or more, factor 1 or more, times 0 or more (seconds)"
            )

    def delay(self, attempt: int) -> float:
        """Seconds to wait after failed attempt number `attempt` (1 is the first)."""
        try:
            return float(min(self.wait * self.factor ** (attempt - 1), self.longest))
        except OverflowError:  # after a thousand attempts
            return float(self.longest)


ONCE = Retry(attempts=1)


@dataclass(frozen=True)
class Node:
    """One discrete unit of work. `schema` is the state as this node's function wants it. Times are in seconds. `together`
    are the writes of it that are undone when the run doesn't finish."""

    name: str
    fn: Callable[..., Any]
    schema: StateSchema
    is_async: bool
    retry: Retry = ONCE
    time_limit: float | None = None
    tools: frozenset[str] = frozenset()
    together: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Placed:
    """A route where it stands: its schema, and the prefix of the subgraph whose names it uses."""

    route: Route
    schema: StateSchema
    prefix: str = ""


@dataclass(frozen=True)
class Migration:
    """Declared by an engineer: how a run on an older version goes on. `nodes` maps the old version's nodes."""

    before: str
    nodes: Mapping[str, str] = field(default_factory=dict)
    state: Callable[[dict[str, Any]], dict[str, Any]] | None = None


@dataclass(frozen=True)
class fan_out:  # noqa: N801 - reads as the verb it is in a node: return fan_out(check, orders)
    """Returned by a node: run `node` once per item, in parallel, then go on with the route after `node`.

    The items (plain JSON data) reach the steps as `ctx.item`. `update` is this node's own update.
    """

    node: Any
    items: Sequence[Any]
    update: Mapping[str, Any] | None = None


class Graph:
    """A graph is put together once and is immutable from its first use on.

    `step_limit` bounds the steps of one run, `time_limit` (seconds) its time from start to end, pauses included.

    `untrusted` names what comes from outside and may hold anything: state fields, when an input gives them, and
    sources such as `retrieve:web`. Tools say it of themselves. `tainted_writes` is what becomes of a write whose inputs
    may be derived from them: allow, review (a person must approve the call) or refuse; of a graph and its subgraphs the
    strictest word counts.

    `together` are the writes that stand or fall with the run: tools with a `compensate`, in one list or in several, or True
    for all that have one. When the run fails or is cancelled, those that have landed are undone, the latest first.
    `compensate_review` has a person approve each before: True for anybody, or the roles that may.
    """

    def __init__(
        self,
        name: str,
        *,
        state: type[BaseModel],
        tools: Iterable[Tool[Any, Any]] = (),
        step_limit: int = 1_000,
        time_limit: float | None = None,
        untrusted: Iterable[str] = (),
        tainted_writes: str = "allow",
        together: Iterable[Any] | bool = (),
        compensate_review: Iterable[str] | bool = False,
    ) -> None:
        self.name = name
        given: Any = state
        if not (isinstance(given, type) and issubclass(given, BaseModel)):
            raise GraphInvalid(
                name, [f"state={state!r} isn't a Pydantic model; write class State(BaseModel): ..."]
            )
        self.schema = StateSchema(state)
        self.tools: dict[str, Tool[Any, Any]] = {}
        self.nodes: dict[str, Node] = {}
        self.routes: dict[str, Placed] = {}
        self.subgraphs: dict[str, Graph] = {}
        self.migrations: list[Migration] = []
        self.step_limit = step_limit
        self.time_limit = time_limit
        self.first = ""
        self.untrusted = self.schema.untrusted | frozenset(untrusted)
        self._problems: list[str] = taint.problems(sorted(self.untrusted), self.schema.fields)
        self.tainted_writes = tainted_writes
        if tainted_writes not in taint.WRITES:
            self._problems.append(f"tainted_writes={tainted_writes!r} isn't one of {', '.join(taint.WRITES)}")
        self._fingerprint = ""
        for item in tools:
            self._add_tool(item)
        self.compensate_review: list[str] | None = None
        """The roles that approve a compensation before it is made; None: it needs no approval."""
        if compensate_review:
            self.compensate_review = [] if compensate_review is True else list(compensate_review)
        self.together = self._together(together)

    # --- putting it together ---------------------------------------------------------------------------------

    @overload
    def node(self, fn: Graph, /, *, name: str | None = ...) -> Graph: ...
    @overload
    def node(self, fn: F, /, *, name: str | None = ..., retry: Retry = ..., time_limit: float | None = ...,
             tools: Iterable[Tool[Any, Any]] | None = ...) -> F: ...  # fmt: skip
    @overload
    def node(self, fn: None = ..., /, *, name: str | None = ..., retry: Retry = ..., time_limit: float | None = ...,
             tools: Iterable[Tool[Any, Any]] | None = ...) -> Callable[[F], F]: ...  # fmt: skip
    def node(
        self,
        fn: Any = None,
        /,
        *,
        name: str | None = None,
        retry: Retry = ONCE,
        time_limit: float | None = None,
        tools: Iterable[Tool[Any, Any]] | None = None,
    ) -> Any:
        """Declare a node: `@graph.node` over a function `(state, ctx) -> update`, or `graph.node(subgraph)`.

        `tools` narrows which of the graph's tools this node may call. A subgraph's nodes become nodes of this
        graph, named `subgraph/node`; its state's fields must be fields of this graph's state.
        """
        self._open()
        if fn is None:
            return lambda f: self.node(f, name=name, retry=retry, time_limit=time_limit, tools=tools)
        if isinstance(fn, Graph):
            return self._mount(fn, name or fn.name)
        label: str = name or str(getattr(fn, "__name__", ""))
        if not NAME.match(label) or label == "END":
            self._problems.append(f"node name {label!r} can't be used: letters, digits, _ and -, and not END")
        if label in self.nodes or label in self.subgraphs:
            self._problems.append(f"two nodes are named {label!r}; give one of them another name")
        problem = shape.signature_problem(label, fn)
        if problem:
            self._problems.append(problem)
        allowed = frozenset(t.name for t in tools) if tools is not None else frozenset(self.tools)
        self.nodes[label] = Node(
            label, fn, self.schema, shape.is_async(fn), retry, time_limit, allowed, self.together
        )
        return fn

    def start(self, node: Any) -> None:
        """The node that a run begins with."""
        self._open()
        if self.first:
            self._problems.append(f"start is given twice ({self.first!r} and {_ref(node)!r})")
        self.first = _ref(node)

    def edge(self, node: Any, to: Any) -> None:
        """After `node` always go to `to`: a node, END, or `parallel(...)`."""
        self._place(node, Edge(to))

    def route(self, node: Any, rules: Any, *, default: Any = None) -> None:
        """After `node` ask a rule table, a `matrix(...)`, or a function `(state) -> Literal[...]`."""
        if isinstance(rules, list | tuple) and all(isinstance(r, Rule) for r in rules):
            self._place(node, RuleTable(tuple(rules), default))
        elif isinstance(rules, Route):
            if default is not None:
                self._problems.append(
                    f"the route of {_ref(node)!r}: give the default to the matrix itself, not to graph.route"
                )
            self._place(node, rules)
        elif callable(rules):
            self._place(node, FunctionRoute(rules))
        else:
            self._open()
            self._problems.append(
                f"the route of {_ref(node)!r} is neither a list of rule(...), a matrix nor a function"
            )

    def migration(self, before: str, *, nodes: Mapping[Any, Any] | None = None, state: Any = None) -> None:
        """Declare how runs of version `before` (a fingerprint, or its start) go on when proof fails.

        `nodes` maps names of the old version's nodes to nodes of this one; `state` turns the old document into the
        new one. Open steps start again, so a step that has written something is never migrated.
        """
        self._open()
        self.migrations.append(Migration(before, {_ref(k): _ref(v) for k, v in (nodes or {}).items()}, state))

    # --- what it is ------------------------------------------------------------------------------------------

    def build(self) -> Graph:
        """Check everything and freeze. Raises `GraphInvalid` with all problems at once. May be called again."""
        if not self._fingerprint:
            problems = self.problems()
            if problems:
                raise GraphInvalid(self.name, problems)
            self._fingerprint = source.fingerprint(self._parts())
        return self

    @property
    def fingerprint(self) -> str:
        """16 hex characters over structure, schema, declared tools and normalised node source."""
        return self.build()._fingerprint

    @property
    def label(self) -> str:
        """Name and fingerprint, as decisions record it: `refunds@3f2a9c41d0e1b7aa`."""
        return f"{self.name}@{self.fingerprint}"

    def problems(self) -> list[str]:
        """Everything that is wrong, in reading order; empty when the graph can be built."""
        found = list(self._problems)
        if not self.nodes:
            return [*found, "the graph has no nodes; declare one with @graph.node"]
        found += shape.limit_problems(self)
        if not self.first:
            found.append("the graph has no start; say graph.start(node)")
        elif self._named(self.first, "") is None:
            found.append(self._unknown("start", self.first, ""))
        for name, placed in self.routes.items():
            found += [f"the route of {name!r}: {text}" for text in placed.route.problems(placed.schema.model)]
            for target in placed.route.targets():
                for ref in _leaves(target):
                    if self._named(ref, placed.prefix) is None:
                        found.append(self._unknown(f"the route of {name!r}", ref, placed.prefix))
            if name not in self.nodes and name not in self.subgraphs:
                found.append(self._unknown("a route", name, ""))
        for name in [*self.nodes, *self.subgraphs]:
            if name not in self.routes:
                found.append(f"node {name!r} has no route; say where it goes with graph.edge or graph.route")
        return found or shape.shape_problems(self)

    def warnings(self) -> list[source.SourceWarning]:
        """What the nodes' source does that replay can't see."""
        seen = dict.fromkeys(warning for node in self.nodes.values() for warning in source.warnings(node.fn))
        return list(seen)

    def after(self, name: str) -> list[tuple[str, str]]:
        """The (label, target) pairs that can follow node or subgraph `name`. A subgraph's end is `name/END`."""
        placed = self.routes[name]
        pairs = []
        for label, target in placed.route.labels():
            for ref in _leaves(target):
                pairs.append((label, self._named(ref, placed.prefix) or str(ref)))
        return list(dict.fromkeys(pairs))

    def successors(self, name: str) -> set[str]:
        """The nodes, or END, that can come directly after node `name`, through the ends of subgraphs."""
        found: set[str] = set()
        for _, target in self.after(name):
            found |= self.successors(target.removesuffix(EXIT)) if target.endswith(EXIT) else {target}
        return found

    def choose(self, name: str, state: BaseModel) -> tuple[Choice, str, Split | None]:
        """Ask the route of `name`: the choice, its target in words, and the split if it is one."""
        placed = self.routes[name]
        choice = placed.route.choose(state)
        if isinstance(choice.target, Parallel):
            nodes = [self.resolve(ref, placed.prefix, name) for ref in choice.target.targets]
            join = self.resolve(choice.target.join, placed.prefix, name)
            return choice, f"{' + '.join(nodes)}, then {join}", Split(nodes=nodes, join=join)
        return choice, self.resolve(choice.target, placed.prefix, name), None

    def resolve_fan_out(self, name: str, ref: Any) -> str:
        """The node that node `name` may fan out to. Raises `RouteFailed` when its route doesn't go there."""
        placed = self.routes[name]
        node = self._named(_ref(ref), placed.prefix)
        if node is None or node not in {target for _, target in self.after(name)}:
            raise RouteFailed(
                f"node {name!r} fans out to {_ref(ref)!r}, which isn't a target of its route; "
                f"add graph.edge({name}, {_ref(ref)})"
            )
        return node

    def resolve(self, ref: Any, prefix: str, name: str) -> str:
        found = self._named(ref, prefix)
        if found is None:
            raise RouteFailed(
                f"the route of {name!r} gave {_ref(ref)!r}, which is not a node of {self.name!r}"
            )
        return found

    # --- inside ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._fingerprint:
            raise GraphInvalid(
                self.name, ["the graph is in use and can't be changed; declare everything before"]
            )

    def _add_tool(self, item: Tool[Any, Any]) -> None:
        if not isinstance(item, Tool):
            self._problems.append(
                f"{getattr(item, '__name__', item)!r} is not a tool; declare it with @tool(effect=...)"
            )
        elif self.tools.setdefault(item.name, item) is not item:
            self._problems.append(f"two tools are named {item.name!r}; give one of them name=...")

    def _together(self, given: Iterable[Any] | bool) -> frozenset[str]:
        """The names of the writes that are undone when a run doesn't finish."""
        if given is True:
            return frozenset(name for name, item in self.tools.items() if item.compensate is not None)
        found: set[str] = set()
        for item in given or ():
            for one in item if isinstance(item, list | tuple | set | frozenset) else (item,):
                name = one if isinstance(one, str) else getattr(one, "name", repr(one))
                mine = self.tools.get(name)
                if mine is None:
                    self._problems.append(
                        f"together names {name!r}, which is not a tool of the graph; add it to tools"
                    )
                elif mine.compensate is None:
                    self._problems.append(
                        f"together names {name!r}, which can't be undone; declare it with @tool(effect='write', compensate=...)"
                    )
                else:
                    found.add(name)
        return frozenset(found)

    def undo_of(self, write: str, name: str) -> Tool[Any, Any] | None:
        """The tool `name` that undoes a write, if this version has it."""
        item = self.tools.get(write)
        found = item.compensate if item is not None else None
        return found if found is not None and found.name == name else self.tools.get(name)

    def _place(self, node: Any, route: Route) -> None:
        self._open()
        name = _ref(node)
        if name in self.routes:
            self._problems.append(f"node {name!r} has two routes; keep one")
        self.routes[name] = Placed(route, self.schema)

    def _mount(self, child: Graph, name: str) -> Graph:
        """Take a subgraph's nodes and routes in, under `name/`."""
        child.build()
        for field_name, spec in child.schema.fields.items():
            mine = self.schema.fields.get(field_name)
            if mine is None:
                self._problems.append(
                    f"subgraph {name!r} needs the state field {field_name!r}; add it to {self.schema.name}"
                )
            elif mine.info.annotation != spec.info.annotation or mine.reducer.name != spec.reducer.name:
                self._problems.append(
                    f"state field {field_name!r} has another type or reducer in subgraph {name!r}"
                )
        if name in self.nodes or name in self.subgraphs:
            self._problems.append(f"two nodes are named {name!r}; mount the subgraph with another name=")
        self.subgraphs[name] = child
        self.untrusted |= child.untrusted
        if child.tainted_writes in taint.WRITES and self.tainted_writes in taint.WRITES:
            self.tainted_writes = max(self.tainted_writes, child.tainted_writes, key=taint.WRITES.index)
        for item in child.tools.values():
            self._add_tool(item)
        for inner in child.nodes.values():
            self.nodes[f"{name}/{inner.name}"] = replace(
                inner, name=f"{name}/{inner.name}", together=inner.together | self.together
            )
        for inner_name, placed in child.routes.items():
            self.routes[f"{name}/{inner_name}"] = replace(placed, prefix=f"{name}/{placed.prefix}")
        for inner_name, grandchild in child.subgraphs.items():
            self.subgraphs[f"{name}/{inner_name}"] = grandchild
        return child

    def _named(self, ref: Any, prefix: str) -> str | None:
        """The full name of what a route's target stands for: a node, "END", or a subgraph's end."""
        if ref is END or ref == "END":
            return prefix.removesuffix("/") + EXIT if prefix else "END"
        name = prefix + _ref(ref)
        if isinstance(ref, Graph) and name not in self.subgraphs:
            mounted = [n for n, g in self.subgraphs.items() if g is ref and n.startswith(prefix)]
            name = mounted[0] if mounted else name
        while name in self.subgraphs:
            name = f"{name}/{self.subgraphs[name].first}"
        return name if name in self.nodes else None

    @property
    def entry(self) -> str:
        """The full name of the node that a run begins with."""
        return self.resolve(self.first, "", "start")

    def _unknown(self, where: str, ref: Any, prefix: str) -> str:
        name = _ref(ref)
        names = [n.removeprefix(prefix) for n in [*self.nodes, *self.subgraphs] if n.startswith(prefix)]
        near = get_close_matches(name, names, 1)
        return f"{where} names {name!r}, which is not a node" + (
            f"; did you mean {near[0]!r}?" if near else ""
        )

    def _parts(self) -> list[str]:
        parts = [self.name, self.schema.code(), self.first, str(self.step_limit), str(self.time_limit)]
        for name in sorted(self.nodes):
            node = self.nodes[name]
            retry = [
                node.retry.attempts,
                [t.__name__ for t in node.retry.on],
                node.retry.wait,
                node.retry.factor,
            ]
            about = [name, node.is_async, retry, node.time_limit, sorted(node.tools), node.schema.name]
            parts += [canon.encode(about).decode(), source.normalised(node.fn)]
        for name in sorted(self.routes):
            targets = [[label, target] for label, target in self.after(name)]
            parts += [name, self.routes[name].route.code(), canon.encode(targets).decode()]
        parts += [self.tools[name].code() for name in sorted(self.tools)]
        parts += [f"untrusted {name}" for name in sorted(self.untrusted)]
        parts += [f"tainted writes {self.tainted_writes}"] if self.tainted_writes != "allow" else []
        if self.together:
            parts.append(canon.encode(["together", sorted(self.together), self.compensate_review]).decode())
        return parts


def _ref(ref: Any) -> str:
    """The name by which a node is meant: itself, a function's name, a graph's name."""
    if isinstance(ref, str):
        return ref
    if isinstance(ref, Graph):
        return ref.name
    return str(getattr(ref, "__name__", None) or getattr(ref, "name", None) or ref)


def _leaves(target: Any) -> list[Any]:
    return [*target.targets, target.join] if isinstance(target, Parallel) else [target]
