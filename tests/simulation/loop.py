"""An event loop on virtual time, on which several processes live: same seed, same order, to the last callback.

Nothing here waits, reads a clock or starts a thread. When nothing is ready, time jumps to the next timer. What the
real world leaves open is drawn from the seed: which process goes on next, which of two timers of one moment rings
first and, when the loop is `shuffled`, in which order the callbacks of one turn are run. (asyncio runs them first
come, first served, and promises no more than that to code that was written for other loops, too. A turn stays a turn:
who yields lets everybody else of its process go first.)

A *process* is whoever runs with its context: all tasks that are made in it. It can be frozen (SIGSTOP: its callbacks
and timers pile up), thawed, and killed (nothing of it is ever run again, not even a `finally`).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

TOO_MANY = 50_000
"""Callbacks at one moment of virtual time: more is a loop that never lets time pass."""


class Stuck(BaseException):
    """Nothing can ever happen any more, or time stands still. Not to be swallowed on its way out."""


class Handle:
    """What `call_soon` and `call_at` give back."""

    __slots__ = ("args", "callback", "context", "due")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context, due: int = 0
    ) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.context = context
        self.due = due

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.due / 1e6


class Process:
    """Everything that runs with one context. `turn` is what it runs now, `ready` what comes after that."""

    __slots__ = ("context", "dead", "frozen", "name", "queued", "ready", "turn")

    def __init__(self, name: str) -> None:
        self.name = name
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)
        self.turn: deque[Handle] = deque()
        self.ready: list[Handle] = []
        self.queued = self.frozen = self.dead = False


_PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


def process_name() -> str:
    """Which process this is."""
    return _PROCESS.get().name


class SimulatedLoop(asyncio.AbstractEventLoop):
    """`now` is in microseconds since the simulation began. `problems` are errors that nobody took."""

    def __init__(self, chance: random.Random, *, shuffled: bool = False) -> None:
        self.now = 0
        self.callbacks = 0
        self.problems: list[str] = []
        self.outside = Process("outside")
        self._draw = chance.random
        self._shuffled = shuffled
        self._timers: list[tuple[int, float, int, Handle]] = []
        self._runnable: list[Process] = []
        # Also of the dead: nothing of them may be collected early.
        self._tasks: list[tuple[Process, asyncio.Task[Any]]] = []
        self._count = self._began = 0
        self._closed = False

    # --- processes -----------------------------------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """A new process. What is made with its `context` is of it."""
        return self.outside.context.copy().run(Process, name)

    def freeze(self, process: Process) -> None:
        process.frozen = True
        self._dequeue(process)

    def thaw(self, process: Process) -> None:
        process.frozen = False
        self._enqueue(process)

    def kill(self, process: Process) -> None:
        process.dead = True
        process.turn.clear()
        process.ready.clear()
        self._dequeue(process)

    def _enqueue(self, process: Process) -> None:
        idle = process.queued or process.frozen or not (process.ready or process.turn)
        if not idle:
            process.queued = True
            self._runnable.append(process)

    def _dequeue(self, process: Process) -> None:
        if process.queued:
            process.queued = False
            self._runnable.remove(process)

    # --- running -------------------------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run `main`, which is of the outside, to its end, and give its result. Raises `Stuck`."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main, context=self.outside.context)
            while not task.done():
                if not self._runnable:
                    self._pass_time()
                self._moment(task)
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def _pass_time(self) -> None:
        timers = self._timers
        while timers and not self._runnable:
            if timers[0][0] > self.now:
                self.now, self._began = timers[0][0], self.callbacks
            while timers and timers[0][0] == self.now:
                self._ready(heapq.heappop(timers)[3])
        if not self._runnable:
            raise Stuck("nothing will ever happen any more")

    def _moment(self, task: asyncio.Task[Any]) -> None:
        """Everything that happens before time passes."""
        runnable, draw = self._runnable, self._draw
        while runnable and not task.done():
            process = runnable[int(draw() * len(runnable))] if len(runnable) > 1 else runnable[0]
            if not process.turn:
                if self._shuffled and len(process.ready) > 1:
                    process.ready.sort(key=lambda _: draw())
                process.turn.extend(process.ready)
                process.ready.clear()
            handle = process.turn.popleft()
            if not process.turn and not process.ready:
                process.queued = False
                runnable.remove(process)
            if handle.callback is not None:
                self._call(handle)
            if self.callbacks - self._began > TOO_MANY:
                raise Stuck(f"{TOO_MANY} things happened, and no time has passed")

    def count(self) -> None:
        """One more thing happens at this moment. Raises `Stuck` when that never ends."""
        self.callbacks += 1
        if self.callbacks - self._began > TOO_MANY:
            raise Stuck(f"{TOO_MANY} things happened, and no time has passed")

    def _call(self, handle: Handle) -> None:
        self.callbacks += 1
        try:
            handle.context.run(handle.callback, *handle.args)  # type: ignore[arg-type]
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if isinstance(error, Stuck):
                raise
            self.problems.append(f"a callback raised {error!r}")

    def _ready(self, handle: Handle) -> None:
        process = handle.context.get(_PROCESS) or self.outside
        if process.dead or handle.callback is None:
            return
        process.ready.append(handle)
        if not process.queued:
            self._enqueue(process)

    # --- what asyncio asks of a loop -----------------------------------------------------------------------------

    def time(self) -> float:
        return self.now / 1e6

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        handle = Handle(callback, args, context if context is not None else contextvars.copy_context())
        if not self._closed:
            self._ready(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        due = max(round(when * 1e6), self.now)
        handle = Handle(callback, args, context if context is not None else contextvars.copy_context(), due)
        self._count += 1
        heapq.heappush(self._timers, (due, self._draw(), self._count, handle))
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        return self.call_at(self.now / 1e6 + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(((context or contextvars.copy_context()).get(_PROCESS) or self.outside, task))
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            self.problems.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Let go of everything, the tasks of the dead included, without running any more of it than can't be helped."""
        self._closed = True
        asyncio._set_running_loop(self)
        try:
            for _, task in self._tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    _throw_away(task.get_coro())
        finally:
            asyncio._set_running_loop(None)
            self._tasks.clear()
            self._timers.clear()
            self._runnable.clear()

    def lost_errors(self) -> list[str]:
        """Errors of tasks that nobody has looked at, though there was somebody left who could."""
        done = (t for process, t in self._tasks if not process.dead and t.done() and not t.cancelled())
        return [f"nobody took the error of a task: {t._exception!r}" for t in done if t._log_traceback]  # type: ignore[attr-defined]


def _throw_away(coro: Any) -> None:
    """Close a coroutine; one that awaits in a `finally` has to be told again."""
    for _ in range(20):
        with contextlib.suppress(BaseException):
            coro.close()
            return
