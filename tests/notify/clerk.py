"""A process that works at the desk and sends notices: `python -m tests.notify.clerk STORE CONFIG [AT WHEN]`.

With AT and WHEN it dies at that write of its store, see `FailpointStore`. It says "ready" when it works.
"""

import asyncio
import sys

from tests.crash.failpoint import FailpointStore
from tests.crash.stores import clock_for
from tests.notify.desk import QUICK, refunds

from turnout import open_app
from turnout.wiring import open_store


async def main(url: str, config: str, at: int = 0, when: str = "before") -> None:
    clock = clock_for(url)
    store = FailpointStore(open_store(url, clock=clock), at, when)
    async with open_app(store, graphs=[refunds()], settings=QUICK, config=config, clock=clock) as app:
        print("ready", flush=True)
        await app.start("refunds", {"order": "A-17"}, thread="case-17", idempotency_key="one")
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *(int(x) if x.isdecimal() else x for x in sys.argv[3:])))  # type: ignore[arg-type]
