"""Routes: how the next node is chosen after a node, and why.

    Edge           always the same target
    RuleTable      rules from top to bottom, the first that matches wins; a default is a must
    Matrix         a rule table written as a policy table (in `matrix`)
    FunctionRoute  a plain function `(state) -> Literal["pay", "ask", "END"]` (in `function_route`)

Every route knows its targets before anything runs. `choose` gives a `Choice`: the target, the rule, the values
that were read, and what else could have been chosen. Targets are kept as they were given (a name, a node
function, a subgraph, END, `parallel(...)`); the graph knows which node each of them means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol, final, runtime_checkable

from pydantic import BaseModel

from turnout.core.expr import Expr
from turnout.core.operations import condition, conjuncts, not_a_condition
from turnout.core.recording import plain
from turnout.errors import RouteFailed


@final
class End:
    """The type of END: the run, or the branch, ends here."""

    name: Final = "END"

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name  # copies and pickles are END itself


END: Final = End()


@dataclass(frozen=True)
class Parallel:
    """A target: branches that run side by side and meet at `join`."""

    targets: tuple[object, ...]
    join: object = END


def parallel(*targets: object, join: object = END) -> Parallel:
    """Go on with several branches at once; when all have arrived at `join`, go on from there."""
    return Parallel(tuple(map(reference, targets)), reference(join))


@dataclass(frozen=True, eq=False)
class Rule:
    """One line of a rule table."""

    name: str
    when: Expr
    to: object


def rule(name: str, when: Expr, *, to: object) -> Rule:
    """If `when` holds go to `to`: a node, its name, END, or `parallel(...)`."""
    if not isinstance(when, Expr):
        raise TypeError(
            f"rule {name!r}: the condition is {when!r}; write an expression, field('amount') <= 5_000"
        )
    return Rule(name, when, reference(to))


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a route went, and why. `reads` is plain JSON data, `failed` the rules asked before and their texts."""

    target: object
    rule: str
    text: str
    reads: dict[str, object]
    alternatives: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


@runtime_checkable
class Route(Protocol):
    """How the next node is chosen after a node."""

    def targets(self) -> tuple[object, ...]:
        """Everything that it can choose, each once; a `Parallel` stands for its branches and join."""
        ...

    def problems(self, model: type[BaseModel]) -> list[str]:
        """What is wrong with it for states of this model."""
        ...

    def choose(self, state: BaseModel) -> Choice:
        """The target in this state. Raises `RouteFailed`."""
        ...

    def code(self) -> str:
        """A canonical text for the fingerprint."""
        ...

    def text(self) -> str:
        """The route as lines for a person."""
        ...

    def labels(self) -> list[tuple[str, object]]:
        """A label for each way out, in order."""
        ...


class Edge:
    """A route that always goes to the same target."""

    def __init__(self, target: object) -> None:
        self.target = reference(target)

    def targets(self) -> tuple[object, ...]:
        return (self.target,)

    def problems(self, model: type[BaseModel]) -> list[str]:
        return _target_problems("the edge", self.target)

    def choose(self, state: BaseModel) -> Choice:
        return Choice(self.target, "edge", "always", {})

    def code(self) -> str:
        return f"Edge({target_name(self.target)})"

    def text(self) -> str:
        return f"always -> {target_name(self.target)}"

    def labels(self) -> list[tuple[str, object]]:
        return [("", self.target)]


