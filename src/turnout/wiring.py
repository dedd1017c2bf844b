"""The only place where concrete parts meet."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from turnout import settings_file, tables
from turnout.core import entries as e
from turnout.core.budgets import Budget
from turnout.core.graph import Graph
from turnout.core.notices import Rules
from turnout.core.tool import EffectClass, Tool
from turnout.errors import GraphInvalid, SettingsInvalid
from turnout.guards import making
from turnout.models import make, report
from turnout.models.gateway import Gateways
from turnout.notify import make as outgoing
from turnout.notify.deliverer import Deliverer
from turnout.policy.cedar import open_policy
from turnout.ports.clock import Chance, Clock
from turnout.ports.guard import Guard
from turnout.ports.model import Model, Retriever
from turnout.ports.policy import Policy
from turnout.ports.store import Store
from turnout.runtime.children import cancel_run, start_run
from turnout.runtime.clock import SteadyClock, SystemChance, SystemClock
from turnout.runtime.hub import LocalHub
from turnout.runtime.known_budgets import KnownBudgets
from turnout.runtime.worker import Worker
from turnout.runtime.world import World
from turnout.service.access.door import Door
from turnout.service.app import App
from turnout.service.beside import Helper
from turnout.service.live.watching import Live
from turnout.service.serving import Serve
from turnout.service.signing import Signer
from turnout.settings import DEFAULT_STORE, Settings
from turnout.stores.sqlite import SqliteStore
from turnout.telemetry.schema import Telemetry
from turnout.tools import declare, pins
from turnout.tools.servers import Servers

log = logging.getLogger("turnout")
ModelsReport = report.ModelsReport


def open_store(url: str = DEFAULT_STORE, *, create: bool = True, clock: Clock | None = None) -> Store:
    """The store at an address: `sqlite:///file.db`, `sqlite://` in memory, `postgresql://user@host/database`, or
    `postgres` (`postgres:NAME`) for a database of an embedded server, to try things with.

    Postgres sets `clock`, when it is a `SteadyClock`, to the server's time. Raises `SettingsInvalid`, `StoreError`.
    """
    url = postgres_address(url)
    if url == "sqlite://":
        return SqliteStore(":memory:")
    if url.startswith("sqlite:///"):
        return SqliteStore(url.removeprefix("sqlite:///"), create=create)
    if is_postgres(url):
        settle = clock.settle if isinstance(clock, SteadyClock) else None
        store: Store = _postgres()(url, create=create, clock=settle)
        return store
    raise SettingsInvalid(
        f"{url!r} is not a store's address; it looks like sqlite:///turnout.db or postgresql://user@host/database"
    )


def is_postgres(url: str) -> bool:
    """Is it the address of a Postgres database?"""
    return url.startswith(("postgresql://", "postgres://")) or is_embedded(url)


def is_embedded(url: str) -> bool:
    """Does it mean a database of this user's embedded server?"""
    return url.partition(":")[0] == "postgres" and not url.startswith("postgres://")


def postgres_address(url: str, *, anew: bool = False) -> str:
    """What `postgres` or `postgres:NAME` stands for: the embedded server is started, and the database made (`anew`: and
    emptied). Any other address is itself."""
    if not is_embedded(url):
        return url
    _postgres()
    from turnout.stores import embedded_postgres

    name = url.partition(":")[2] or "turnout"
    return embedded_postgres.own().make(name, anew=anew)


async def migrate(url: str) -> list[str]:
    """Make the schema of a Postgres database, or bring it up to date; the names of what was done.

    Raises `SettingsInvalid`, `StoreError`.
    """
    if not is_postgres(url):
        raise SettingsInvalid(
            f"{url!r} needs no migration by hand: a SQLite file is brought up to date when it is opened"
        )
    store = _postgres()(postgres_address(url))
    try:
        done: list[str] = await store.migrate()
    finally:
        await store.close()
    return done


def _postgres() -> Any:
    """The Postgres store, whose libraries are an extra. Raises `SettingsInvalid`."""
    try:
        from turnout.stores.postgres import PostgresStore
    except ImportError as error:
        raise SettingsInvalid(
            f"a store on Postgres needs {error.name}; run `pip install 'turnout[postgres]'`"
        ) from None
    return PostgresStore


