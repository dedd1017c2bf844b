"""One execution of one step: the node's function, its record, and how it ended.

A step may be executed many times (after a crash, a pause, a retry). Each time its function starts from the top, and
what it asked before is answered from the record. A *halt* ends an execution from inside a `ctx` call: it derives
from BaseException so that code that catches Exception can't swallow it, and if a node swallows it all the same, the
halt still counts.
"""

from __future__ import annotations

import asyncio
import functools
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from turnout.core import canon
from turnout.core.effects import Effect, Hit, Miss, Record, Request, content_key, describe
from turnout.core.entries import Divergence, ErrorInfo
from turnout.core.graph import Node, fan_out
from turnout.core.messages import ModelRequest
from turnout.core.state import first_problem
from turnout.core.taint import Exposure
from turnout.core.tool import Tool
from turnout.core.view import StepView
from turnout.core.watching import unwatched
from turnout.errors import EffectError, HeadMoved, StaleWriter, StateMutated, StepTimeout, StoreError
from turnout.runtime.threads import in_thread

TURNS = 5
"""Of the event loop, within which whoever was answered just now asks for more, or a task group that has failed breaks
off what else it has under way. With everything that moves the count begins anew."""
LIBRARY = f"{Path(__file__).parents[1]}/"
"""Where Turnout's own code is: its lines aren't what a reader of an error looks for."""


class Halt(BaseException):
    """Ends an execution of a step without ending the step."""


class Paused(Halt):
    """The step waits for something outside."""


class Parted(Halt):
    """Code and record disagree."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(f"expected {divergence.expected}, got {divergence.actual}")
        self.divergence = divergence


class Frontier(Halt):
    """(replay) The step asks for something that isn't on record: here the record ends."""

    def __init__(self, request: Request) -> None:
        super().__init__(request.text)
        self.request = request


class Lost(Halt):
    """The store failed, or the thread is another's now. It isn't the step's doing: this drive ends, not the step."""

    def __init__(self, error: StoreError | StaleWriter | HeadMoved) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Ask:
    """A request on its way: what is asked, its place in the record, what the record has, and what it takes to do it.

    `changed` are the arguments that are sent instead of those that the node asked with: a guardrail has redacted them,
    or a person has edited them: then `edit` is the review in which it was. The place in the record is that of the request
    as the node made it. `findings` are the guardrails that have found something in it.
    """

    request: Request
    key: str
    n: int
    effect: Effect | None
    subject: Any
    changed: Any = None
    edit: str = ""
    findings: tuple[str, ...] = ()

    @property
    def args(self) -> Any:
        """The arguments that are sent, as plain JSON data."""
        return self.request.args if self.changed is None else self.changed


def changed_to(ask: Ask, args: Any) -> Ask:
    """The request with other arguments, which are checked as the node's were: what is looked at, decided on and recorded
    is what is sent ("666" for a number is sent as 666). Raises `InputInvalid` or ValidationError when they don't fit."""
    subject: Any = ask.subject
    if ask.request.kind == "model":
        subject = ModelRequest.model_validate({"alias": ask.request.name, **args})
        args = subject.model_dump(mode="json", exclude={"alias"}, exclude_defaults=True)
    elif ask.request.kind == "once":
        subject = (ask.subject[0], tuple(args.get("args", ())))
    elif isinstance(subject, Tool):
        args = subject.check(args)
    return replace(ask, changed=args, subject=subject)


Perform = Callable[["Scope", Ask], Awaitable[Any]]


