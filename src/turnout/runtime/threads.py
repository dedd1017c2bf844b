"""Sync functions run on threads of their own, never on the event loop.

A thread can't be stopped from outside. Whoever waits for one can leave it behind: it is a daemon, so it holds up
neither the run nor the end of the process, and a pool of a few threads can't be used up by stuck calls.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any


async def in_thread(fn: Callable[[], Any], name: str) -> Any:
    """Call `fn` on a new thread and wait for its result. When the waiting is cancelled, the thread is left behind."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        elif isinstance(error, StopIteration):  # a future refuses this one
            future.set_exception(RuntimeError(f"{name} raised StopIteration"))
        else:
            future.set_exception(error)

    def work() -> None:
        value, error = None, None
        try:
            value = context.run(fn)
        except BaseException as problem:  # also a halt: it has to reach the step that the thread works for
            error = problem
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, name=f"turnout {name}", daemon=True).start()
    return await future
