"""The connection to one server: opened when it is needed, and opened again when it broke."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from typing import Any

from turnout.errors import NotSent, ServerUnavailable, SettingsInvalid, ToolFailed
from turnout.tools.pins import Pin
from turnout.tools.schema import Server
from turnout.tools.secrets import Secrets

_NOT_READ = "Failed to parse JSON response"
_OURS = f"{_NOT_READ}: the answer "
"""What the SDK says of an answer that it can't read, and of one that our own connection has given up."""


class Connection:
    """One server, as long as the app is open. Its errors hold no credentials."""

    def __init__(self, name: str, terms: Server, environment: Mapping[str, str]) -> None:
        self.name = name
        self.terms = terms
        self._environment = environment
        self._secrets: Secrets | None = None
        self._session: Any = None
        self._tools: Mapping[str, Pin] = {}
        self._listed = 0.0
        self._failed: tuple[float, str] | None = None
        self._first = asyncio.Lock()

    @property
    def secrets(self) -> Secrets:
        """Raises `ServerUnavailable` when one isn't set."""
        if self._secrets is None:
            self._secrets = Secrets.of(self.name, self.terms, self._environment)
        return self._secrets

    async def tools(self) -> Mapping[str, Pin]:
        """What the server says of its tools: just now, or a while ago and nothing has changed since, by its own word.

        Raises `ServerUnavailable`, `SettingsInvalid`.
        """
        asked = asyncio.get_running_loop().time()
        async with self._first:
            now = asyncio.get_running_loop().time()
            if (
                self._failed is not None and self._failed[0] >= asked
            ):  # while we waited: it is our failure, too
                raise ServerUnavailable(self._failed[1])
            session = self._session
            if session is None or not session.alive:
                await self._begin()
            elif session.stale or now - self._listed > self.terms.recheck:
                try:
                    await self._list()
                except ServerUnavailable:
                    if self._session is not None:  # it is busy with what others have asked
                        raise
                    await self._begin()
            return self._tools

    async def call(self, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool, once: the answer as the protocol has it.

        Raises `ToolFailed` when there is none, `NotSent` when the request can't have been heard.
        """
        session, mcp = self._session, _sdk_part("mcp")
        if session is None:
            raise NotSent("the connection was given up")
        try:
            answer: dict[str, Any] = await session.call(tool, args)
        except NotSent as error:
            session.gone = True
            raise NotSent(self.secrets.told(error)) from None
        except mcp.MCPError as error:
            session.stale = True  # the trouble may be with the session
            problem = self._with_last_words(error, session)
        except BaseException:  # cut off: whether it still answers is seen before the next call
            session.stale = True
            raise
        else:
            return answer
        raise ToolFailed(f"server {self.name!r} gave no result: {problem}")

    async def close(self) -> None:
        """End the session, if there is one."""
        async with self._first:
            await self._end()

    async def _begin(self) -> None:
        """A new session, and the tools it has."""
        await self._end()
        make = _sdk_part("turnout.tools.session").Session
        self._session = make(self.terms, self.secrets.values)
        await self._timed(self._session.open())
        await self._list()

    async def _list(self) -> None:
        found = await self._timed(self._session.tools())
        self._tools = {name: pin.without(self.secrets.out_of) for name, pin in found.items()}
        self._failed = None
        self._listed = asyncio.get_running_loop().time()

    async def _timed(self, work: Any) -> Any:
        """What comes of it, in time; else the session is left. Raises `ServerUnavailable`."""
        session = self._session
        try:
            async with asyncio.timeout(self.terms.connect):
                return await work
        except TimeoutError:
            problem = f"it didn't answer within {self.terms.connect:g} s"
        except Exception as error:
            problem = self._with_last_words(error, session)
        except BaseException:
            await self._leave(session)
            raise
        await self._leave(session)
        told = f"server {self.name!r} can't be asked: {problem}"
        self._failed = (asyncio.get_running_loop().time(), told)
        raise ServerUnavailable(told)

    async def _leave(self, session: Any) -> None:
        """End a session that doesn't answer, unless calls of others are under way on it: it may be busy with them."""
        session.stale = True
        if not session.under_way or not session.alive:
            await self._end()

    def _with_last_words(self, error: Exception, session: Any) -> str:
        said = self.secrets.told(error) or type(error).__name__
        if said.startswith(_NOT_READ) and not said.startswith(
            _OURS
        ):  # with pieces of what couldn't be read in it
            said = "the answer is not what the protocol says"
        words = "" if session is None or session.alive else self.secrets.told(session.last_words, end=True)
        return f"{said} (it wrote: {words})" if words else said

    async def _end(self) -> None:
        session, self._session, self._tools = self._session, None, {}
        if session is not None:
            await session.close()


def _sdk_part(name: str) -> Any:
    """A module that needs the MCP SDK. Raises `SettingsInvalid` when that isn't installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SettingsInvalid(f"MCP servers need {error.name}; run `pip install 'turnout[mcp]'`") from None
