"""The store that all machines share, and each machine's wire to it.

A call is a request that travels to the store, is done there at once, and an answer that travels back; or (weather
`in_place`) it is done where it is asked, as on SQLite. The wire may lose the request, lose the answer of what was done,
bring a request that its sender has given up long ago, or be cut off. Whatever is done passes the `Watch`, which knows
what no store may let through.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.watch import Watch
from tests.simulation.weather import Weather

from turnout.errors import StoreUnavailable, TurnoutError
from turnout.ports.rows import Append
from turnout.ports.store import Store, Transaction

GIVEN_UP = 4.0
"""Seconds after which a caller gives an answer up."""


class Life(Protocol):
    """Who has a wire: a machine from its start to its end."""

    process: Process

    def fate(self, verb: str) -> str:
        """What becomes of its next call: fine, unsent, unanswered, late, or "dies", "stalls" before or after it is done."""

    def strike(self, how: str) -> None:
        """Let it die or stall, now."""


class Database:
    """The store itself. `reachable` is False in an outage."""

    def __init__(
        self, loop: SimulatedLoop, inner: Store, watch: Watch, weather: Weather, chance: random.Random
    ) -> None:
        self.loop = loop
        self.inner = inner
        self.watch = watch
        self.weather = weather
        self.chance = chance
        self.reachable = True
        self.calm = False
        self.wires: list[Wire] = []

    def do(self, wire: Wire, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do it, now. Raises what the store raises."""
        self.loop.count()  # who never waits for anything would never come back to the loop
        try:
            result = run_now(getattr(self.inner, verb)(*args, **kwargs))
        except TurnoutError as error:
            self.watch.refused(wire.name, verb, args, error)
            raise
        self.watch.done(wire.name, verb, args, result)
        if verb in ("append", "wake", "release", "take_back", "claim", "renew", "set_aside"):
            self._tell(wire, verb, args)
        return result

    def _tell(self, writer: Wire, verb: str, args: tuple[Any, ...]) -> None:
        """Let the other machines notice that something was written; and all of them, which threads were woken."""
        for wire in self.wires:
            if wire is not writer:
                self.pass_on(wire.bump)
            for heard in wire.listeners:
                for thread in woken(verb, args):
                    self.pass_on(heard, thread)

    def pass_on(self, do: Callable[..., None], *args: Any) -> None:
        """A notice: on its way, or lost, late or doubled."""
        deaf = 0.0 if self.calm else self.weather.deaf
        draw = self.chance.random() / deaf if deaf else 9.0
        if draw >= 1:
            do(*args)
        elif draw > 0.4:  # else it is lost
            for _ in range(2 if draw > 0.8 else 1):
                self.loop.call_later(self.chance.uniform(0, 10), do, *args, context=self.loop.outside.context)


def woken(verb: str, args: tuple[Any, ...]) -> Sequence[str]:
    """The threads that a call has woken."""
    if verb == "append":
        change: Append = args[0]
        return ([change.thread] if isinstance(change.wake, int) else []) + change.wakes
    if verb == "release":
        return [args[0].thread] if args[2] is not None else []
    return args[0] if verb in ("wake", "take_back") else []


class Wire:
    """A store, as one machine has it from its start to its end."""

    url = "sqlite://"
    notices = None
    """Nobody is told of anything."""

    def __init__(self, database: Database, life: Life) -> None:
        self.name = life.process.name
        self.cut = False
        self.listeners: list[Callable[[str], None]] = []
        self._database = database
        self._life = life
        self._seen = 0
        self._closed = False
        database.wires.append(self)

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_") or not hasattr(self._database.inner, verb):
            raise AttributeError(verb)
        return functools.partial(self._ask, verb)

    async def append(self, change: Append) -> None:
        await self._ask("append", change)

    async def _ask(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        database, loop = self._database, self._database.loop
        if self._closed:
            raise StoreUnavailable("the store is closed")
        fate = self._life.fate(verb)
        if fate == "fine" and database.weather.in_place and self._up():
            return database.do(self, verb, args, kwargs)
        future = loop.create_future()
        if fate in ("dies", "stalls"):
            self._life.strike(fate)
            if fate == "dies":
                await future
        delay = self._delay() + (database.chance.uniform(0, 20) if fate == "late" else 0)
        if not self._up() or fate == "unsent":
            self._later(min(delay, GIVEN_UP), _fail, future)
        else:
            self._later(delay, self._arrive, future, fate, verb, args, kwargs)
            if fate in ("unanswered", "late"):
                self._later(GIVEN_UP, _fail, future)
        return await future

    def _arrive(
        self, future: asyncio.Future[Any], fate: str, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        result, wrong = None, None
        try:
            result = self._database.do(self, verb, args, kwargs)
        except TurnoutError as error:
            wrong = error
        if fate.endswith(" after"):
            self._life.strike(fate.removesuffix(" after"))
        if fate not in ("unanswered", "late"):
            self._later(self._delay(), _answer, future, result, wrong)

    def _up(self) -> bool:
        return self._database.reachable and not self.cut

    def _delay(self) -> float:
        return self._database.weather.latency * self._database.chance.random()

    def _later(self, delay: float, do: Callable[..., None], *args: Any) -> None:
        loop = self._database.loop
        if delay:
            loop.call_later(delay, do, *args, context=loop.outside.context)
        else:
            loop.call_soon(do, *args, context=loop.outside.context)

    # --- hearing of work -----------------------------------------------------------------------------------------

    def bump(self) -> None:
        self._seen += 1

    def changed(self) -> int:
        if not self._up():
            raise StoreUnavailable("the store can't be reached")
        return self._seen

    async def hear(
        self, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
    ) -> None:
        """Wake-ups come by the wire, too, and the connection breaks with it."""
        loop = self._database.loop

        def deliver(thread: str) -> None:
            loop.call_soon(heard, thread, context=self._life.process.context)

        self.listeners.append(deliver)
        try:
            while self._up():
                await asyncio.sleep(poll)
        finally:
            self.listeners.remove(deliver)
        raise StoreUnavailable("the store can't be reached")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A transaction happens at once, as soon as it has come to its end."""
        if not self._up():
            raise StoreUnavailable("the store can't be reached")
        async with self._database.inner.transaction() as made:
            noted = _Noted(made)
            yield noted
        for change in noted.changes:
            self._database.watch.done(self.name, "append", (change,), None)

    def leave(self) -> None:
        """The machine is gone; what it has sent is not."""
        if self in self._database.wires:
            self._database.wires.remove(self)

    async def close(self) -> None:
        """The data outlives the machine."""
        self._closed = True


class _Noted:
    """A transaction, with what was appended in it."""

    def __init__(self, made: Transaction) -> None:
        self.connection = made.connection
        self.changes: list[Append] = []
        self._made = made

    async def append(self, change: Append) -> None:
        await self._made.append(change)
        self.changes.append(change)


def run_now(coro: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits."""
    try:
        coro.send(None)
    except StopIteration as done:
        return done.value
    coro.close()
    raise AssertionError("the inner store waited for something")


def _fail(future: asyncio.Future[Any]) -> None:
    _answer(future, None, StoreUnavailable("no answer from the store"))


def _answer(future: asyncio.Future[Any], result: Any, wrong: Exception | None) -> None:
    if future.done():
        return
    if wrong is not None:
        future.set_exception(wrong)
    else:
        future.set_result(result)
