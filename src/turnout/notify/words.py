"""A notice as people and as machines read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from turnout.core.notices import Notice
from turnout.ports.clock import at

_TITLES = {
    "review.requested": "Review asked: {question}",
    "review.reminder": "Review still open: {question}",
    "review.escalated": "Review escalated: {question}",
    "review.closed": "Review closed: {question}",
    "run.failed": "Run failed: {thread}/{run}",
    "run.finished": "Run finished: {thread}/{run}",
    "run.cancelled": "Run cancelled: {thread}/{run}",
    "thread.set_aside": "Thread set aside: {thread}",
}
_LONGEST = 2000
"""Characters of one line: an error's message may hold a whole answer."""
_MOMENTS = ("at", "asked_at", "due_at")


@dataclass(frozen=True)
class Message:
    """What people get: a line, and a few more."""

    title: str
    text: str


def facts_of(notice: Notice) -> dict[str, Any]:
    """What there is to say."""
    found: dict[str, Any] = msgspec.json.decode(notice.facts)
    return found


def link(base: str, notice: Notice) -> str:
    """The page that the notice is about; "" when nobody has said where pages are."""
    if not base:
        return ""
    if notice.review:
        return f"{base}/reviews/{quote(notice.review, safe='')}"
    return f"{base}/threads/{quote(notice.thread, safe='')}"


def message(notice: Notice, base: str) -> Message:
    """A notice in words."""
    facts = facts_of(notice)
    title = _TITLES[notice.event].format_map({**facts, "question": facts.get("question", "")})
    lines = [
        f"graph {facts['graph']}, thread {notice.thread}" + (f", run {notice.run}" if notice.run else "")
    ]
    if facts["tenant"]:
        lines.append(f"tenant: {facts['tenant']}")
    if facts["priority"]:
        lines.append(f"priority: {facts['priority']}")
    lines += _about_review(facts) if notice.review else _about_run(facts)
    page = link(base, notice)
    lines += ["", page] if page else []
    lines += ["", f"notice {notice.id}"]
    return Message(_line(title)[:200], "\n".join(_line(line) for line in lines))


def _about_review(facts: dict[str, Any]) -> list[str]:
    lines = [f"asked: {_time(facts['asked_at'])}"]
    if facts.get("requester"):
        lines[0] += f" by {facts['requester']}"
    if facts["roles"]:
        lines.append(f"for: {', '.join(facts['roles'])}")
    if "outcome" in facts:
        by = f" by {', '.join(facts['by'])}" if facts["by"] else ""
        return [*lines, f"outcome: {facts['outcome']}{by}"]
    if facts["due_at"] is not None:
        lines.append(f"due: {_time(facts['due_at'])}")
    return [*lines, f"possible: {', '.join(facts['allowed'])}"]


def _about_run(facts: dict[str, Any]) -> list[str]:
    lines = []
    if "error" in facts:
        lines.append(f"{facts['error']['type']}: {facts['error']['message']}")
    if facts.get("unknown_writes"):
        lines.append(f"unknown whether they happened: {', '.join(facts['unknown_writes'])}")
    if facts.get("by"):
        lines.append(f"by: {facts['by']}")
    if facts.get("reason"):
        lines.append(f"why: {facts['reason']}")
    return lines


def payload(notice: Notice, base: str) -> bytes:
    """A notice as the JSON that a webhook gets: `type`, `timestamp` and `data`. It is the same at every attempt."""
    facts = facts_of(notice)
    event, moment = facts.pop("event"), facts.pop("at")
    for name in _MOMENTS:
        if facts.get(name) is not None:
            facts[name] = _iso(facts[name])
    data = {"notice": notice.id, **facts, "link": link(base, notice)}
    return msgspec.json.encode({"type": event, "timestamp": _iso(moment), "data": data})


def _iso(moment: int) -> str:
    return at(moment).isoformat().replace("+00:00", "Z")


def _time(moment: int) -> str:
    return f"{at(moment):%Y-%m-%d %H:%M}Z"


def _line(text: str) -> str:
    """In one line, without anything that a terminal or a mail's header would obey."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."
