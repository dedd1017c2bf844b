"""The wire: requests of the API's version 1, sent again where that does no harm, and its problems as our errors."""

from __future__ import annotations

import asyncio
import inspect
import random
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from turnout import errors
from turnout.errors import InputInvalid, ServiceUnavailable, TurnoutError

PREFIX = "/api/v1"
TYPE = "urn:turnout:error:"
FIRST, LONGEST = 0.1, 2.0
"""Seconds before a request is sent again; twice as many each time."""
SLOW = 30.0
"""Seconds that an answer may take beyond what it was asked to wait."""
LONG = 3600.0
"""Seconds that an answer may take which goes through whole journals."""
LINE = 1 << 28
"""Bytes of a line of a stream; a longer one isn't from a server of ours."""
CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
"""As many as there are requests: each that waits for a run holds one, and none should wait for another's. Of those that
are idle so many are kept."""

_ERRORS = {
    name: cls for name, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, TurnoutError)
}


class Wire:
    """A connection to one server."""

    def __init__(self, url: str, token: str, patience: float, verify: bool | str) -> None:
        self.url = url.rstrip("/")
        self._patience = patience
        trusted: Any = ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify
        self._http = httpx.AsyncClient(
            base_url=f"{self.url}{PREFIX}", verify=trusted,
            headers={"Authorization": f"Bearer {token}"} if token else {}, limits=CONNECTIONS,
        )  # fmt: skip

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(
        self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None, wait: float = 0.0, again: bool = True,
        long: bool = False,
    ) -> bytes:  # fmt: skip
        """The body of the answer. `again`: the request may be sent more than once. `long`: the answer may take long. Raises
        what the problem says."""
        sent = dict(headers or {})
        content = None
        if body is not None:
            content, sent["Content-Type"] = _encoded(body), "application/json"
        if wait:
            sent["Prefer"] = f"wait={int(wait)}"
        asked = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        limit = LONG if long else SLOW + wait
        end, pause = time.monotonic() + self._patience, FIRST
        while True:
            hold = pause
            try:
                answer = await self._http.request(
                    method,
                    path,
                    content=content,
                    params=asked,
                    headers=sent,
                    timeout=httpx.Timeout(SLOW, read=limit),
                )
                if answer.is_success:
                    return answer.content
                problem = error_of(answer.content, answer.status_code)
                hold = max(pause, _seconds(answer.headers.get("Retry-After", "")))
            except httpx.ReadTimeout:
                problem = ServiceUnavailable(f"{self.url} has given no answer within {limit:g} s")
            except httpx.HTTPError as error:
                problem = ServiceUnavailable(
                    f"{self.url} can't be reached: {str(error) or type(error).__name__}; is `turnout serve` running there?"
                )
            passing = isinstance(
                problem, errors.ServiceUnavailable | errors.TooManyRequests | errors.StoreUnavailable
            )
            if not (again and passing) or time.monotonic() + hold > end:
                raise problem
            await asyncio.sleep(hold * random.uniform(0.8, 1.2))  # noqa: S311 - so that clients don't come all at once
            pause = min(2 * pause, LONGEST)

    @asynccontextmanager
    async def stream(
        self, path: str, last: str, query: Mapping[str, Any]
    ) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a stream of events, on from the event `last`. Raises what the problem says."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        patience = httpx.Timeout(SLOW, read=2 * SLOW)
        try:
            async with self._http.stream(
                "GET", path, headers=headers, params=query, timeout=patience
            ) as answer:
                if not answer.is_success:
                    raise error_of(await answer.aread(), answer.status_code)
                yield lines(answer.aiter_bytes())
        except httpx.HTTPError as error:
            raise ServiceUnavailable(
                f"{self.url} can't be reached: {str(error) or type(error).__name__}"
            ) from None


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The lines of a stream of events. httpx's own would end at any of Unicode's line ends, too: JSON has those as they
    are."""
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        first, *more = piece.split(b"\n")
        held.append(first)
        for begun in more:
            yield b"".join(held).removesuffix(b"\r").decode(errors="replace")
            held, size = [begun], 0
        size += len(held[-1])
        if size > LINE:
            raise TurnoutError(
                f"a stream of events has a line of more than {LINE} bytes; is that our server?"
            )


def new_key() -> str:
    """An idempotency key for a request whose caller gave none: so that it can be sent again."""
    return f"auto-{uuid.uuid4().hex}"


def error_of(content: bytes, status: int) -> TurnoutError:
    """The error that a problem tells of; the class is the one that was raised in the server."""
    try:
        said = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError:
        said = {}
    name = str(said.get("type", "")).removeprefix(TYPE)
    text = str(said.get("detail") or said.get("title") or f"the server answered {status}")
    cls = _ERRORS.get(name)
    if cls is None:
        cls = ServiceUnavailable if status in (502, 503, 504) else TurnoutError
    error = cls.__new__(cls)
    Exception.__init__(error, text)
    if isinstance(error, errors.ReviewClosed):
        error.first = said.get("first") or {}
    if isinstance(error, errors.TooManyRequests):
        error.retry_after = float(said.get("retry_after") or 1.0)
    if isinstance(error, errors.GraphInvalid):
        error.graph, error.problems = "", list(said.get("problems") or [])
    return error


def _encoded(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, UnicodeError) as error:
        raise InputInvalid(f"that can't be sent as JSON: {error}") from None


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0
