"""Taint: where what a step has seen came from, when that is nobody's word to be trusted.

A *label* names a source that was declared untrusted: `tool:read_file`, `retrieve:web`, `input:body`. A step meets the
labels of the answers it is given and of the state fields that it reads. Whatever it does from then on, and all that
it writes, may be derived from them, so it carries them. Labels say nothing of content: nobody looks into a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, final

from turnout.core.reducers import Delta

Labels = dict[str, list[str]]
"""The labels of a document: by field, sorted. A field that has none isn't there."""
WRITES: Final = ("allow", "review", "refuse")
"""What a graph or a tool may say of writes whose inputs are tainted."""
SOURCES: Final = ("retrieve", "once", "signal")
"""Kinds of effects that a graph may declare untrusted by name. A tool says so itself."""
_NOT_A_NAME = re.compile(r"[.\[]")


@final
class Untrusted:
    """The mark of a state field whose value comes from outside when an input gives it."""

    def __repr__(self) -> str:
        return "untrusted"


untrusted: Final = Untrusted()
"""Put into `Annotated[...]` of a state field: what an input gives it carries the label `input:FIELD`."""


class Exposure:
    """The labels that one execution of a step has met so far, in the order in which it met them.

    `fields` are the labels of the state that it sees, `item` those of its item in a fan-out, `sources` the labels of
    effects that its graph declares untrusted, `writes` what its graph says of writes with tainted inputs.
    """

    def __init__(
        self, fields: Labels | None = None, item: Sequence[str] = (),
        sources: Collection[str] = (), writes: str = "allow",
    ) -> None:  # fmt: skip
        self.fields = fields or {}
        self.writes = writes
        self._item = item
        self._sources = sources
        self._met: dict[str, None] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """What it has met."""
        return tuple(self._met)

    def meet(self, labels: Iterable[str]) -> None:
        """Something with these labels has reached the step."""
        self._met.update(dict.fromkeys(labels))

    def read(self, field: str) -> None:
        """The step has looked at a field of the state."""
        self.meet(self.fields.get(field, ()))

    def read_all(self) -> None:
        """The step has looked at the state in a way that doesn't say at what."""
        for found in self.fields.values():
            self.meet(found)

    def read_item(self) -> None:
        """The step has looked at its item."""
        self.meet(self._item)

    def answered(self, kind: str, name: str, subject: Any, carried: Iterable[str] = ()) -> None:
        """The step was given an answer, or the error of one. `carried` are labels that came with it."""
        label = f"{kind}:{name}"
        if label in self._sources or (kind == "tool" and getattr(subject, "untrusted", False)):
            self.meet([label])
        self.meet(carried)


def written(labels: Labels, delta: Delta, of: Callable[[str], Iterable[str]]) -> Labels:
    """The labels of a document after `delta`, whose value for a field carries the labels `of` that field.

    What is replaced has lost what was there; to all else the new labels are added.
    """
    new = dict(labels)
    for operation, fields in delta.items():
        for name in fields:
            kept = () if operation in ("set", "drop") else labels.get(name, ())
            found = sorted({*kept, *(of(name) if operation != "drop" else ())})
            if found:
                new[name] = found
            else:
                new.pop(name, None)
    return new


def joined(labels: Labels, delta: Delta, branches: Iterable[tuple[Labels, Iterable[Delta]]]) -> Labels:
    """The labels after a join. `branches` are the labels of each branch's own document, and what it wrote."""
    wrote: dict[str, set[str]] = {}
    for own, deltas in branches:
        for name in {name for one in deltas for fields in one.values() for name in fields}:
            wrote.setdefault(name, set()).update(own.get(name, ()))
    return written(labels, delta, lambda name: wrote.get(name, ()))


def of_input(given: Iterable[str], came: Sequence[str], declared: Collection[str]) -> Labels:
    """The labels of the fields that an input gives: those that `came` with it, and `input:FIELD` of declared ones."""
    found = {
        name: sorted({*came, *([f"input:{name}"] if name in declared else ())})
        for name in given
    }  # fmt: skip
    return {name: labels for name, labels in found.items() if labels}


def carried(labels: Labels, names: Iterable[str], whole: bool) -> Labels:
    """The labels of fields that were made anew for another schema: their own, or, when the class's validators look at
    the `whole` state, everything there is."""
    everything = union(labels)
    found = {name: everything if whole else labels.get(name, []) for name in names}
    return {name: own for name, own in found.items() if own}


def union(labels: Labels) -> list[str]:
    """All labels of a document, sorted."""
    return sorted({label for own in labels.values() for label in own})


def of_reads(labels: Labels, reads: Iterable[str]) -> list[str]:
    """The labels of what was read, by paths such as `order.lines[0]`."""
    if not labels:
        return []
    return sorted({label for path in reads for label in labels.get(_NOT_A_NAME.split(path, 1)[0], ())})


def problems(given: Iterable[Any], fields: Collection[str]) -> list[str]:
    """What is wrong with what a graph declares untrusted: names of state fields, or `retrieve:NAME` and its like."""
    found = []
    for name in given:
        kind, colon, rest = str(name).partition(":")
        if colon and (kind not in SOURCES or not rest):
            known = ", ".join(f"'{kind}:NAME'" for kind in SOURCES)
            found.append(
                f"untrusted={name!r} can't be: a source is one of {known}; a tool is declared itself, @tool(untrusted=True)"
            )
        elif not colon and name not in fields:
            found.append(f"untrusted={name!r} is no field of the state; it has {', '.join(fields)}")
    return found
