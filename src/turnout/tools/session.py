"""One session with a server: from the connection to its end. The only place where the MCP SDK's client is used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError
from pydantic import TypeAdapter, ValidationError

from turnout.errors import NotSent, ServerUnavailable
from turnout.tools.http import client as http_client
from turnout.tools.numbers import sent
from turnout.tools.pins import Pin
from turnout.tools.schema import Server
from turnout.tools.stdio import Outside, stdio
from turnout.tools.wire import SENDING, Sending, message_limit

PAGES = 100
"""Of a list of tools: a server that always has another page is left."""
GRACE = 5.0
"""Seconds that a session may take to end."""
_RESULT: TypeAdapter[Any] = TypeAdapter(types.CallToolResult | types.InputRequiredResult)
log = logging.getLogger("turnout")

for _name in ("mcp", "client"):  # what the SDK logs of a server's messages may hold a credential
    if logging.getLogger(_name).level == logging.NOTSET:
        logging.getLogger(_name).setLevel(logging.CRITICAL)


class Session:
    """A connected client. It lives in a task of its own, on the event loop that opened it.

    `stale`: the list of tools may have changed since it was asked for. `gone`: the server doesn't know the session.
    `under_way` counts calls.
    """

    def __init__(self, terms: Server, values: Mapping[str, str]) -> None:
        self.stale = True
        self.gone = False
        self.under_way = 0
        self._terms = terms
        self._values = values
        self._outside = Outside()
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._client: Client | None = None

    @property
    def alive(self) -> bool:
        """Is there still somebody to ask, as far as one can see?"""
        return not (self._task is None or self._task.done() or self._outside.ended or self.gone)

    @property
    def last_words(self) -> str:
        """What a process has written to standard error at last."""
        return self._outside.last_words

    async def open(self) -> None:
        """Connect and come to terms on a version. Raises whatever goes wrong."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._live(ready))
        await ready

    async def close(self) -> None:
        """End the session, and the process if it is one."""
        self._over.set()
        if self._task is not None:
            if self._client is None:  # it never came to be
                self._task.cancel()
            await asyncio.wait({self._task}, timeout=GRACE)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=GRACE)

    async def tools(self) -> dict[str, Pin]:
        """What the server says of its tools, by name. Raises `MCPError`, `ServerUnavailable`."""
        self.stale = False  # before it is asked for: a change that comes meanwhile counts
        found: dict[str, Pin] = {}
        cursor: str | None = None
        for _ in range(PAGES):
            page = await self._asked().list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            for tool in page.tools:
                if tool.name in found:
                    raise ServerUnavailable(f"it offers two tools named {tool.name!r}")
                found[tool.name] = _pin(tool)
            cursor = page.next_cursor
            if not cursor:
                break
        else:
            raise ServerUnavailable(f"its list of tools has more than {PAGES} pages")
        if not found:
            raise ServerUnavailable("it offers no tools")
        return found

    async def call(self, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool, once. Returns the answer as the protocol has it. Raises `MCPError`, `NotSent`."""
        params = types.CallToolRequestParams(name=tool, arguments=sent(dict(args)))
        self.under_way += 1
        sending = Sending()
        before = SENDING.set(sending)
        try:
            answer = await self._asked().send_request(types.CallToolRequest(params=params), _RESULT)
        except MCPError:
            if sending.unheard:
                raise NotSent(sending.unheard) from None
            raise
        except ValidationError as error:
            raise MCPError(types.PARSE_ERROR, f"it isn't what the protocol says ({error.title})") from None
        finally:
            SENDING.reset(before)
            self.under_way -= 1
        if not isinstance(answer, types.CallToolResult):
            raise MCPError(
                types.INVALID_REQUEST, "the server wants more input of a person in the middle of the call"
            )
        said: dict[str, Any] = answer.model_dump(mode="json", by_alias=True, exclude_unset=True)
        if answer.structured_content is not None:  # as it came: a dump makes null of numbers that JSON hasn't
            said["structuredContent"] = answer.structured_content
        return said

    def _asked(self) -> Any:
        assert self._client is not None
        return self._client.session

    async def _live(self, ready: asyncio.Future[None]) -> None:
        """Hold the client from its beginning to its end: its scopes belong to one task."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                client = Client(
                    await self._transport(stack), cache=None, message_handler=self._hear,
                    client_info=types.Implementation(name="turnout", version=version("turnout")),
                )  # fmt: skip
                self._client = await stack.enter_async_context(client)
                watch = asyncio.ensure_future(self._watch(client))
                if not ready.done():
                    ready.set_result(None)
                try:
                    await self._over.wait()
                finally:
                    watch.cancel()
                    await asyncio.gather(watch, return_exceptions=True)
        except BaseException as problem:
            if not ready.done():
                ready.set_exception(_first(problem))
            elif isinstance(problem, asyncio.CancelledError):
                raise

    async def _transport(self, stack: contextlib.AsyncExitStack) -> AbstractAsyncContextManager[Any]:
        limit = message_limit(self._terms.result_bytes)
        if self._terms.command:
            command = (self._terms.command, *self._terms.args)
            return stdio(command, self._values, limit, self._outside)
        secret = {header: self._values[variable] for header, variable in self._terms.headers_env.items()}
        client = http_client({**self._terms.headers, **secret}, self._terms.connect, limit)
        await stack.enter_async_context(client)
        return streamable_http_client(self._terms.url, http_client=client, max_sse_event_size=limit)

    async def _hear(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.stale = True

    async def _watch(self, client: Client) -> None:
        """Of newer servers one has to ask to be told that their tools have changed."""
        while True:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self.stale = True
            except ListenNotSupportedError:  # an older one: it tells without being asked
                return
            except Exception as problem:
                log.debug("a server doesn't tell of changes: %s", type(problem).__name__)
            self.stale = True  # who isn't told has to look
            await asyncio.sleep(self._terms.recheck)


def _pin(tool: types.Tool) -> Pin:
    annotations = (
        tool.annotations.model_dump(mode="json", by_alias=True, exclude_none=True) if tool.annotations else {}
    )
    return Pin(
        tool.name,
        tool.title or "",
        tool.description or "",
        tool.input_schema,
        tool.output_schema,
        annotations,
    )


def _first(problem: BaseException) -> BaseException:
    """The error in a group of errors that it began with."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return (
        ServerUnavailable("the connection was given up")
        if isinstance(problem, asyncio.CancelledError)
        else problem
    )
