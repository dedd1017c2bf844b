"""The world outside: it takes writes, answers questions, and remembers all of it. It is the oracle of a schedule.

A request that was sent is on its way, whatever becomes of its sender. It may arrive late, be refused (with proof, or
with an error that proves nothing), or be done while its answer is lost. What was done stands in the ledger. Who asks
what became of a write (`settle`) gets an honest answer: what is still on its way then is stopped, or it "can't be told".
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tests.simulation.loop import SimulatedLoop, process_name

from turnout import CANNOT_TELL, DID_NOT_HAPPEN, DidNotHappen, Landed, ModelReply, ModelRequest

THREAD: ContextVar[str] = ContextVar("thread", default="")
"""The thread for which a node runs."""
WORLD: ContextVar[World] = ContextVar("world")
PATIENCE = 8.0
"""Seconds: the time limit of the tools, so that what hangs is cut off."""


class Refused(Exception):
    """A receiver's way to say that nothing was done."""


@dataclass
class Ask:
    """A question to the world that changes nothing: a read, a retrieval, a model call."""

    at: int
    machine: str
    thread: str
    content: str


@dataclass
class Send:
    """A write on its way. `landed`: it is in the ledger; `over`: it never will be any more, if it isn't."""

    at: int
    machine: str
    thread: str
    tool: str
    what: str
    key: str
    landed: bool = False
    over: bool = False


@dataclass(frozen=True)
class Manners:
    """How the world behaves: chances out of 1, and the longest way of a message in seconds."""

    latency: float = 0.05
    fails: float = 0.0
    refuses: float = 0.0
    loses_answers: float = 0.0
    hangs: float = 0.0
    is_late: float = 0.0
    cannot_tell: float = 0.0


class World:
    """`dies` is asked when something is about to be sent: True when its sender is dead now. `done` is told when
    something was done: the sender may die or freeze before it hears of it."""

    def __init__(self, loop: SimulatedLoop, chance: random.Random, manners: Manners) -> None:
        self.manners = manners
        self.asks: list[Ask] = []
        self.sends: list[Send] = []
        self.ledger: dict[str, list[Send]] = {}
        self.closed = False
        self.intruders: list[str] = []
        self.dies: Callable[[str], bool] = lambda machine: False
        self.done: Callable[[str], None] = lambda machine: None
        self.note: Callable[[str, str], None] = lambda who, what: None
        self._loop = loop
        self._chance = chance
        self._by_key: dict[str, str] = {}

    # --- questions -----------------------------------------------------------------------------------------------

    async def ask(self, kind: str, content: str) -> str:
        """An answer that no other question, and no second asking, gets."""
        await self._begin(f"{kind} {content}")
        self.asks.append(Ask(self._loop.now, process_name(), THREAD.get(), content))
        number = len(self.asks)
        future = self._loop.create_future()
        fate = self._fate()
        if fate == "hangs" and kind in ("look", "model"):
            self._note(f"{kind} {content} hangs")
        else:
            wrong = ConnectionError(f"no answer to {content}") if fate in ("fails", "loses_answers") else None
            self._later(_answer, future, f"{content}#{number}", wrong)
        answer: str = await future
        return answer

    async def complete(self, request: ModelRequest, emit: Callable[[Any], None]) -> ModelReply:
        """A model, which says what an agent should do next."""
        said = await self.ask("model", str(request.messages[-1].content))
        turn = len(request.messages)
        word = "done" if self._chance.random() < 0.2 * turn else self._chance.choice(["book", "pay", "look"])
        return ModelReply(text=f"{word} {said}")

    # --- writes --------------------------------------------------------------------------------------------------

    async def write(self, tool: str, what: str, key: str = "") -> str:
        """Do something that can be seen. With a `key` it is done once, however often it is sent."""
        await self._begin(f"{tool} {what}")
        send = Send(self._loop.now, process_name(), THREAD.get(), tool, what, key)
        self.sends.append(send)
        self._note(f"{tool} {what} is sent")
        future = self._loop.create_future()
        fate = self._fate()
        late = self._chance.uniform(0.5, 5) * PATIENCE if fate == "is_late" else 0.0
        self._later(self._arrive, send, fate, future, late=late)
        result: str = await future
        return result

    def _arrive(self, send: Send, fate: str, future: asyncio.Future[str]) -> None:
        wrong: Exception | None = None
        result = self._by_key.get(send.key, "") if send.key else ""
        if result:
            self._note(f"{send.tool} {send.what} had been done")
        elif send.over:
            wrong = ConnectionError("it was stopped on its way")
        elif fate == "refuses":
            wrong = Refused("not today") if send.tool == "pay" else DidNotHappen("not today")
        elif fate == "fails":
            wrong = ConnectionError("something went wrong")
        else:
            result = f"{send.tool}:{send.what}"
            send.landed = True
            self.ledger.setdefault(send.what, []).append(send)
            if send.key:
                self._by_key[send.key] = result
            self._note(f"{send.tool} {send.what} is done")
            if fate == "loses_answers":
                wrong = ConnectionError("the line broke")
        if wrong is not None:
            self._note(f"{send.tool} {send.what}: {wrong}")
        send.over = True
        self.done(send.machine)
        if fate != "hangs":
            self._later(_answer, future, result, wrong)

    async def look_into(self, what: str) -> Any:
        """What a tool's `reconcile` says of a write."""
        await self._begin(f"what became of {what}")
        future = self._loop.create_future()
        self._later(_answer, future, "", None)
        await future
        if self._chance.random() < self.manners.fails:
            self._note(f"what became of {what}: nobody there")
            raise ConnectionError("the archive is shut")
        if self._chance.random() < self.manners.cannot_tell:
            self._note(f"what became of {what}: can't tell")
            return CANNOT_TELL
        return self.settle(what)

    def settle(self, what: str) -> Any:
        """Landed, or it never will: what is on its way is stopped."""
        done = self.ledger.get(what)
        self._note(f"what became of {what}: {'done' if done else 'nothing'}")
        if done:
            return Landed(f"{done[0].tool}:{what}")
        for send in self.sends:
            if send.what == what:
                send.over = True
        return DID_NOT_HAPPEN

    def calm_down(self) -> None:
        """Nothing goes wrong from here on."""
        self.manners = Manners(latency=self.manners.latency)

    # --- the ways there and back ---------------------------------------------------------------------------------

    async def _begin(self, what: str) -> None:
        if self.closed:
            self.intruders.append(what)
        if self.dies(process_name()):
            await self._loop.create_future()

    def _fate(self) -> str:
        draw = self._chance.random()
        for name in ("fails", "refuses", "loses_answers", "hangs", "is_late"):
            draw -= getattr(self.manners, name)
            if draw < 0:
                return name
        return "fine"

    def _later(self, do: Callable[..., None], *args: Any, late: float = 0.0) -> None:
        delay = self.manners.latency * self._chance.random() + late
        self._loop.call_later(delay, do, *args, context=self._loop.outside.context)

    def _note(self, what: str) -> None:
        self.note("world", what)


def _answer(future: asyncio.Future[str], result: str, wrong: Exception | None) -> None:
    if future.done():
        return
    if wrong is not None:
        future.set_exception(wrong)
    else:
        future.set_result(result)
