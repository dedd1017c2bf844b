"""Server-sent events: of one thread, and of all that a caller may see."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import Annotated, Any
from urllib.parse import quote, unquote

import msgspec
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from turnout.api.answers import problems
from turnout.api.entrance import Viewing, known
from turnout.core.entries import Entry, Micros
from turnout.errors import AccessRefused, InputInvalid, StoreUnavailable, TurnoutError
from turnout.ports.store import WAITS
from turnout.service.access.door import Door
from turnout.service.cursors import NAME
from turnout.service.items import entry_item
from turnout.service.live.ears import Piece
from turnout.service.live.watching import Event, Live, News, Place
from turnout.service.threads import thread_row

log = logging.getLogger("turnout.api")
router = APIRouter(tags=["events"])
PLAIN = "".join(chr(n) for n in range(33, 127) if chr(n) != "%")
"""Characters of a thread's name that an event's id has as they are."""
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}
RECHECK = 30.0
"""Seconds after which it is looked again whether the caller may still watch: another process may have revoked their token."""
KEPT, LARGE = 2_048, 65_536
"""So many entries are kept as they were sent, for others who watch them, none of them longer than so many bytes. What is
sent at once isn't much longer, either."""
EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One event. `data` is JSON.",
    "properties": {
        "event": {"enum": ["entry", "piece", "place"]},
        "id": {"type": "string"},
        "data": {"type": "string"},
    },
    "required": ["event", "data"],
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events, without end: `entry` (an entry of a journal, with `id: thread:seq`, of all threads `thread:seq~process`), `piece` (what a node "
        "shows while it works, such as a model's words; only from the process that you are connected to) and `place` "
        "(no news: where a stream begins that was asked for from now on, and behind what fills a gap; its id is a place "
        "to go on from).",
        "content": {"text/event-stream": {"schema": EVENT}},
    }
}
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=3 * NAME + len(":") + 18 + len("~") + 32,  # each byte of the name may be written as %C3
        description="The id of the last event that you have: go on behind it.",
    ),
]


@router.get("/threads/{thread:name}/events", response_class=Response, responses={**STREAM, **problems(404)})
async def thread_events(
    request: Request, at: Viewing, thread: str, last: LastEventId = None,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="Go on behind this entry; 0: from the beginning.")] = None,
) -> Response:  # fmt: skip
    """What happens on a thread, as it happens: from now on, or from behind an entry."""
    if last is not None:
        name, after, _ = event_id(last)
        if name != thread:
            raise InputInvalid(f"{last!r} is an event of another thread")
    live: Live = request.app.state.live
    place = ""
    if after is None:
        after = (await thread_row(at.app.store, thread)).head
        place = _id(thread, after)
    return EventStream(request, await live.thread(at.app.store, thread, after), thread, place)


@router.get("/events", response_class=Response, responses={**STREAM, **problems(404)})
async def all_events(request: Request, at: Viewing, last: LastEventId = None) -> Response:
    """What happens on all threads that you may see, as it happens.

    Going on with `Last-Event-ID` leaves nothing out; after a longer break some entries come twice: their ids tell.
    """
    live: Live = request.app.state.live
    store, tenant = at.app.store, at.caller.tenant
    if last is None:
        now = _moment(at.app.clock.now())
        return EventStream(request, await live.all(store, tenant), place=now, by=live.name)
    if re.fullmatch(r"@\d{1,18}", last, re.ASCII) is not None:
        return EventStream(request, await live.all(store, tenant, since=int(last[1:])), by=live.name)
    thread, seq, by = event_id(last)
    return EventStream(request, await live.all(store, tenant, (thread, seq), told_by=by), by=live.name)


def _id(thread: str, seq: int) -> str:
    return f"{quote(thread, safe=PLAIN)}:{seq}"


def _moment(moment: Micros) -> str:
    return f"@{moment}"


def event_id(text: str) -> tuple[str, int, str]:
    """Thread and seq of an entry's id, and the process that told it ("": not said). Raises `InputInvalid`."""
    thread, _, place = text.rpartition(":")
    found = re.fullmatch(r"(\d{1,18})(?:~([0-9a-f]{1,32}))?", place, re.ASCII)
    if not thread or found is None:
        raise InputInvalid(f"{text!r} is no event's id; it looks like thread:12")
    return unquote(thread), int(found[1]), found[2] or ""