def open_app(
    store: str | Store = DEFAULT_STORE,
    *,
    graphs: Iterable[Graph] = (),
    models: Mapping[str, Model] | None = None,
    retrievers: Mapping[str, Retriever] | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    chance: Chance | None = None,
    work: bool = True,
    create: bool = True,
    config: str | Path | None = None,
    policy: str | Path | Policy | None = None,
    guards: Iterable[Guard] = (),
    budgets: Iterable[Budget] = (),
) -> App:
    """An app on a store. `async with open_app(...) as app` starts its worker (unless `work=False`) and closes it.

    `models` and `retrievers` are what `ctx.model` and `ctx.retrieve` reach, by name. An app that works has the models
    of turnout.toml too (see `open_gateways` for `config`); where both have a name, `models` counts. `policy` is a folder
    of rules, or a policy; None: the folder of `policy_folder`; "": none. `guards` are guardrails (`guard(...)`); those of
    turnout.toml look first. `budgets`, and those of the file if the app works, are set when it is opened. Raises
    `GraphInvalid`, `InputInvalid`, `StoreError`, `SettingsInvalid`.
    """
    settings = settings or Settings()
    built = _built(graphs)
    clock = clock or (SteadyClock() if isinstance(store, str) and is_postgres(store) else SystemClock())
    opened = open_store(store, create=create, clock=clock) if isinstance(store, str) else store
    hub, chance = LocalHub(), chance or SystemChance()
    signer = _signer(opened.url, settings.signing_key)

    async def start_child(thread: str, given: e.InputReceived) -> e.ErrorInfo | None:
        if given.graph not in built:
            log.warning(
                "thread %s waits for a worker that has graph %r; this one hasn't", thread, given.graph
            )
        return await start_run(opened, clock, hub, thread, given, built.get(given.graph))

    async def cancel_child(thread: str, given: e.InputReceived, reason: str) -> None:
        await cancel_run(opened, clock, hub, thread, given, reason)

    said = tables.find(config) if work else None
    gateways = make.gateways(said, clock, chance) if said is not None else None
    _tell(opened, said, work, config)
    reached: dict[str, Model] = {**(gateways.models() if gateways is not None else {}), **(models or {})}
    rules = _policy(policy, config, said) if work else None
    looking = _guards(said, guards)
    world = World(
        clock, chance, reached, dict(retrievers or {}), start_child, cancel_child, transaction=settings.transaction,
        servers=_servers(said, config), policy=rules, guards=looking, budgets=KnownBudgets(opened, clock),
    )  # fmt: skip
    name = f"{socket.gethostname()}:{os.getpid()}:{chance.hex(6)}"
    worker = None
    if work and built:
        if signer.able:
            signer.ready()
        worker = Worker(opened, built, world, hub, settings, name, signer.head if signer.able else None)
    beside = (
        _beside(opened, said, world, hub, settings, worker) if said is not None and worker is not None else {}
    )

    async def close() -> None:
        for part in (gateways, world.servers):
            if part is not None:
                await part.close()

    def terms() -> tuple[Policy | None, tuple[Guard, ...]]:
        if work:
            return rules, looking
        there = tables.find(config)  # an app that doesn't work reads the file when somebody asks
        return _policy(policy, config, there), _guards(there, guards)

    declared = [*(said.declared() if said is not None else ()), *(budget.check() for budget in budgets)]
    return App(
        opened, built, world, hub, settings, signer, worker, lambda: open_store("sqlite://"), close,
        lambda: open_servers(config), declared, beside, terms,
    )  # fmt: skip


def _built(graphs: Iterable[Graph]) -> dict[str, Graph]:
    """The graphs by name, checked. Raises `GraphInvalid`."""
    built: dict[str, Graph] = {}
    for graph in graphs:
        if graph.name in built and built[graph.name] is not graph:
            raise GraphInvalid(
                graph.name, ["another graph of this app has the same name; rename one of them"]
            )
        built[graph.name] = graph.build()
    return built


def _beside(
    store: Store, said: tables.Tables, world: World, hub: LocalHub, settings: Settings, worker: Worker
) -> dict[str, Helper]:
    """What runs beside a worker, as the file says: the sending of notices, and telemetry."""
    found: dict[str, Helper] = {}
    if said.notify.channels:
        found["notices"] = _deliverer(store, said, world, hub, settings, worker.name)
    if said.telemetry is not None:
        exporter = _exporter(said.telemetry, worker.name)
        worker.observers.append(exporter)
        found["telemetry"] = exporter
    return found


