"""Hearing of other processes' work, without end: a store that can't tell for a while is asked again.

What is heard is a hint. The worker looks at the store every `sweep` seconds all the same, so nothing depends on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from turnout.errors import StoreError
from turnout.ports.store import Store

log = logging.getLogger("turnout.worker")
FIRST, LONGEST = 0.1, 5.0
"""Seconds before a store is asked again; twice as many each time. Who has heard for `LONGEST` begins anew."""


async def hear(
    store: Store, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
) -> None:
    """`Store.hear`, until cancelled. Whatever ends it is logged once, and again only after it has worked meanwhile."""
    loop = asyncio.get_running_loop()
    wait, told = FIRST, False
    while True:
        begun = loop.time()
        why = "it ended"
        try:
            await store.hear(worker, graphs, heard, poll)
        except StoreError as error:
            why = str(error)
        except Exception as error:
            log.debug("hearing of other processes' work broke", exc_info=True)
            why = f"{type(error).__name__}: {error}"
        if loop.time() - begun > LONGEST:
            wait, told = FIRST, False
        if not told:
            log.warning("can't hear of other processes' work (%s); looking now and then instead", why)
            told = True
        heard("")  # what came meanwhile
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST)
