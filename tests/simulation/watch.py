"""The watch at the store's door: what no store may let through, looked at call by call, by a second book-keeping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from turnout.ports.rows import SUSPECT, Append, Lease


@dataclass
class Held:
    """What the watch knows of a thread."""

    head: int = 0
    epoch: int = 0
    until: int = 0  # of the lease, by the clock of who took it


@dataclass
class Watch:
    """`durable` says when every entry was. `note(who, what)` writes the trace."""

    now: Callable[[], int]
    note: Callable[[str, str], None]
    problems: list[str] = field(default_factory=list)
    durable: dict[tuple[str, int], int] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    threads: dict[str, Held] = field(default_factory=dict)
    suspects: bool = False
    """Some thread was taken that may be what kills its workers."""

    def done(self, who: str, verb: str, args: tuple[Any, ...], result: Any) -> None:
        """The store has done it."""
        if verb == "append":
            self._append(who, args[0])
        elif verb == "claim":
            for lease in result:
                self._claimed(who, lease, now=args[1], until=args[2])
        elif verb == "renew":
            lost = {lease.thread for lease in result}
            for lease in args[1]:
                if lease.thread in lost:
                    self.note(who, f"has lost {lease.thread}")
                else:
                    self._renewed(who, lease, args[2])
        elif verb == "release" and result:
            self.threads[args[0].thread].until = 0
            self.note(who, f"gives {args[0].thread} back")
        elif verb == "set_aside":
            for thread in result:
                self.threads[thread].epoch += 1
                self.threads[thread].until = 0

    def refused(self, who: str, verb: str, args: tuple[Any, ...], error: Exception) -> None:
        """The store has refused it."""
        what = f"{verb} {args[0].thread}" if verb == "append" else verb
        self.note(who, f"{what} is refused: {type(error).__name__}")

    def _append(self, who: str, change: Append) -> None:
        thread, opens = change.thread, change.head == 0 or change.base is not None
        kinds = ", ".join(row.kind for row in change.rows) or "nothing"
        self.note(
            who, f"append {thread} {change.head}: {kinds}{' and gives it back' if change.release else ''}"
        )
        held = self.threads.get(thread)
        if (held is None) != opens:
            self._problem(f"{thread} was made twice, or not at all, at entry {change.head}")
        held = self.threads.setdefault(thread, Held(change.head, change.epoch))
        if change.epoch != held.epoch:
            self._problem(f"{thread}: an append of epoch {change.epoch} landed in epoch {held.epoch}")
        if change.head != held.head:
            self._problem(f"{thread}: an append behind entry {change.head} landed behind {held.head}")
        for row in change.rows:
            held.head += 1
            if (row.seq, row.epoch) != (held.head, held.epoch):
                self._problem(f"{thread}: entry {row.seq} of epoch {row.epoch} landed as {held.head}")
            self.durable[(thread, row.seq)] = self.now()
        if change.release:
            held.until = 0
        for key in change.keys:
            if key.key in self.keys:
                self._problem(f"the key {key.key} was used twice")
            self.keys.add(key.key)

    def _claimed(self, who: str, lease: Lease, *, now: int, until: int) -> None:
        held = self.threads[lease.thread]
        self.note(who, f"claims {lease.thread}, epoch {lease.epoch}")
        if lease.epoch <= held.epoch:
            self._problem(f"{lease.thread}: epoch {held.epoch} was followed by {lease.epoch}")
        self.suspects = self.suspects or lease.tries >= SUSPECT
        if held.until >= now:
            self._problem(
                f"{lease.thread} was claimed {(held.until - now) / 1e6:g} s before its lease had run out"
            )
        held.epoch, held.until = lease.epoch, until

    def _renewed(self, who: str, lease: Lease, until: int) -> None:
        held = self.threads[lease.thread]
        if lease.epoch != held.epoch or not held.until:
            self._problem(f"{who} has renewed a lease of {lease.thread} that it has lost")
        held.until = until

    def _problem(self, text: str) -> None:
        self.note("watch", text)
        self.problems.append(text)
