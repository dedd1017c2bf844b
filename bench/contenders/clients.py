"""Who asks a server: one measurement, in a process of its own, over connections that are kept open.

`closed` clients send the next request when the last one was answered; `paced` ones at their times, whatever the server
does, and what they wait is counted from then on.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from common import answer, percentile
from wire import Connection, connected, streaming

API = "/api/v1"
WAIT = "Prefer: wait=60\r\n"
WARM = 0.2
"""This part of the time is a warm-up, and isn't counted."""
Ask = Callable[[Connection], Awaitable[Any]]
_numbers = itertools.count(1)


def figures(took: list[float], seconds: float) -> dict[str, Any]:
    return {
        "per_s": len(took) / seconds, "p50_ms": percentile(took, 0.5) * 1e3, "p99_ms": percentile(took, 0.99) * 1e3,
        "count": len(took),
    }  # fmt: skip


async def start(connection: Connection, graph: str, thread: str = "", headers: str = "") -> dict[str, Any]:
    number = next(_numbers)
    body = {"graph": graph, "input": {"order": f"order {number}"}} | ({"thread": thread} if thread else {})
    key = f"Idempotency-Key: key-{time.time_ns()}-{number}\r\n"
    _, said = await connection.ask("POST", f"{API}/runs", body, key + headers)
    return dict(json.loads(said))


async def insert(connection: Connection) -> None:
    """What the bare endpoint is asked."""
    await connection.ask("POST", "/runs", {"graph": "plain", "input": {"order": f"order {next(_numbers)}"}})


async def closed(url: str, token: str, k: int, seconds: float, ask: Ask) -> dict[str, Any]:
    """k clients for so long, after the warm-up."""
    took: list[float] = []
    asked = itertools.count()
    begun = time.perf_counter() + seconds * WARM
    end = begun + seconds

    async def client() -> None:
        connection = await connected(url, token)
        while (sent := time.perf_counter()) < end:
            await ask(connection)
            next(asked)
            if sent >= begun:
                took.append(time.perf_counter() - sent)
        connection.close()

    await asyncio.gather(*(client() for _ in range(k)))
    return {**figures(took, time.perf_counter() - begun), "asked": next(asked)}


def bare(folder: Path, url: str, token: str, k: int, seconds: float) -> dict[str, Any]:
    return asyncio.run(closed(url, "", k, seconds, insert))


def starts(folder: Path, url: str, token: str, k: int, seconds: float, worked: bool) -> dict[str, Any]:
    """Starts. With `worked` also how many runs a second came to their end, those of the warm-up and the rest included."""

    async def everybody() -> dict[str, Any]:
        runs: list[dict[str, Any]] = []

        async def ask(connection: Connection) -> None:
            runs.append(await start(connection, "plain"))

        begun = time.perf_counter()
        found = await closed(url, token, k, seconds, ask)
        if worked:
            connection = await connected(url, token)
            for run in runs[-1 : -2 * k : -1]:
                await connection.ask("GET", f"{API}/threads/{run['thread']}/runs/1", headers=WAIT)
            found["ended_per_s"] = len(runs) / (time.perf_counter() - begun)
        return found

    return asyncio.run(everybody())


def waited(folder: Path, url: str, token: str, k: int, seconds: float) -> dict[str, Any]:
    """Starts that are answered when the run has ended."""

    async def ask(connection: Connection) -> None:
        said = await start(connection, "plain", headers=WAIT)
        if said["outcome"]["status"] != "finished":
            raise SystemExit(f"a run is {said['outcome']['status']}")

    return asyncio.run(closed(url, token, k, seconds, ask))


def decisions(folder: Path, url: str, token: str, k: int, n: int) -> dict[str, Any]:
    """n reviews that are open already, decided by k clients."""

    async def everybody() -> dict[str, Any]:
        asked: list[dict[str, Any]] = []
        wanted = iter(range(n))

        async def prepare() -> None:
            connection = await connected(url, token)
            for _ in wanted:
                run = await start(connection, "asks", headers=WAIT)
                asked.append(run["outcome"]["reviews"][0])
            connection.close()

        await asyncio.gather(*(prepare() for _ in range(16)))
        left, took = iter(asked), []

        async def client() -> None:
            connection = await connected(url, token)
            for review in left:
                sent = time.perf_counter()
                tag = f'If-Match: "{review["shown"]}"\r\nIdempotency-Key: {review["id"]}\r\n'
                await connection.ask(
                    "POST", f"{API}/reviews/{review['id']}/decisions", {"decision": "approve"}, tag
                )
                took.append(time.perf_counter() - sent)

        begun = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(k)))
        return figures(took, time.perf_counter() - begun)

    return asyncio.run(everybody())


def fill(folder: Path, url: str, token: str, n: int) -> dict[str, Any]:
    """n threads that have ended."""

    async def everybody() -> None:
        left = iter(range(n))

        async def client() -> None:
            connection = await connected(url, token)
            for number in left:
                await start(connection, "plain", f"case-{number:06}", WAIT)

        await asyncio.gather(*(client() for _ in range(32)))

    asyncio.run(everybody())
    return {}