class Scope:
    """What one execution of a step carries with it."""

    def __init__(
        self,
        run: int,
        step: StepView,
        node: Node,
        perform: Perform,
        emit: Callable[[Any], None] = lambda event: None,
        requester: str = "",
        exposure: Exposure | None = None,
    ) -> None:
        self.run = run
        self.step = step
        self.node = node
        self.perform = perform
        self.emit = emit
        self.requester = requester
        self.exposure = exposure or Exposure()
        self.progress = step.progress
        self.record = Record(step.id, step.effects)
        self.findings = tuple(dict.fromkeys(x.guard for found in step.findings.values() for x in found))
        """The guardrails that have found something in this step so far."""
        self.halt: Halt | None = None
        self.ending = False
        self.cancelled = False  # the node was told (once) that it is being cancelled
        self.timed_out = False
        self.told = False  # its task was cancelled (or begun) because the run is ending
        self.over = False  # its function has ended: a task it left behind begins nothing any more
        self._asked = 0
        self._waiting: set[int] = (
            set()
        )  # asks that will halt as soon as nothing else of the step is under way
        self._moved = asyncio.Event()
        self._moves = 0
        self._closed = False
        self.in_flight: dict[int, asyncio.Task[Any] | None] = {}

    @property
    def taint(self) -> tuple[str, ...]:
        """The labels of all that the step has been given and has read so far."""
        return self.exposure.labels

    async def ask(self, request: Request, subject: Any = None) -> Any:
        """Answer a request from the record, or have it performed. What every `ctx` call comes down to."""
        if self.over:
            raise Halt(f"step {self.step.id} is over; await every ctx call before the node returns")
        if self.halt is not None and (self._closed or not isinstance(self.halt, Paused | Frontier)):
            raise self.halt
        key = content_key(request)
        n = self.record.next_slot(key)
        self._asked += 1
        number = self._asked
        found = self.record.match(request, key, n)
        if isinstance(found, Divergence):
            found = await self._after_the_others(number, request, key, n)
        effect = found.effect if isinstance(found, Hit) else None
        work = self.perform(self, Ask(request, key, n, effect, subject))
        task = asyncio.ensure_future(work) if request.write else asyncio.current_task()
        self.in_flight[number] = task
        try:
            answer = canon.copy(await (work if task is None or not request.write else self._to_its_end(task)))
            self.exposure.answered(request.kind, request.name, subject, effect.taint if effect else ())
            return answer
        except EffectError:
            self.exposure.answered(request.kind, request.name, subject, effect.taint if effect else ())
            raise
        except (Paused, Frontier) as wait:
            await self._quiet(number)
            self._closed = True
            raise self.stop(wait) from None
        except (StoreError, StaleWriter, HeadMoved) as error:
            raise self.stop(Lost(error)) from error
        finally:
            if not request.write or task is None or task.done():
                self._over(number)
            else:
                task.add_done_callback(lambda _: self._over(number))

    def _over(self, number: int) -> None:
        self.in_flight.pop(number, None)
        self._waiting.discard(number)
        self._move()

    def _move(self) -> None:
        self._moves += 1
        self._moved.set()

    async def _to_its_end(self, write: asyncio.Task[Any]) -> Any:
        """A write that was begun is seen to its end even when the node waits no longer (a time limit of its own
        around the call): only the end of the step itself cuts it off. What became of it is on record in any case."""
        try:
            return await asyncio.shield(write)
        except asyncio.CancelledError:
            write.add_done_callback(_heard)
            if self.ending or self.timed_out or self.halt is not None:
                write.cancel()
                await asyncio.wait({write})
            raise

    async def _after_the_others(self, number: int, request: Request, key: str, n: int) -> Hit | Miss:
        """A write that isn't on record, while another one that is hasn't been asked for: in a gather that one may
        come yet, for answers from the record come in another order than they came from the world."""
        self.in_flight[number] = asyncio.current_task()
        try:
            await self._quiet(number)
        finally:
            self._over(number)
        found = self.record.match(request, key, n)
        if isinstance(found, Divergence):
            raise self.stop(Parted(found))
        if self.halt is not None:
            raise self.halt
        return found

    async def _quiet(self, number: int) -> None:
        """A wait lets what else the step has under way (a gather, a task group) come to its end or to a wait of its
        own: so two reviews are asked at once, and a write isn't cut off because a review beside it waits."""
        self._waiting.add(number)
        self._move()
        while not self._closed:
            moves = self._moves
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if self._moves != moves:
                continue
            if self.in_flight.keys() <= self._waiting:
                return
            self._moved.clear()
            await self._moved.wait()

    def stop(self, halt: Halt) -> Halt:
        """Halt this execution. The first reason counts, but a wait is the least of them."""
        if self.halt is None or (
            isinstance(self.halt, Paused | Frontier) and not isinstance(halt, Paused | Frontier)
        ):
            self.halt = halt
        return self.halt

    def cancel_once(self) -> None:
        """Tell the node, at the first point where it isn't answered from the record, that it is being cancelled."""
        if self.ending and not self.cancelled:
            self.cancelled = True
            raise asyncio.CancelledError("the run is ending")