def policy_folder(config: str | Path | None = None) -> Path | None:
    """The folder of the rules: the one that turnout.toml names (`config`: see `turnout.tables.find`), or `policies`
    beside that file or in the working folder, if there are rules in it. None: there are none. Raises `SettingsInvalid`."""
    return _folder(config, tables.find(config))


def _folder(config: str | Path | None, said: tables.Tables | None) -> Path | None:
    if config == "":
        return None
    file = settings_file.find() if config is None else Path(config)
    base = file.parent if file is not None else Path()
    if file is not None and said is not None and said.policy.folder:
        folder = base / said.policy.folder
        if not folder.is_dir():
            line = settings_file.read(file).line(("policy", "folder"))
            raise SettingsInvalid(
                f"{file}:{line}: policy.folder: {folder} is no folder; policies are files *.cedar in one"
            )
        return folder
    usual = base / "policies"
    return usual if any(usual.glob("*.cedar")) else None


def _policy(
    policy: str | Path | Policy | None, config: str | Path | None, said: tables.Tables | None
) -> Policy | None:
    if policy is None:
        folder = _folder(config, said)
        return open_policy(folder) if folder is not None else None
    if isinstance(policy, str | Path):
        return open_policy(Path(policy)) if str(policy) else None
    return policy


def _guards(said: tables.Tables | None, given: Iterable[Guard]) -> tuple[Guard, ...]:
    """The guardrails of the file and those that were given. Raises `SettingsInvalid`."""
    found = (*making.all_of(said.guardrails if said is not None else ()), *given)
    names = [guard.name for guard in found]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise SettingsInvalid(f"two guardrails are named {twice!r}; give one of them another name")
    return found


def open_guards(config: str | Path | None = None) -> tuple[Guard, ...]:
    """The guardrails of a turnout.toml (see `turnout.tables.find` for `config`). Raises `SettingsInvalid`."""
    return _guards(tables.find(config), ())


def _tell(store: Store, said: tables.Tables | None, work: bool, config: str | Path | None) -> None:
    """Have the store put notices into its outbox. An app that doesn't work may append something, too (a decision): it
    reads the file when there is something to tell."""
    if not work:
        store.notices = functools.cache(lambda: _rules(tables.find(config)))
        return
    rules = _rules(said)
    if rules is not None:
        store.notices = lambda: rules


def _rules(said: tables.Tables | None) -> Rules | None:
    return said.notify.rules() if said is not None else None


def _deliverer(
    store: Store, said: tables.Tables, world: World, hub: LocalHub, settings: Settings, name: str
) -> Deliverer:
    """What sends notices. Its libraries are an extra. Raises `SettingsInvalid`."""
    return Deliverer(
        store, outgoing.channels(said.notify, said.serve.url), world.clock, world.chance, hub.listen, name=name, lease=settings.lease,
        sweep=settings.sweep,
    )  # fmt: skip


def _exporter(said: Telemetry, name: str) -> Any:
    """What sends telemetry. Its libraries are an extra. Raises `SettingsInvalid`."""
    try:
        from turnout.telemetry.exporter import Exporter
    except ImportError as error:
        raise SettingsInvalid(f"telemetry needs {error.name}; run `pip install 'turnout[serve]'`") from None
    return Exporter(said, name, version("turnout"))


class Site(NamedTuple):
    """The ASGI app, and who watches it: `live.close()` sends them home, which is done before the server stops."""

    web: Any
    live: Live


def open_door(app: App, said: tables.Tables | None = None, *, loopback: bool = False) -> Door:
    """Who may come in to an app that is served, by what a turnout.toml says. Raises `SettingsInvalid`."""
    access = said.access if said is not None else None
    provider = None
    if access is not None and access.oidc is not None:
        try:
            from turnout.service.access.oidc import Provider
        except ImportError as error:
            raise SettingsInvalid(
                f"signing in with OIDC needs {error.name}; run `pip install 'turnout[serve]'`"
            ) from None
        provider = Provider(access.oidc, app.clock)
    url = said.serve.url if said is not None else ""
    return Door(app.store, app.clock, access, provider, loopback=loopback, url=url)


