"""The outbox as people see it: what is on its way, what was sent, what is dead, and once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from turnout.core import canon, notices
from turnout.core.entries import Micros
from turnout.errors import UnknownNotice
from turnout.ports.clock import Clock, micros
from turnout.ports.clock import at as moment
from turnout.ports.rows import OutboxRow, ThreadRow
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of
from turnout.service.inputs import check_status

STATUSES = ("waiting", "sent", "dead", "withdrawn")


@dataclass(frozen=True)
class Outgoing:
    """A notice to one channel, and how it stands. Times are UTC.

    `due_at`: when it is sent, or tried again. `settled_at`: when it was sent, given up or withdrawn. `error` is what the
    last attempt came to. `facts` is what there is to say.
    """

    id: str
    channel: str
    event: str
    status: str
    thread: str
    run: int
    review: str
    tenant: str
    attempts: int
    created_at: datetime
    due_at: datetime
    settled_at: datetime | None
    error: str
    facts: dict[str, Any]


def shown(row: OutboxRow) -> Outgoing:
    """A notice from its row."""
    notice = row.notice
    return Outgoing(
        id=notice.id, channel=notice.channel, event=notice.event, status=row.status, thread=notice.thread, run=notice.run,
        review=notice.review, tenant=notice.tenant, attempts=row.attempts, created_at=moment(notice.created_at),
        due_at=moment(row.due_at), settled_at=moment(row.settled_at) if row.settled_at is not None else None,
        error=row.error, facts=canon.decode(notice.facts),
    )  # fmt: skip


async def listed(
    store: Store, status: str, tenant: str, after: tuple[datetime, str] | None, limit: int
) -> list[Outgoing]:
    """Notices, the newest first. Raises `InputInvalid`."""
    check_status(status, STATUSES, "notice")
    last = (micros(after[0]), after[1]) if after is not None else None
    return [shown(row) for row in await store.outbox(status=status, tenant=tenant, after=last, limit=limit)]


async def resend(store: Store, clock: Clock, notice: str, tenant: str) -> list[str]:
    """Have one notice, or all that are dead, sent again. Raises `UnknownNotice`."""
    if not notice:
        return await store.resend_outbox(clock.now(), tenant=tenant)
    done = await store.resend_outbox(clock.now(), [canon.plain(notice, "the notice's id")], tenant)
    if not done:
        raise UnknownNotice(
            f"there is no notice {notice!r} in the outbox of {store.url}, or it is being sent at this moment; "
            f"`turnout outbox` lists them"
        ).within(store.url)
    return done


async def of_open(store: Store, thread: str, now: Micros) -> list[notices.Notice]:
    """What is told of the open reviews of a thread that is driven in this store from `now` on, and was elsewhere before."""
    rules = store.notices() if store.notices is not None else None
    if rules is None or not await store.reviews(status="open", thread=thread, limit=1):
        return []
    return notices.open_still(rules, thread, await entries_of(store, await store.read(thread)), now)


def of_aside(store: Store, row: ThreadRow, reason: str, now: Micros) -> Sequence[notices.Notice]:
    """What is told of a thread that somebody sets aside."""
    rules = store.notices() if store.notices is not None else None
    if rules is None:
        return ()
    subject = notices.Subject(row.thread, row.graph, row.tenant, row.priority)
    return notices.aside(rules, subject, reason, now, str(row.epoch))
