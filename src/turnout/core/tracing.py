"""Where a run stands in a distributed trace: W3C trace context, and ids that follow from the record.

The ids of a run's spans are made of what the journal says, not drawn: so a run that several processes drive, one after
the other, is one trace, and a step's span knows its parent before that has ended.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Traced(NamedTuple):
    """A place in a trace: hex ids, and whether the trace is recorded at all."""

    trace: str
    span: str
    sampled: bool = True

    @property
    def header(self) -> str:
        """As a `traceparent`."""
        return f"00-{self.trace}-{self.span}-{'01' if self.sampled else '00'}"


def parse(traceparent: str) -> Traced | None:
    """What a `traceparent` header says; None when it says nothing that holds, which begins a new trace."""
    found = _HEADER.fullmatch(traceparent.strip())
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return Traced(trace, span, bool(int(flags, 16) & 1))


def clean(traceparent: str) -> str:
    """The header as the journal keeps it; "" when it doesn't hold."""
    found = parse(traceparent)
    return found.header if found is not None else ""


def of_run(traceparent: str, thread: str, run: int, started_at: int) -> Traced:
    """The run's own span, in the trace that it came with, or in one of its own."""
    came = parse(traceparent)
    trace = came.trace if came is not None else _hex(32, "trace", thread, run, started_at)
    return Traced(
        trace, _hex(16, trace, "run", thread, run, started_at), came.sampled if came is not None else True
    )


def below(parent: Traced, *parts: object) -> Traced:
    """The span of what `parts` name below another one."""
    return Traced(parent.trace, _hex(16, parent.span, *parts), parent.sampled)


def _hex(length: int, *parts: object) -> str:
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]
