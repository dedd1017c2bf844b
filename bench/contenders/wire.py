"""A small HTTP/1.1 client, so that what is measured is the server: a whole client library takes longer than some answers.

One connection, one request at a time, answers with a Content-Length; and streams of events, of which only what is needed
is looked at.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
STAMP = re.compile(rb'"step":"[^"]*","at":"([^"]+)"')
"""Where an entry of a stream says when it was stamped."""


class Refused(Exception):
    """An answer that isn't a success."""


class Connection(asyncio.Protocol):
    """One connection that is kept open."""

    def __init__(self, token: str = "") -> None:
        self._more = f"Authorization: Bearer {token}\r\n" if token else ""
        self._data = b""
        self._answer: asyncio.Future[tuple[int, bytes, bytes]] | None = None

    @property
    def open(self) -> bool:
        """Can it be asked? A server hangs up on who hasn't asked for a while."""
        return not self._transport.is_closing()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        found = LENGTH.search(self._data, 0, end)
        size = end + 4 + (int(found[1]) if found else 0)
        if len(self._data) < size:
            return
        head, body, self._data = self._data[:end], self._data[end + 4 : size], self._data[size:]
        answer, self._answer = self._answer, None
        if not answer.done():
            answer.set_result((int(head[9:12]), head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server hung up"))

    async def ask(self, method: str, path: str, body: Any = None, headers: str = "") -> tuple[bytes, bytes]:
        """Head and body of an answer. `headers` as they are sent, each ended by a line break. Raises `Refused`."""
        content = json.dumps(body).encode() if body is not None else b""
        kind = "Content-Type: application/json\r\n" if content else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{self._more}{headers}{kind}"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode() + content)
        status, said, answer = await self._answer
        if status >= 400:
            raise Refused(f"{method} {path}: {status} {answer[:500].decode('utf-8', 'replace')}")
        return said, answer

    def close(self) -> None:
        self._transport.close()


async def connected(url: str, token: str = "") -> Connection:
    """A connection to the server at `url`."""
    where = urlsplit(url)
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(token), where.hostname, where.port
    )
    return connection


class Stream(asyncio.Protocol):
    """An open stream of events. With `late`, the seconds from each entry's stamp until it was here are put there."""

    def __init__(self, path: str, token: str, late: list[float] | None) -> None:
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            "Accept: text/event-stream\r\n\r\n"
        )
        self._late = late
        self._rest = b""
        self.bytes = 0
        self.closed = False
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._begun = time.time()
        transport.write(self._request.encode())

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            if data[9:12] != b"200":
                self.ready.set_exception(Refused(data[:500].decode("utf-8", "replace")))
                return
            self.ready.set_result(None)
        self.bytes += len(data)
        if self._late is None:
            return
        now = time.time()
        whole, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        for found in STAMP.finditer(whole):
            stamped = datetime.fromisoformat(found[1].decode()).timestamp()
            if stamped > self._begun:  # of what was there before, some is told, too
                self._late.append(now - stamped)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the server hung up"))

    def close(self) -> None:
        self._transport.close()


async def streaming(url: str, path: str, token: str, late: list[float] | None) -> Stream:
    """A stream that has begun."""
    where = urlsplit(url)
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: Stream(path, token, late), where.hostname, where.port
    )
    await stream.ready
    return stream