class EventStream(Response):
    """Sends events until the watch ends, the client has gone, or the caller may not watch any more. `thread`: the one that
    is watched, if it is one. `place`: where it begins, told at once: who hears nothing more can go on from there. `by`: the
    name of this process, which the ids of the events of all threads have."""

    media_type = "text/event-stream"

    def __init__(
        self,
        request: Request,
        events: AsyncGenerator[list[Event]],
        thread: str = "",
        place: str = "",
        by: str = "",
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._request = request
        self._events = events
        self._thread = thread
        self._by = by
        self._place = _place(place) if place else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        WAITS.set(math.inf)  # who watches has been answered: they are kept while the store comes back
        gone = asyncio.ensure_future(_gone(receive))
        pump = asyncio.ensure_future(self._pump(send))
        refused = asyncio.ensure_future(self._refused())
        tasks = (gone, pump, refused)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ends:
            if isinstance(error, Exception) and not isinstance(error, OSError):
                raise error
        if pump.cancelled() and not refused.cancelled():
            await send(END)

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send(_chunk(b"retry: 1000\n\n" + self._place))
        try:
            async with contextlib.aclosing(self._events) as events:
                await self._tell(events, send)
        except TurnoutError as error:  # who goes on behind what was told gets it as a problem
            log.warning("the events of %s end: %s", self._thread or "all threads", error)
        await send(END)

    async def _tell(self, events: AsyncGenerator[list[Event]], send: Send) -> None:
        async for found in events:
            text = b"" if found else b": quiet\n\n"
            for event in found:
                text += _text(event, self._thread, self._by)
                if len(text) > LARGE:
                    await send(_chunk(text))
                    text = b""
            if text:
                await send(_chunk(text))

    async def _refused(self) -> None:
        """Until the caller may not watch any more, or nobody can say whether: their token has ended, or was revoked."""
        door: Door = self._request.app.state.door
        try:
            with door.inside(self._request.state.until) as told:
                may = True
                while may:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(RECHECK):
                            await told.wait()
                    told.clear()
                    with contextlib.suppress(
                        StoreUnavailable
                    ):  # while it is away nothing comes from it, either
                        may = "view" in (await known(self._request)).rights
        except AccessRefused:
            return
        except TurnoutError as error:
            log.warning("the events of %s end: %s", self._thread or "all threads", error)


async def _gone(receive: Receive) -> None:
    """Until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _chunk(text: bytes) -> Message:
    return {"type": "http.response.body", "body": text, "more_body": True}


_kept: OrderedDict[tuple[str, bytes, str], bytes] = OrderedDict()


def _place(id: str) -> bytes:
    return f"id: {id}\nevent: place\ndata: {{}}\n\n".encode()


def _text(event: Event, thread: str, by: str) -> bytes:
    """An event as it is sent to who watches the thread ("": all of them, told `by` this process)."""
    if isinstance(event, Place):
        return _place(_moment(event.moment))
    if isinstance(event, Piece):
        return b"event: piece\ndata: " + msgspec.json.encode(event) + b"\n\n"
    assert isinstance(event, News)
    text = _entry(event.entry, thread or event.entry.thread, by)
    return text if event.mark else text.partition(b"\n")[2]


def _entry(entry: Entry, thread: str, by: str) -> bytes:
    """An entry as it is sent; its first line is its id, by which the thread that is watched is gone on with. (Entries that a
    fork shares are its parent's.)"""
    key = (thread, entry.digest, by)
    text = _kept.get(key)
    if text is None:
        text = f"id: {_id(thread, entry.seq)}{by and f'~{by}'}\nevent: entry\ndata: ".encode()
        text += msgspec.json.encode(entry_item(entry)) + b"\n\n"
        if len(text) <= LARGE:
            _kept[key] = text
            if len(_kept) > KEPT:
                _kept.popitem(last=False)
    return text