def reads(folder: Path, url: str, token: str, k: int, seconds: float, path: str, n: int) -> dict[str, Any]:
    """GET of `path`, in which {thread} is one of the n threads, another one each time."""

    async def ask(connection: Connection) -> None:
        thread = f"case-{next(_numbers) * 7919 % n:06}"
        await connection.ask("GET", path.format(thread=thread), headers=f"Cookie: {cookie}\r\n")

    async def everybody() -> dict[str, Any]:
        nonlocal cookie
        head, _ = await (await connected(url, token)).ask("POST", f"{API}/session", {"token": token})
        cookie = next(
            line.partition(b":")[2].split(b";")[0].strip().decode()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"set-cookie:")
        )
        # A page of the console is asked with a session, all else with the token.
        return await closed(url, "" if not path.startswith(API) else token, k, seconds, ask)

    cookie = ""
    return asyncio.run(everybody())


async def paced(
    url: str, token: str, rate: float, seconds: float, ask: Callable[[Connection, int], Awaitable[Any]]
) -> list[float]:
    """So many requests a second at their times; what each waited from then on."""
    free = [await connected(url, token) for _ in range(4)]
    took: list[float] = []
    begun = time.perf_counter()

    async def one(number: int) -> None:
        connection = None
        while free and (
            connection is None or not connection.open
        ):  # after a burst some have nothing to do for long
            connection = free.pop()
        if connection is None or not connection.open:
            connection = await connected(url, token)
        try:
            await ask(connection, number)
        except ConnectionError:  # the server has hung up on it, for want of use, in this very moment
            connection = await connected(url, token)
            await ask(connection, number)
        took.append(time.perf_counter() - begun - number / rate)
        free.append(connection)

    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        tasks.append(asyncio.ensure_future(one(number)))
    await asyncio.gather(*tasks)
    return took


def watched(folder: Path, url: str, token: str, threads: int) -> dict[str, Any]:
    """The threads that are to be listened to."""

    async def everybody() -> None:
        connection = await connected(url, token)
        for number in range(threads):
            await start(connection, "plain", f"watched-{number}", WAIT)

    asyncio.run(everybody())
    return {}


def paced_starts(
    folder: Path, url: str, token: str, rate: float, seconds: float, threads: int
) -> dict[str, Any]:
    """Starts at a steady pace, on the threads that are listened to, in turns (0: each on one of its own)."""

    async def ask(connection: Connection, number: int) -> None:
        await start(connection, "plain", f"watched-{number % threads}" if threads else "")

    async def everybody() -> dict[str, Any]:
        begun = time.perf_counter()
        found = figures(
            await paced(url, token, rate, seconds, ask), max(seconds, time.perf_counter() - begun)
        )
        await asyncio.sleep(1)  # the last runs' events
        return found

    return asyncio.run(everybody())


def full_starts(folder: Path, url: str, token: str, k: int, seconds: float, threads: int) -> dict[str, Any]:
    """Starts as fast as k clients get them in, on the threads that are listened to."""
    numbers = itertools.count()

    async def ask(connection: Connection) -> None:
        thread = f"watched-{next(numbers) % threads}" if threads else ""
        await start(connection, "plain", thread, WAIT)

    return asyncio.run(closed(url, token, k, seconds, ask))


def steady(folder: Path, url: str, token: str, rate: float, seconds: float) -> dict[str, Any]:
    """Everything at a steady pace: of ten requests six start runs, two have one run from its start to its decision, one
    explains a thread and one lists some. A client holds a stream of all threads, another one begins its stream anew
    each second."""
    begun: deque[str] = deque(maxlen=500)

    async def ask(connection: Connection, number: int) -> None:
        turn = number % 10
        if turn < 6:
            await start(connection, "plain", f"steady-{number}", WAIT)
            begun.append(f"steady-{number}")
        elif turn < 8:
            run = await start(connection, "asks", headers=WAIT)
            [review] = run["outcome"]["reviews"]
            tag = f'If-Match: "{review["shown"]}"\r\n'
            await connection.ask(
                "POST", f"{API}/reviews/{review['id']}/decisions", {"decision": "approve"}, tag
            )
        elif turn == 8 and begun:  # when the machine is slow, starts aren't answered in their order
            await connection.ask("GET", f"{API}/threads/{begun[0]}/explain")
        else:
            await connection.ask("GET", f"{API}/threads?limit=20&search=steady")

    async def come_and_go() -> None:
        held = await streaming(url, f"{API}/events", token, None)
        while True:
            one = await streaming(url, f"{API}/events", token, None)
            await asyncio.sleep(1)
            one.close()
            if held.closed:
                raise SystemExit("the stream that is held broke off")

    async def everybody() -> dict[str, Any]:
        other = asyncio.ensure_future(come_and_go())
        found = figures(await paced(url, token, rate, seconds, ask), seconds)
        if other.done():
            other.result()
        other.cancel()
        return found

    return asyncio.run(everybody())


if __name__ == "__main__":
    answer({
        "bare": bare, "starts": starts, "waited": waited, "decisions": decisions, "fill": fill, "reads": reads,
        "watched": watched, "paced_starts": paced_starts, "full_starts": full_starts, "steady": steady,
    })  # fmt: skip
