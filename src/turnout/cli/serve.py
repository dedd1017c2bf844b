"""`turnout serve`: the API, the console and a worker in one process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from turnout.cli.logs import log_option, say, set_up
from turnout.cli.options import store_option
from turnout.errors import SettingsInvalid
from turnout.settings import Settings

if TYPE_CHECKING:
    from turnout.cli.leaving import Leaving
    from turnout.runtime.worker import Drained
    from turnout.service.app import App
    from turnout.wiring import Site

USUAL = Settings()
REQUESTS = 3.0
"""Seconds, at most, that requests which are under way get for their end."""


@click.command()
@click.argument("places", metavar="[MODULE:GRAPH]...", nargs=-1)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option(
    "--port",
    default=8700,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port; 0 takes a free one.",
)
@click.option("--no-worker", is_flag=True, help="Drive no threads; a `turnout worker` does.")
@click.option("--no-console", is_flag=True, help="Serve the API alone.")
@click.option(
    "--concurrency", default=USUAL.concurrency, show_default=True, type=click.IntRange(1),
    help="Threads driven at once.",
)  # fmt: skip
@click.option(
    "--grace", default=USUAL.grace, show_default=True, type=click.FloatRange(0.1), metavar="SECONDS",
    help="At most so long from the first signal to the end.",
)  # fmt: skip
@log_option
@store_option
def serve(
    places: tuple[str, ...], host: str, port: int, no_worker: bool, no_console: bool, concurrency: int, grace: float,
    log_format: str, store: str,
) -> None:  # fmt: skip
    """Serve the API and the console, and drive what is due.

    On a loopback address it works without a token, for a first try; for anything else make one first with `turnout token
    create`. Without arguments TURNOUT_GRAPHS says which graphs. On SIGTERM or Ctrl-C it takes nothing new, finishes the
    steps that run, gives its threads back and ends, within --grace.

    \b
    Example:
      turnout serve desk:refunds
      turnout serve desk:refunds --no-worker --port 8800
    """
    from turnout import tables
    from turnout.cli.leaving import Leaving, tell
    from turnout.cli.load import load_some
    from turnout.cli.session import with_app
    from turnout.service.access.shown import is_loopback
    from turnout.wiring import open_door, serve_app

    set_up(log_format)
    code = load_some(places)
    said = tables.find()

    async def job(app: App) -> None:
        leaving.ready()
        door = open_door(app, said, loopback=is_loopback(host))
        await door.check()
        site = serve_app(app, door, said, console=not no_console)
        with listening(host, port) as bound:
            if await door.open_to_all():
                say(
                    log_format,
                    "NOBODY HAS TO SIGN IN: no token was made yet, so whoever uses this machine may do everything. "
                    "`turnout token create NAME --role admin` locks the door.",
                    logging.WARNING,
                )
            drained = await answering(
                app, site, bound, leaving, lambda: click.echo(f"Turnout is at {address_of(bound)}")
            )
        leaving.back = not drained.kept
        tell(drained)

    with Leaving(grace) as leaving:
        with_app(store, job, code=code, work=not no_worker, create=True, concurrency=concurrency)


async def answering(
    app: App, site: Site, bound: socket.socket, leaving: Leaving, ready: Callable[[], None]
) -> Drained:
    """Answer requests until somebody wants it to end (`ready` is called when it begins); then no new ones, while the worker
    gives its threads back."""
    import uvicorn

    class Server(uvicorn.Server):
        """Signals are ours: the worker has to hear of them, too."""

        def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
            return contextlib.nullcontext()

    config = uvicorn.Config(
        site.web, lifespan="off", access_log=False, log_level="warning", server_header=False,
        timeout_graceful_shutdown=int(max(1, min(REQUESTS, leaving.grace / 2))),
    )  # fmt: skip
    server = Server(config)
    serving = asyncio.ensure_future(server.serve([bound]))
    asked = asyncio.ensure_future(leaving.asked.wait())
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            gc.collect()
            gc.freeze()  # code and schemas stay: to look through them again and again holds up everybody for 0.1 s
            ready()
        await asyncio.wait([serving, asked], return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        site.live.close()
        server.should_exit = True
        drained, _ = await asyncio.gather(app.drain(leaving.grace), serving)
    return drained


@contextlib.contextmanager
def listening(host: str, port: int) -> Any:
    """A socket that listens there. Raises `SettingsInvalid`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(
            found[0], socket.SOCK_STREAM, found[2]
        )  # asyncio sets TCP_NODELAY where it says TCP
    except OSError as error:
        raise SettingsInvalid(f"{host!r} is no address to listen at: {error.strerror or error}") from None
    with contextlib.closing(bound):
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(found[4])
        except OSError as error:
            raise SettingsInvalid(
                f"can't listen at {host} port {port}: {error.strerror}; choose another one with --port"
            ) from None
        bound.set_inheritable(False)
        yield bound


def address_of(bound: socket.socket) -> str:
    """The address that a browser is given."""
    host, port = bound.getsockname()[:2]
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)  # noqa: S104 - it is shown, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
