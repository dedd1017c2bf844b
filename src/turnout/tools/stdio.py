"""A server that is a process of ours: messages are lines on its standard input and output.

The SDK has a transport for this, too. Ours hands on no more of the environment than was named, keeps what the process
writes to standard error out of our logs, and never holds a line that is larger than it may be.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
from anyio.abc import Process
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, jsonrpc_message_adapter

from turnout.tools.wire import TOO_LARGE, too_large

Streams = tuple[object, object]
PATIENCE = 1.0
"""Seconds that a process has to end by itself, and again when it was told to."""
LAST_WORDS = 2_000
"""Bytes of standard error that are kept."""
EDGE = 200
"""Bytes of either end of a line that is too large, in which its id is looked for."""
_ID = re.compile(rb'^\{"jsonrpc":\s*"2\.0",\s*"id":\s*(\d+),|"id":\s*(\d+)\}\s*$')


def environment_of(named: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process: what was named, and what no process can do without."""
    needed = ("PATH", "SYSTEMROOT", "PATHEXT") if sys.platform == "win32" else ("PATH",)
    kept = {name: os.environ[name] for name in needed if name in os.environ}
    return {**kept, **named}


@dataclass
class Outside:
    """What is known of the process from outside."""

    ended: bool = False
    words: bytearray = field(default_factory=bytearray)

    @property
    def last_words(self) -> str:
        """What the process has written to standard error at last, in whole lines: half a secret is not found."""
        text = self.words.decode(errors="replace")
        return text if len(self.words) < LAST_WORDS else text.partition("\n")[2]


@contextlib.asynccontextmanager
async def stdio(
    command: Sequence[str], named: Mapping[str, str], limit: int, outside: Outside
) -> AsyncIterator[Streams]:
    """Start the process, and stop it at the end. Messages of more than `limit` bytes are answered for as errors.

    Raises OSError when it can't be started.
    """
    process = await anyio.open_process(list(command), env=environment_of(named), start_new_session=True)
    heard, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, said = anyio.create_memory_object_stream[SessionMessage](0)

    async def read() -> None:
        assert process.stdout is not None
        lines = _Lines(limit)
        async with heard:
            with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
                async for chunk in process.stdout:
                    for line in lines.take(chunk):
                        await _deliver(line, heard)
            outside.ended = True

    async def write() -> None:
        assert process.stdin is not None
        try:
            async with said:
                async for message in said:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await process.stdin.send(text.encode() + b"\n")
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            outside.ended = True
            await heard.aclose()

    async def listen() -> None:
        assert process.stderr is not None
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            async for chunk in process.stderr:
                outside.words += chunk
                del outside.words[:-LAST_WORDS]

    async with anyio.create_task_group() as group:
        for work in (read, write, listen):
            group.start_soon(work)
        try:
            yield incoming, outgoing
        finally:
            with anyio.CancelScope(shield=True):
                outgoing.close()
                incoming.close()
                await _stop(process)
            group.cancel_scope.cancel()


class _Lines:
    """Cuts what a process writes into lines, of which none is held that is larger than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = bytearray()
        self._head = b""  # of a line that is too large, while it goes on
        self._size = 0

    def take(self, chunk: bytes) -> list[bytes]:
        """The lines that have come to their end; of one that is too large, an error in its place if it has an id."""
        found = []
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self._add(piece)
            line = self._error() if self._head else bytes(self._held)
            self._held.clear()
            self._head = b""
            if line.strip():
                found.append(line)
        self._add(rest)
        return found

    def _add(self, piece: bytes) -> None:
        self._held += piece
        if not self._head and len(self._held) > self.limit:
            self._head, self._size = bytes(self._held[:EDGE]), 0
        if self._head:
            self._size += max(0, len(self._held) - EDGE)
            del self._held[:-EDGE]

    def _error(self) -> bytes:
        found = _ID.search(self._head) or _ID.search(bytes(self._held))
        if found is None:
            return b""
        error = ErrorData(code=TOO_LARGE, message=too_large(self.limit))
        return (
            JSONRPCError(jsonrpc="2.0", id=int(found[1] or found[2]), error=error).model_dump_json().encode()
        )


async def _deliver(line: bytes, heard: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:  # a server that prints: whoever waits for an answer has a time limit
        return
    await heard.send(SessionMessage(message))


async def _stop(process: Process) -> None:
    """End the process and its children: by closing its input, by a word, by force."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.aclose()
    for number in (None, signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if number is not None:
            _tell(process, number)
        with anyio.move_on_after(PATIENCE):
            while process.returncode is None:
                await anyio.sleep(0.01)
            break
    _tell(process, getattr(signal, "SIGKILL", signal.SIGTERM))  # what it left behind
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await stream.aclose()


def _tell(process: Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.send_signal(signal.Signals(number))
        else:
            os.killpg(process.pid, number)
