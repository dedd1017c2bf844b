"""Effects: what a step asks of the world, and how a request finds its answer on record.

A request is matched by its *content*: kind, name and canonical arguments, within its step, and the how-manieth
request of that content it is. The position of a call in the code plays no part, so an inserted call can never be
handed another call's answer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from turnout.core import canon
from turnout.core.entries import Divergence, ErrorInfo, Micros

SHOWN = 160
"""Characters of a request that are shown in a line."""


class Effect(msgspec.Struct, omit_defaults=True):
    """An effect on record. `status` is one of

    done       answered; `result` holds
    failed     answered with `error`; nothing is left to be known
    intended   a write that was about to be sent when the record ends: its outcome is unknown
    unknown    the same, looked into and still not known
    absent     a write that is known not to have happened: it may be sent again
    waiting    a review, timer, signal or child that has not answered yet; or a request of any kind that a person has to
               let through first
    held       answered; a person has to let the answer through first

    `due_at` is when a timer fires, when an unknown outcome is looked into again, or, of a model call that failed, the
    time before which the upstream doesn't want to be asked again.
    """

    kind: str
    name: str
    key: str
    n: int
    seq: int
    status: str
    write: bool = False
    args: Any = None
    result: Any = None
    error: ErrorInfo | None = None
    idempotency_key: str = ""
    due_at: Micros | None = None
    review: str = ""
    child: str = ""
    tries: int = 0
    undo: str = ""  # of a write that has to be undone when the run doesn't finish: the tool that does it
    landed: int = 0  # the entry by which a write landed
    roles: list[str] = []  # of an answer that is held: who may let it through
    earlier: bool = False  # answered in an attempt that failed; the next one may take another way
    taint: list[str] = []  # labels that came with the answer of a child
    of_parent: bool = (
        False  # in a fork: a write that its parent has begun, and that is the parent's to send and to undo
    )


@dataclass(frozen=True, slots=True)
class Request:
    """A step's request. `args` is plain JSON data; `kind` is tool, model, retrieve, once, now, random, uuid, sleep,
    signal, review or child; or outcome (what became of a write, asked when the run has ended without knowing)."""

    kind: str
    name: str
    args: Any
    write: bool = False

    @property
    def text(self) -> str:
        """The request in one short line, for errors."""
        return short(self.whole)

    @property
    def whole(self) -> str:
        """The request in one line, however long. Guardrails look at it before it is cut: they don't know half a key."""
        args = canon.encode(self.args).decode() if self.args else ""
        return f"{self.kind} {self.name}({args})".strip()


@dataclass(frozen=True, slots=True)
class Hit:
    effect: Effect


@dataclass(frozen=True, slots=True)
class Miss:
    pass


MISS = Miss()


def content_key(request: Request) -> str:
    """32 hex characters that are the same exactly when kind, name and canonical arguments are."""
    return hashlib.sha256(canon.encode([request.kind, request.name, request.args])).hexdigest()[:32]


def slot(key: str, n: int) -> str:
    """The place of an effect in its step's record."""
    return f"{key}.{n}"


class Record:
    """The effects on record of one step, and which of them this execution of the step has claimed."""

    def __init__(self, step: str, effects: dict[str, Effect]) -> None:
        self.step = step
        self.effects = effects
        self.claimed: set[str] = set()
        self._seen: dict[str, int] = {}

    def next_slot(self, key: str) -> int:
        """Which occurrence of this content the next request is."""
        n = self._seen.get(key, 0)
        self._seen[key] = n + 1
        return n

    def match(self, request: Request, key: str, n: int) -> Hit | Miss | Divergence:
        """Find the answer to `request`, claim it, or say why the step must not go on."""
        at = slot(key, n)
        effect = self.effects.get(at)
        if effect is None and request.write:
            left = next(
                (e for e in self.unclaimed() if e.write and e.status not in ("failed", "absent")), None
            )
            if left is not None:
                return Divergence(
                    where=f"step {self.step}", expected=describe(left), actual=request.whole, seq=left.seq
                )
        self.claimed.add(at)  # also when it isn't there: it's about to be recorded by this execution
        return Hit(effect) if effect is not None else MISS

    def unclaimed(self) -> list[Effect]:
        """Effects on record that this execution hasn't asked for."""
        return [
            effect for at, effect in self.effects.items() if at not in self.claimed and not effect.earlier
        ]


def describe(effect: Effect) -> str:
    """An effect on record in one line."""
    if effect.kind == "review":  # its arguments aren't kept with the effect
        return f"review {effect.name}"
    return Request(effect.kind, effect.name, effect.args).whole


def short(text: str) -> str:
    """A line that may be long, as it is shown."""
    return text if len(text) <= SHOWN else text[: SHOWN - 4] + "...)"


def shortened(found: Divergence) -> Divergence:
    """A divergence as it is shown and put on record."""
    return msgspec.structs.replace(found, expected=short(found.expected), actual=short(found.actual))
