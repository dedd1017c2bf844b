"""Which of the threads that are due a worker takes: the same rules on every store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from turnout.core.entries import Micros
from turnout.ports.clock import at
from turnout.ports.store import SUSPECT, LimitRow


class Due(NamedTuple):
    """A thread that is due. `owner` is who held it last and let its lease run out; empty when it was given back."""

    thread: str
    epoch: int
    graph: str
    tenant: str
    priority: int
    wake_at: Micros
    tries: int
    owner: str

    @property
    def tried(self) -> int:
        """How many leases in a row have run out on it, this last one counted in."""
        return self.tries + bool(self.owner)


class Rooms:
    """How many more threads of each graph and tenant may be held."""

    def __init__(self, limits: Iterable[LimitRow], held: Iterable[tuple[str, str, int]]) -> None:
        """`held`: how many threads are held now, by graph and tenant."""
        self._room = {(limit.kind, limit.name): limit.at_once for limit in limits}
        for graph, tenant, count in held:
            for key in (("graph", graph), ("tenant", tenant)):
                if key in self._room:
                    self._room[key] -= count

    def full(self, kind: str) -> list[str]:
        """The graphs or tenants that have no place left."""
        return [name for (of, name), room in self._room.items() if of == kind and room <= 0]

    def take(self, due: Due) -> bool:
        """Use a place for `due`, if there is one."""
        keys = [key for key in (("graph", due.graph), ("tenant", due.tenant)) if key in self._room]
        if any(self._room[key] <= 0 for key in keys):
            return False
        for key in keys:
            self._room[key] -= 1
        return True


def choose(
    found: Sequence[Due], limit: int, rooms: Rooms, tries: int, suspects: bool
) -> tuple[list[Due], list[Due]]:
    """Of the threads that are due: those to take, in their order, and those to set aside.

    The highest priority first, then the longest due; at most `limit`, and at most one suspect, if any.
    """
    taken: list[Due] = []
    aside = [due for due in found if tries and due.tried >= tries]
    for due in sorted(found, key=lambda due: (-due.priority, due.wake_at, due.thread)):
        suspect = due.tried >= SUSPECT
        if due in aside or len(taken) >= limit or (suspect and not suspects) or not rooms.take(due):
            continue
        suspects = suspects and not suspect
        taken.append(due)
    return taken, aside


def why_aside(due: Due, now: Micros) -> str:
    """The reason that stands at a thread that is set aside for its tries."""
    last = f"; last: worker {due.owner}, {at(now):%Y-%m-%d %H:%M:%S}Z" if due.owner else ""
    return f"its worker stopped {due.tried} times in a row before a step ended{last}"
