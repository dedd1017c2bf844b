"""How this process and its store are, for whoever decides whether to restart it or to send it requests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from turnout.errors import TurnoutError
from turnout.ports.rows import Census
from turnout.service.app import App

PATIENCE = 2.0
"""Seconds that the store may take for an answer."""
LATE = 3.0
"""So many thirds of a lease may pass between two looks at the leases, of which there are three a lease."""


@dataclass(frozen=True)
class Health:
    """Whether all is well that counts, and what was found of each part: "ok", or what is wrong with it."""

    ok: bool
    parts: dict[str, str]


def alive(app: App) -> Health:
    """Does this process do what it is there for? If not, a restart helps. That the store can't be reached is no reason."""
    return _health({"process": "ok", **_worker(app), **app.beside.ended()})


def ready(app: App, store: str) -> Health:
    """Can this process be sent requests, and go on with threads, when its store is found to be so? How what runs beside the
    worker is gets told, and doesn't count: none of it serves requests."""
    parts = {"store": store, **_worker(app)}
    worker = app.worker
    if worker is not None and parts["worker"] == "ok":
        trouble = worker.claiming.error or worker.renewing.error
        if worker.draining:
            parts["worker"] = "it is about to end, and takes nothing new"
        elif trouble is not None:
            parts["worker"] = str(trouble)
        elif not worker.looked:
            parts["worker"] = "it hasn't looked yet at what is due"
    found = _health(parts)
    return Health(found.ok, found.parts | app.beside.parts())


async def store(app: App) -> str:
    """Does the store answer? If not, what is wrong with it."""
    try:
        async with asyncio.timeout(PATIENCE):
            app.store.changed()  # a file that was deleted could be read all the same
            await app.store.limits()
    except TimeoutError:
        return f"no answer within {PATIENCE:g} s"
    except TurnoutError as error:
        return str(error)
    return "ok"


async def standing(app: App) -> tuple[Census, dict[str, int]]:
    """How many threads and reviews of the store stand how, and notices. Raises `StoreError`."""
    return await app.store.census(app.clock.now()), await app.store.count_outbox()


def _worker(app: App) -> dict[str, str]:
    if app.worker is None:
        return {}
    if not app.working:
        return {"worker": "it has stopped", "leases": "nobody renews them"}
    late = app.worker.pulse - LATE * app.settings.lease / 3
    return {
        "worker": "ok",
        "leases": "ok" if late <= 0 else f"they were not renewed for {app.worker.pulse:.1f} s",
    }


def _health(parts: dict[str, str]) -> Health:
    return Health(all(found == "ok" for found in parts.values()), parts)
