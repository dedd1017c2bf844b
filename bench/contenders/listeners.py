"""Who listens while others start runs: open streams of events, in a process of their own.

Says `ready` when all streams are open, and the figures when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from common import percentile
from wire import streaming


async def listen(url: str, token: str, threads: int, wide: int, timed: int) -> dict[str, Any]:
    """Streams of so many threads, and `wide` of all threads; every `timed`-th looks at its events."""
    late: list[float] = []
    paths = [
        *(f"/api/v1/threads/watched-{n}/events" for n in range(threads)),
        *["/api/v1/events"] * wide,
    ]
    streams = [
        await streaming(url, path, token, late if n % timed == 0 else None) for n, path in enumerate(paths)
    ]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    if not late:
        raise SystemExit("no event came")
    return {
        "delivery_p50_ms": percentile(late, 0.5) * 1e3, "delivery_p99_ms": percentile(late, 0.99) * 1e3,
        "events_timed": len(late), "mb": sum(stream.bytes for stream in streams) / 1e6,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(asyncio.run(listen(**json.loads(sys.argv[1])))))
