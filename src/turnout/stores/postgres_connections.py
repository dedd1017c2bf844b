"""Connections to Postgres: how they are made, which of them still live, and a pool that gives out none that has died.

Whether a connection lives is seen without asking the server, so that a read costs one way to it and back: one that
rests has nothing to read, unless it is a notice of the server's or its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import time
from collections.abc import AsyncIterator
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from turnout.ports.store import WAITS

Connection = AsyncConnection[Any]


def settings(conninfo: str, patience: float) -> dict[str, Any]:
    """What a connection is opened with, unless the address says otherwise. A machine that falls silent, without a word,
    is noticed within `patience` or so: by then nobody must wait for it any more."""
    seconds = max(1, int(patience))
    wished = {
        "connect_timeout": seconds, "application_name": "turnout", "keepalives_idle": seconds,
        "keepalives_interval": max(1, seconds // 3), "keepalives_count": 3, "tcp_user_timeout": seconds * 1000,
    }  # fmt: skip
    given = conninfo_to_dict(conninfo)
    return {"autocommit": True, "prepare_threshold": 2} | {
        name: value for name, value in wished.items() if name not in given
    }


def alive(connection: Connection) -> bool:
    """Is it open, as far as can be seen without asking?"""
    poll = select.poll()
    with contextlib.suppress(psycopg.Error):
        while not (connection.closed or connection.broken):
            poll.register(connection.fileno(), select.POLLIN)
            if not poll.poll(0):
                return True
            connection.pgconn.consume_input()  # a notice; or at the end an error
    return False


class Connections:
    """From `least` up to `size` connections that are lent. Those that died while they rested are replaced."""

    def __init__(self, conninfo: str, patience: float, size: int, name: str, least: int = 1) -> None:
        self._patience = patience
        self._lent = 0
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo, min_size=least, max_size=size, open=False, timeout=patience, reconnect_timeout=patience,
            kwargs=settings(conninfo, patience), name=name,
        )  # fmt: skip

    async def open(self) -> None:
        await self._pool.open()

    @contextlib.asynccontextmanager
    async def lent(self, patience: float | None = None) -> AsyncIterator[Connection]:
        """A connection; `patience` seconds are waited for one, or `WAITS` when there is none at all. Raises
        `psycopg_pool.PoolTimeout`."""
        connection = await self._living(self._patience if patience is None else patience)
        self._lent += 1
        try:
            yield connection
        finally:
            self._lent -= 1
            await self._pool.putconn(connection)

    async def _living(self, patience: float) -> Connection:
        end, task = time.monotonic() + patience, asyncio.current_task()
        told = task.cancelling() if task is not None else 0
        while True:
            left = end - time.monotonic()
            try:
                connection = await self._pool.getconn(max(0.01, min(left, WAITS.get())))
            except PoolTimeout:
                if self._lent and left > WAITS.get():  # the server is there, and others keep it busy
                    continue
                raise
            # The pool waits with asyncio.wait_for, which loses a cancellation that comes with what it waits for (Python
            # 3.11): a worker that is told to stop would never hear of it.
            cancelled = task is not None and task.cancelling() > told
            if alive(connection) and not cancelled:
                return connection
            if not cancelled:
                await connection.close()
            await self._pool.putconn(connection)
            if cancelled:
                raise asyncio.CancelledError("while it waited for a connection")

    async def close(self) -> None:
        await self._pool.close()