def serve_app(app: App, door: Door, said: tables.Tables | None = None, *, console: bool = True) -> Site:
    """What `turnout serve` runs: the API, and the console and the telemetry where they are installed.

    `app` is opened and closed by who calls. Raises `SettingsInvalid` when the extra `serve` is missing.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware.cors import CORSMiddleware
        from starlette.routing import Mount

        from turnout.api import intake, paths, probes, server
        from turnout.telemetry.meters import Meters
    except ImportError as error:
        raise SettingsInvalid(f"serving needs {error.name}; run `pip install 'turnout[serve]'`") from None
    serve = said.serve if said is not None else Serve()
    live = Live(app.store, app.hub, app.clock)
    api: Any = server.make(app, door, serve, live)
    if serve.cors:
        api = CORSMiddleware(
            api, allow_origins=serve.cors, allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match", "Idempotency-Key", "Last-Event-ID", "Prefer"],
            expose_headers=["ETag", "Location", "Retry-After", "Preference-Applied"],
        )  # fmt: skip
    routes: list[Any] = [Mount(server.PREFIX, api)]
    meters, observers = Meters(), app.worker.observers if app.worker is not None else []
    observers.append(meters)
    lost = [observer for observer in observers if hasattr(observer, "dropped")]
    routes += probes.Probes(app, door, meters, lambda: sum(one.dropped for one in lost)).routes()
    if console and (pages := _part("turnout.console.server")) is not None:
        routes.append(Mount("/", pages.make(app, door, serve, policy_folder())))
    inner = intake.Waits(paths.Segments(Starlette(routes=routes)))
    return Site(intake.Bodies(intake.Rates(inner, serve.rate, serve.burst), serve.body), live)


def _part(name: str) -> Any:
    """A module of Turnout that may be absent."""
    found = importlib.util.find_spec(name.rpartition(".")[0])
    return importlib.import_module(name) if found is not None else None


def _signer(url: str, key: str) -> Signer:
    """The signer of a store: its key lies beside a SQLite file, and is given for all others."""
    if url == "sqlite://" and not key:
        return Signer.passing()
    return Signer.open(key, f"{url.removeprefix('sqlite:///')}.key" if url.startswith("sqlite:///") else None)


async def describe_models(
    config: str | Path | None = None, *, ping: bool = False, tick: Callable[[int], None] | None = None
) -> ModelsReport:
    """What a turnout.toml has of models (see `open_gateways`); with `ping` every deployment is asked once, and `tick` is
    told how many were. Raises `SettingsInvalid`."""
    gateways = open_gateways(config)
    if gateways is None:
        return ModelsReport()
    found, pings = replace(report.describe(gateways), file=tables.file(config)), []
    if not ping:
        return found
    try:
        for number, deployment in enumerate(found.deployments, 1):
            pings.append(await report.ping(gateways, deployment.name))
            if tick is not None:
                tick(number)
    finally:
        await gateways.close()
    return replace(found, pings=tuple(pings))


def open_gateways(
    config: str | Path | None = None, clock: Clock | None = None, chance: Chance | None = None
) -> Gateways | None:
    """The gateways of a turnout.toml, with the model of each alias. Nothing is connected to yet.

    `config` names the file, see `turnout.tables.find`. Raises `SettingsInvalid`.
    """
    found = tables.find(config)
    return (
        make.gateways(found, clock or SystemClock(), chance or SystemChance()) if found is not None else None
    )


def mcp_tool(
    server: str,
    tool: str,
    *,
    effect: EffectClass | None = None,
    name: str = "",
    reconcile: Callable[..., Any] | None = None,
    config: str | Path | None = None,
) -> Tool[Any, Any]:
    """A tool of an MCP server, for the tools of a graph: declared in turnout.toml, approved in turnout.pins.json beside
    it. No server is asked.

    `effect` says what the graph takes it for; then the file has to say the same. `name` is the tool's in this graph,
    SERVER_TOOL if it isn't given. `reconcile` is as of `@tool`. `config` is the file, see `turnout.tables.find`.
    Raises `SettingsInvalid`, `InputInvalid`.
    """
    approved = pins.Pins.read(tables.folder(config) / pins.NAME)
    return declare.tool_of(server, tool, tables.find(config), approved, effect, name, reconcile)


def open_servers(config: str | Path | None = None) -> Servers:
    """The MCP servers of a turnout.toml. Nothing is connected to yet. Raises `SettingsInvalid`."""
    return _servers(tables.find(config), config) or Servers({}, tables.folder(config) / pins.NAME, {})


def _servers(said: tables.Tables | None, config: str | Path | None) -> Servers | None:
    if said is None or not said.mcp:
        return None
    return Servers(said.mcp, tables.folder(config) / pins.NAME, os.environ)