class RuleTable:
    """Rules from top to bottom: the first that matches wins, and the default if none does."""

    def __init__(self, rules: Iterable[Rule], default: object = None, noun: str = "rule") -> None:
        self.rules = tuple(rules)
        self.noun = noun
        self.default = reference(default)
        self._texts = tuple((rule.name, rule.when.text()) for rule in self.rules)
        ways = [
            *((rule.name, target_name(rule.to)) for rule in self.rules),
            ("default", target_name(self.default)),
        ]
        self._others = [tuple(ways[:at] + ways[at + 1 :]) for at in range(len(ways))]
        self._failed = [self._texts[:at] for at in range(len(ways))]

    def targets(self) -> tuple[object, ...]:
        return each_once([*(rule.to for rule in self.rules), self.default])

    def choose(self, state: BaseModel) -> Choice:
        reads: dict[str, object] = {}
        for at, rule in enumerate(self.rules):
            try:
                matches = condition(rule.when, state, reads)
            except RouteFailed as error:
                raise RouteFailed(f"{self.noun} {rule.name!r}: {error}") from error
            if matches:
                name, text = self._texts[at]
                return Choice(rule.to, name, text, plain(reads), self._others[at], self._failed[at])
        return Choice(
            self.default,
            "default",
            f"no {self.noun} matched",
            plain(reads),
            self._others[-1],
            self._failed[-1],
        )

    def problems(self, model: type[BaseModel]) -> list[str]:
        found = []
        for rule in self.rules:
            where = f"{self.noun} {rule.name!r}"
            found += [f"{where}: {text}" for text in rule.when.check(model)]
            found += [f"{where}: {text}" for text in not_a_condition(rule.when, model)]
            found += _target_problems(where, rule.to)
        if self.default is None:
            found.append(f"there is no default; say where to go when no {self.noun} matches, default=...")
        else:
            found += _target_problems("the default", self.default)
        return list(dict.fromkeys(found + self._name_problems() + self._shadow_problems()))

    def _name_problems(self) -> list[str]:
        found = []
        seen: set[str] = set()
        for rule in self.rules:
            if not rule.name or rule.name == "default":
                what = "say in a few words what it is about"
                found.append(f"a {self.noun} can't be named {rule.name!r}; {what}")
            elif rule.name in seen:
                found.append(f"two {self.noun}s are named {rule.name!r}; give one of them another name")
            seen.add(rule.name)
        return found

    def _shadow_problems(self) -> list[str]:
        """Rules that can never be chosen, and rules that leave nothing to those after them."""
        found: list[str] = []
        before: list[tuple[Rule, frozenset[str]]] = []
        for at, rule in enumerate(self.rules):
            where = f"{self.noun} {rule.name!r}"
            always, needs = rule.when.constant(), conjuncts(rule.when)
            if always is False:
                found.append(f"{where} never matches; remove it")
            elif always:
                after = [repr(later.name) for later in self.rules[at + 1 :]]
                what = " and ".join([*([", ".join(after)] if after else []), "the default"])
                found.append(f"{where} always matches, so {what} can't be reached; make it the default")
                break
            else:
                covering = [earlier.name for earlier, needed in before if needed <= needs]
                if covering:
                    found.append(
                        f"{where} can't be reached: {covering[0]!r} before it matches whenever it does"
                    )
                before.append((rule, needs))
        return found

    def code(self) -> str:
        rules = [f"({rule.name!r}, {rule.when.code()}, {target_name(rule.to)})" for rule in self.rules]
        return f"RuleTable([{', '.join(rules)}], {target_name(self.default)})"

    def text(self) -> str:
        lines = [f"{rule.name}: {rule.when.text()} -> {target_name(rule.to)}" for rule in self.rules]
        return "\n".join([*lines, f"default -> {target_name(self.default)}"])

    def labels(self) -> list[tuple[str, object]]:
        return [*((rule.name, rule.to) for rule in self.rules), ("default", self.default)]


def target_name(target: object) -> str:
    """A target in words."""
    if isinstance(target, Parallel):
        return f"{' + '.join(map(target_name, target.targets))}, then {target_name(target.join)}"
    if isinstance(target, str):
        return target
    return str(getattr(target, "__name__", None) or getattr(target, "name", None) or target)


def reference(target: object) -> object:
    """The target as it was given; the text "END" means END."""
    return END if isinstance(target, str) and target == "END" else target


def each_once(targets: Iterable[object]) -> tuple[object, ...]:
    """The targets without repetitions and gaps, in order."""
    unique = {
        target if isinstance(target, str) else id(target): target for target in targets if target is not None
    }
    return tuple(unique.values())


def _target_problems(where: str, target: object) -> list[str]:
    if isinstance(target, Parallel):
        inside = [*target.targets, target.join]
        if any(isinstance(part, Parallel) for part in inside):
            return [f"{where} goes to a parallel(...) in a parallel(...); put a node in between"]
        return [problem for part in inside for problem in _target_problems(where, part)]
    named = isinstance(target, str) or callable(target) or isinstance(getattr(target, "name", None), str)
    return [] if named and target != "" else [f"{where} goes to {target!r}, which is not a node"]
