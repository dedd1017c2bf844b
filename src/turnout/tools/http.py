"""A server over HTTP: the SDK's client, on a connection that keeps one request's trouble from all others.

What fails below the protocol (no connection, a status, a body that is too large or cut off) becomes an error of the
protocol, for the request that it is of.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from turnout.tools.wire import REFUSED, SENDING, Sending, too_large


def client(headers: Mapping[str, str], connect: float, limit: int) -> httpx2.AsyncClient:
    """A client for one server. An answer may take as long as whoever waits for it allows."""
    timeout = httpx2.Timeout(connect, read=None)
    plain = {**headers, "accept-encoding": "identity"}  # packed, fifty megabytes are a few kilobytes
    return httpx2.AsyncClient(headers=plain, timeout=timeout, transport=_Guarded(limit))


SESSION = "mcp-session-id"
"""A request with this header that is answered with 404 was not looked at, says the protocol: its session is over."""


class _Guarded(httpx2.AsyncBaseTransport):
    """Requests that don't come through are answered in the server's place."""

    def __init__(self, limit: int) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        sending = SENDING.get() or Sending()
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as problem:
            why = f"no connection: {str(problem) or type(problem).__name__}"
            if not sending.through:  # else it was sent on from where it got to, or asked for what is missing
                sending.unheard = why
            return _in_its_place(request, why)
        except httpx2.TransportError as problem:
            sending.through = True
            return _in_its_place(request, f"the connection broke: {type(problem).__name__}")
        if response.status_code == 404 and SESSION in request.headers and not sending.through:
            await response.aclose()
            sending.unheard = "the server doesn't know the session any more"
            return _in_its_place(request, sending.unheard)
        sending.through = True
        kind = response.headers.get("content-type", "").lower()
        status = response.status_code
        if status in (401, 403) or (
            status >= 400 and status != 404 and not kind.startswith("application/json")
        ):
            await response.aclose()
            return _in_its_place(request, f"HTTP {status}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            return _in_its_place(request, "the answer is packed, which it wasn't to be")
        if not kind.startswith("text/event-stream"):  # of those the SDK limits each event
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Limited(response.stream, self._limit)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _in_its_place(request: httpx2.Request, message: str) -> httpx2.Response:
    error: dict[str, Any] = {"jsonrpc": "2.0", "id": None, "error": {"code": REFUSED, "message": message}}
    body = json.dumps(error).encode()
    return httpx2.Response(502, headers={"content-type": "application/json"}, content=body, request=request)


class _Limited(httpx2.AsyncByteStream):
    """A body of at most `limit` bytes. What goes wrong with it is an error that the SDK takes for one of the body."""

    def __init__(self, inner: httpx2.AsyncByteStream, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self._inner:
                size += len(chunk)
                if size > self._limit:
                    raise httpx2.StreamError(too_large(self._limit))
                yield chunk
        except httpx2.TransportError as problem:
            raise httpx2.StreamError(f"the answer was cut off: {type(problem).__name__}") from None

    async def aclose(self) -> None:
        await self._inner.aclose()