def _heard(write: asyncio.Task[Any]) -> None:
    """Nobody waits for this write any more. How it ended is on record, or else is for the thread's next owner to find
    out; asyncio must not report it as an error that nobody has seen."""
    if not write.cancelled():
        write.exception()


@dataclass(frozen=True, slots=True)
class Finished:
    """The node returned. What it returned may still read the state (an iterator, the state itself): `taint` is all that
    was met until it is asked for."""

    update: Any
    fan_out: fan_out | None = None
    exposure: Exposure = field(default_factory=Exposure)

    @property
    def taint(self) -> tuple[str, ...]:
        return self.exposure.labels


@dataclass(frozen=True, slots=True)
class Failed:
    error: BaseException
    info: ErrorInfo
    taint: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Halted:
    halt: Halt


@dataclass(frozen=True, slots=True)
class Cancelled:
    error: ErrorInfo | None = None


Outcome = Finished | Failed | Halted | Cancelled


async def execute(scope: Scope, state: Any, ctx: Any, strict: bool = False) -> Outcome:
    """Run the node's function once over `state` and say how it ended."""
    before = canon.encode(scope.node.schema.dump(unwatched(state))) if strict else b""
    returned: Any = None
    error: BaseException | None = None
    try:
        if scope.node.is_async:
            returned = await scope.node.fn(state, ctx)
        else:
            returned = await in_thread(functools.partial(scope.node.fn, state, ctx), scope.step.id)
    except Halt as halt:
        scope.stop(halt)
    except BaseExceptionGroup as group:
        error = group
        if group.subgroup(Halt) is None and group.subgroup(Exception) is None:
            raise
    except asyncio.CancelledError as cancel:
        error = cancel
        task = asyncio.current_task()
        if task is not None and task.cancelling() and not (scope.halt or scope.ending or scope.timed_out):
            raise
    except (Exception, SystemExit) as problem:  # a library's sys.exit() ends the step, not the worker
        error = problem
    if scope.in_flight:
        await _drain(scope)
    scope.over = True
    # A halt counts even when the node swallowed it, and before an error: the error may be its consequence.
    if scope.halt is not None and not (scope.timed_out and isinstance(scope.halt, Paused)):
        return Halted(scope.halt)
    if scope.timed_out:
        late = StepTimeout(f"step {scope.step.id} took longer than its {scope.node.time_limit:g} s")
        return Failed(late, info_of(late), scope.taint)
    if scope.ending and (scope.cancelled or error is not None):
        told = isinstance(error, asyncio.CancelledError) or error is None
        return Cancelled(None if told or error is None else info_of(error))
    if error is not None:
        return Failed(error, info_of(error), scope.taint)
    left = [effect for effect in scope.record.unclaimed() if effect.status not in ("failed", "absent")]
    if left:
        where, expected = f"step {scope.step.id}", describe(left[0])
        return Halted(
            Parted(Divergence(where, expected, "the step ended without asking for it", left[0].seq))
        )
    if strict and canon.encode(scope.node.schema.dump(unwatched(state))) != before:
        mutated = StateMutated(
            f"node {scope.node.name!r} changed the state that it was handed; return an update instead "
            f"(e.g. return {{...}}), or copy before you change"
        )
        return Failed(mutated, info_of(mutated), scope.taint)
    if isinstance(returned, fan_out):
        return Finished(returned.update, returned, scope.exposure)
    return Finished(returned, exposure=scope.exposure)


async def _drain(scope: Scope) -> None:
    """Let what is still under way (other branches of a gather) come to its end, so that it is recorded, not lost.

    When the step is being stopped, it is told to stop too.
    """
    await asyncio.sleep(0)
    while scope.in_flight:
        others = {task for task in scope.in_flight.values() if task not in (None, asyncio.current_task())}
        if scope.ending or scope.timed_out:
            for task in others:
                task.cancel()
        if not others:
            return
        try:
            await asyncio.wait(others)
        except asyncio.CancelledError:  # told to stop while draining: then the others are told, too
            if not (scope.ending or scope.timed_out):
                raise


def info_of(error: BaseException) -> ErrorInfo:
    """An error as the journal has it: type, message, and the deepest line outside of Turnout."""
    where = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(LIBRARY) or frame.filename.startswith(f"{LIBRARY}demo"):
            where = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    message = first_problem(error) if isinstance(error, ValidationError) else str(error)
    return ErrorInfo(type=type(error).__name__, message=canon.text(message), where=where)
