"""Runs: started, waited for, cancelled; signals to threads; threads set aside and forked."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from turnout.api.answers import answer, problems
from turnout.api.bodies import Cancel, Fork, SendSignal, SetAside, Start
from turnout.api.entrance import Admitted, Operating, Viewing
from turnout.api.headers import IdempotencyKey, Prefer, wait_in
from turnout.api.shapes import shape
from turnout.service.items import Done, RunRef, RunState, run_state
from turnout.service.live.watching import Live
from turnout.service.outcome import Run

router = APIRouter(tags=["runs"])
Number = Annotated[int, Path(ge=1, le=2**53)]


def place(request: Request, run: Run) -> str:
    """The address of a run, below that of the API."""
    return f"{request.scope.get('root_path', '')}/threads/{quote(run.thread, safe='')}/runs/{run.number}"


def ref(run: Run) -> RunRef:
    """Which run it is."""
    return RunRef(run.thread, run.number, run.new)


async def standing(request: Request, at: Admitted, run: Run, seconds: float) -> RunState:
    """How a run stands, at the latest after so many seconds, or when the server is about to stop."""
    if not seconds:
        return await at.app.standing(run)
    live: Live = request.app.state.live
    waiting = asyncio.ensure_future(at.app.standing(run, wait=seconds))
    closing = asyncio.ensure_future(live.closed())
    try:
        await asyncio.wait([waiting, closing], return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else await at.app.standing(run)
    finally:
        waiting.cancel()
        closing.cancel()


@router.post(
    "/runs",
    status_code=202,
    responses={
        200: {
            "model": shape(RunState),
            "description": "It has ended or waits for somebody, within `Prefer: wait`.",
        },
        202: {"model": shape(RunState), "description": "It is on record, and goes on by itself."},
        **problems(400, 404, 409, 413),
    },
)
async def start_run(
    request: Request, at: Operating, body: Start, key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Start a run. It is answered as soon as the input is on record; `Location` says where the run is.

    With `Idempotency-Key` the same input sent again gives the same run. With `Prefer: wait=N` the answer waits up to N
    seconds for the run to end, or to wait for somebody.
    """
    run = await at.app.start(
        body.graph, body.input, thread=body.thread, idempotency_key=key, by=at.by(body.by), if_active=body.if_active,
        tenant=body.tenant, priority=body.priority, at=body.at, traceparent=request.headers.get("traceparent", ""),
    )  # fmt: skip
    seconds = wait_in(prefer, at.serve.wait)
    if run.new and run.number == 1 and not seconds:
        state = run_state(run, body.graph, None)  # its thread was made just now: there is nothing to look up
    else:
        state = await standing(request, at, run, seconds)
    headers = {"Location": place(request, run)}
    if seconds:
        headers["Preference-Applied"] = f"wait={seconds:g}"
    return answer(state, 200 if seconds and state.outcome.status != "running" else 202, headers)


@router.get(
    "/threads/{thread:name}/runs/{run:name}", responses={200: {"model": shape(RunState)}, **problems(404)}
)
async def get_run(request: Request, at: Viewing, thread: str, run: Number, prefer: Prefer = None) -> Response:
    """How a run stands. With `Prefer: wait=N` the answer waits up to N seconds for its end, or for it to wait for somebody."""
    return answer(await standing(request, at, Run(thread, run), wait_in(prefer, at.serve.wait)))


@router.post(
    "/threads/{thread:name}/cancel",
    status_code=202,
    responses={202: {"model": shape(RunRef)}, **problems(400, 404, 409, 413)},
)
async def cancel_run(at: Operating, thread: str, body: Cancel, key: IdempotencyKey = None) -> Response:
    """Ask a run to stop. It is answered at once; the run says when it has. With `Idempotency-Key` the same request sent again
    is about the same run, whichever is active by then."""
    by = at.by(body.by)
    run = await at.app.cancel(thread, run=body.run, by=by, reason=body.reason, idempotency_key=key)
    return answer(ref(run), 202)


@router.post(
    "/threads/{thread:name}/signals",
    status_code=202,
    responses={202: {"model": shape(Done)}, **problems(400, 404, 409, 413)},
)
async def send_signal(at: Operating, thread: str, body: SendSignal, key: IdempotencyKey = None) -> Response:
    """Send a signal to a thread. `done` is false when it was sent before with that key."""
    by = at.by(body.by)
    return answer(Done(await at.app.signal(thread, body.name, body.payload, by=by, idempotency_key=key)), 202)


@router.put(
    "/threads/{thread:name}/aside", responses={200: {"model": shape(Done)}, **problems(400, 404, 409, 413)}
)
async def set_aside(at: Operating, thread: str, body: SetAside) -> Response:
    """Have no worker take the thread any more. `done` is false when it was set aside before."""
    return answer(Done(await at.app.set_aside(thread, body.reason, by=at.by(body.by))))


@router.delete("/threads/{thread:name}/aside", responses={200: {"model": shape(Done)}, **problems(404, 409)})
async def take_back(
    at: Operating, thread: str,
    not_imported: Annotated[
        bool, Query(description="It was moved away, and nobody has imported its file, nor will: else it is refused.")
    ] = False,
) -> Response:  # fmt: skip
    """Have workers take the thread again. `done` is false when it wasn't set aside."""
    return answer(Done(await at.app.take_back(thread, not_imported=not_imported)))


@router.post(
    "/threads/{thread:name}/forks",
    status_code=201,
    responses={201: {"model": shape(RunRef)}, **problems(400, 404, 409, 413)},
)
async def fork_thread(
    request: Request, at: Operating, thread: str, body: Fork, key: IdempotencyKey = None
) -> Response:
    """Make a new thread that shares the journal up to an entry and goes on by itself."""
    run = await at.app.fork(
        thread, at=body.at, update=body.update, name=body.name, by=at.by(body.by), idempotency_key=key
    )
    return answer(ref(run), 201, {"Location": place(request, run)})
