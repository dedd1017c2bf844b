"""Which of the threads that are due a worker takes: the same rules on every store, and no statement of any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from turnout.core import notices
from turnout.core.entries import Micros
from turnout.ports.clock import at
from turnout.ports.rows import SUSPECT, LimitRow


@dataclass(frozen=True, slots=True)
class Asked:
    """What a claim asks for; see `Store.claim`."""

    worker: str
    now: Micros
    limit: int
    graphs: tuple[str, ...] | None
    thread: str
    tries: int
    suspects: bool
    rules: Callable[[], notices.Rules | None] | None = None

    def told(self, due: Due, reason: str) -> list[notices.Notice]:
        """What is told of a thread that this claim sets aside."""
        rules = self.rules() if self.rules is not None else None
        if rules is None:
            return []
        subject = notices.Subject(due.thread, due.graph, due.tenant, due.priority)
        return notices.aside(rules, subject, reason, self.now, str(due.epoch))


class Due(NamedTuple):
    """A thread that may be taken, as it was when it was read."""

    thread: str
    graph: str
    tenant: str
    priority: int
    wake_at: Micros
    epoch: int
    owner: str
    lease_until: Micros
    tries: int

    @property
    def tried(self) -> int:
        """Its tries, that of the lease that has just run out counted in."""
        return self.tries + (self.owner != "")


@dataclass(slots=True)
class Plan:
    """What a claim takes, and what it sets aside."""

    take: list[Due] = field(default_factory=list)
    aside: list[Due] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.take or self.aside)


class Room:
    """How many threads of a graph or tenant may still be taken. What has no limit always has room."""

    def __init__(self, limits: Iterable[LimitRow], held: Iterable[tuple[str, str, int]]) -> None:
        self._left = {(row.kind, row.name): row.at_once for row in limits}
        for graph, tenant, count in held:
            self._take(graph, tenant, count)

    def __bool__(self) -> bool:
        return bool(self._left)

    def left(self, kind: str, name: str) -> bool:
        return self._left.get((kind, name), 1) > 0

    def full(self, kind: str) -> list[str]:
        return [name for (what, name), left in self._left.items() if what == kind and left <= 0]

    def take(self, due: Due) -> bool:
        """Take the room that `due` needs; False: there isn't any."""
        if not (self.left("graph", due.graph) and self.left("tenant", due.tenant)):
            return False
        self._take(due.graph, due.tenant, 1)
        return True

    def _take(self, graph: str, tenant: str, count: int) -> None:
        for place in (("graph", graph), ("tenant", tenant)):
            if place in self._left:
                self._left[place] -= count


def pick(found: Sequence[Due], asked: Asked, room: Room) -> Plan:
    """Who of those that are due is taken: the highest priority first, then the longest due, as far as there is room."""
    picked, suspects = Plan(), asked.suspects
    for one in sorted(found, key=lambda d: (-d.priority, d.wake_at)):
        if len(picked.take) == asked.limit:
            break
        if asked.tries and one.tried >= asked.tries:
            picked.aside.append(one)
        elif one.tried >= SUSPECT and not suspects:
            continue
        elif room.take(one):
            picked.take.append(one)
            suspects = suspects and one.tried < SUSPECT
    return picked


def stopped(tries: int, worker: str, lease_until: Micros) -> str:
    """Why a thread is set aside whose workers stopped again and again."""
    times = "once" if tries == 1 else f"{tries} times in a row"
    return (
        f"its worker stopped {times} before a step came to its end; the last was {worker}, whose lease ran out at "
        f"{at(lease_until):%Y-%m-%d %H:%M:%S}Z"
    )
