"""One schedule: everything that happens follows from its seed."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.checks import audit
from tests.simulation.graphs import ROOTS, VERSIONS
from tests.simulation.loop import SimulatedLoop, Stuck
from tests.simulation.machines import Machine, Site
from tests.simulation.people import OVER, Order, People
from tests.simulation.watch import Watch
from tests.simulation.weather import weather
from tests.simulation.wire import Database
from tests.simulation.world import WORLD, World

from turnout.ports.store import Store
from turnout.runtime.reading import load_view
from turnout.service.signing import Signer
from turnout.stores.sqlite import SqliteStore

log = logging.getLogger("turnout.worker")
LONGEST = 3_000.0
"""Seconds of virtual time after which, with nothing going wrong any more, everything must have come to its end."""


@dataclass
class Result:
    """What came of a seed. `trace` has (microseconds, who, what); `digest` is of the whole trace."""

    seed: int
    problems: list[str]
    trace: list[tuple[int, str, str]]
    digest: str = ""
    callbacks: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The trace, to be read."""
        return [f"{at / 1e6:12.6f}  {who:8}  {what}" for at, who, what in self.trace]


class Simulation:
    """The loop, the store, the machines, the world and the people of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.trace: list[tuple[int, str, str]] = []
        self.problems: list[str] = []
        self.weather = weather(self._chance("weather"))
        self.loop = SimulatedLoop(self._chance("order"), shuffled=self.weather.shuffled)
        self.plans = self._chance("plans")
        self.store: Store = SqliteStore(":memory:")
        self.watch = Watch(lambda: self.loop.now, self.note)
        self.world = World(self.loop, self._chance("world"), self.weather.manners)
        self.world.note = self.note
        self.loop.outside.context.run(WORLD.set, self.world)
        self.database = Database(self.loop, self.store, self.watch, self.weather, self._chance("wire"))
        roots = tuple(f"g{self.plans.randrange(ROOTS)}" for _ in range(self.plans.randint(1, 2)))
        self.roots = tuple(dict.fromkeys(roots))
        luck = self._chance("luck")
        self.site = Site(self.loop, self.database, self.world, self.weather, luck, self.roots, self.note)
        self.people = People(self.site.machines, self.database, self.world, self._chance("people"), self.note)

    def _chance(self, what: str) -> random.Random:
        return random.Random(f"{self.seed} {what}")

    def note(self, who: str, what: str) -> None:
        self.trace.append((self.loop.now, who, what))

    def run(self) -> Result:
        """Play the schedule, and look at what is left."""
        handler = _Complaints(self)
        collecting, propagate = gc.isenabled(), log.propagate
        gc.disable()
        log.addHandler(handler)
        log.propagate = False
        try:
            self.loop.run(self._play())
            signer = Signer.open(self.weather.settings.signing_key)
            self.problems += self.loop.run(
                audit(self.store, signer, self.watch, self.world, self.people.said, replays=not self.weather.shuffled)
            )  # fmt: skip
        except (
            Exception,
            Stuck,
        ) as error:  # a store that is broken on purpose may break those who look at it, too
            self.problems.append(f"the schedule could not be played to its end: {error!r}")
        finally:
            self.problems += self.loop.problems + self.loop.lost_errors()
            log.disabled = True  # what is closed now has nothing to say any more
            self.loop.close()
            log.removeHandler(handler)
            log.disabled, log.propagate = False, propagate
            if collecting:
                gc.enable()
        for problem in self.problems:
            self.note("problem", problem)
        text = repr(self.trace).encode()
        counts = {
            "appends": len(self.watch.durable), "sends": len(self.world.sends), "asks": len(self.world.asks),
            "threads": len(self.watch.threads), "troubles": self.site.troubles,
        }  # fmt: skip
        return Result(
            self.seed,
            self.problems,
            self.trace,
            hashlib.sha256(text).hexdigest(),
            self.loop.callbacks,
            counts,
        )

    # --- the course of a schedule --------------------------------------------------------------------------------

    async def _play(self) -> None:
        for machine in self.site.machines:
            machine.start()
        long = self.plans.choice([20.0, 60.0])
        tasks = [asyncio.ensure_future(coro) for coro in (*self._visitors(long), *self._troubles(long))]
        await asyncio.sleep(long)
        await self._calm_down()
        if not await self._settles(LONGEST / 2, unless_diverged=True):
            await self._other_versions()
        if not await self._settles(LONGEST):
            await self._complain()
        self.people.over = True
        await asyncio.gather(*(machine.stop() for machine in self.site.machines))
        for task in tasks:
            if task.done():
                task.result()
            else:
                task.cancel()
        await asyncio.wait(tasks)
        for row in await self.store.threads(limit=100_000):
            self.note("end", f"{row.thread} is {row.status} at entry {row.head}, {row.digest.hex()[:12]}")

    def _visitors(self, long: float) -> list[Any]:
        people, plans = self.people, self.plans
        found: list[Any] = [people.review("dana"), people.review("erin"), people.signal()]
        for number in range(plans.choice([1, 1, 2, 3])):
            thread = plans.choice([f"t{number}", f"t{number}", None, "t0"])
            graph = self.roots[0] if thread == "t0" else plans.choice(self.roots)
            key = plans.choice([f"k{number}", f"k{number}", f"k{number}", None])
            order = Order(
                plans.uniform(0, long / 4), graph, f"w{number}", thread, key,
                plans.choice(["queue", "queue", "refuse", "replace"]), plans.choice([1, 1, 2]) if key else 1,
            )  # fmt: skip
            found.append(people.order(order))
        if plans.random() < 0.2:
            found.append(people.cancel(plans.uniform(1, long)))
        if plans.random() < 0.2:
            found.append(people.fork(plans.uniform(1, long), "fork"))
        if plans.random() < 0.3:
            found.append(people.early_signal(plans.uniform(0, long / 2)))
        return found

    # --- troubles that come at their own time --------------------------------------------------------------------

    def _troubles(self, long: float) -> list[Any]:
        w, luck = self.weather, self.site.luck
        kinds = [
            (w.cut_offs, self._cut_off),
            (w.outages, self._outage),
            (w.drains, self._drain),
            (w.deploys, self._deploy),
            (w.jumps, self._jump),
        ]
        return [self._at(luck.uniform(0, long), do) for many, do in kinds for _ in range(many)]

    async def _at(self, moment: float, do: Callable[[Machine], Any]) -> None:
        await asyncio.sleep(moment)
        if not self.site.calm:
            await do(self.site.luck.choice(self.site.machines))

    async def _cut_off(self, machine: Machine) -> None:
        life = machine.life
        if life is not None:
            self.note(life.process.name, "is cut off from the store")
            life.wire.cut = True
            await asyncio.sleep(self.site.luck.uniform(1, 30))
            self.note(life.process.name, "reaches the store again")
            life.wire.cut = False

    async def _outage(self, machine: Machine) -> None:
        self.note("store", "can't be reached")
        self.database.reachable = False
        await asyncio.sleep(self.site.luck.uniform(1, 20))
        self.note("store", "is back")
        self.database.reachable = True

    async def _drain(self, machine: Machine) -> None:
        await machine.stop()
        machine.start_later()

    async def _deploy(self, _: Machine) -> None:
        """One machine after the other gets another version."""
        self.site.version = self.site.luck.randrange(VERSIONS)
        self.note("site", f"version {self.site.version} is rolled out")
        for machine in self.site.machines:
            await machine.stop()
            machine.start_later()
            await asyncio.sleep(self.site.luck.uniform(0, 10))

    async def _jump(self, machine: Machine) -> None:
        if machine.life is not None:
            most = self.weather.settings.lease / 6
            machine.life.clock.skew = int(self.site.luck.uniform(-most, most) * 1e6)
            self.note(machine.life.process.name, f"has its clock set to {machine.life.clock.skew / 1e6:+g} s")

    # --- afterwards ----------------------------------------------------------------------------------------------

    async def _calm_down(self) -> None:
        """From here on nothing goes wrong any more."""
        self.note("site", "the weather is calm from here on")
        self.site.calm = self.database.calm = self.database.reachable = True
        for machine in self.site.machines:
            if machine.life is not None:
                machine.life.thaw()
                machine.life.wire.cut = False
                machine.life.clock.skew = 0
            else:
                machine.start()
        self.world.calm_down()

    async def _settles(self, seconds: float, *, unless_diverged: bool = False) -> bool:
        """Does everything come to its end within that time? With `unless_diverged` it gives up on what can't."""
        end = self.loop.now + int(seconds * 1e6)
        quiet = settled = 0
        while self.loop.now < end:
            rows = [row for row in await self.store.threads(limit=100_000) if row.status not in OVER]
            held = await self._held()
            settled = 0 if rows or held or self.people.busy else settled + 1
            if settled > 2:  # nothing comes in any more, not even late
                return True
            quiet = quiet + 1 if any(row.status == "diverged" for row in rows) else 0
            if unless_diverged and quiet > 60:
                return False
            await asyncio.sleep(2)
        return False

    async def _held(self) -> bool:
        return any(row.owner for row in await self.store.threads(limit=100_000))

    async def _other_versions(self) -> None:
        """What one version can't go on with another one can, or somebody gives it up."""
        for version in range(VERSIONS):
            self.site.version = version
            self.note("site", f"everybody goes to version {version}")
            for machine in self.site.machines:
                await machine.stop()
                machine.start()
            if await self._settles(200, unless_diverged=True):
                return
        for row in await self.store.threads(status="diverged", limit=1000):
            await self.people.cancel_thread(row.thread)

    async def _complain(self) -> None:
        """Say of what doesn't come to its end what it waits for."""
        for row in await self.store.threads(limit=100_000):
            if row.status in OVER:
                continue
            view = (await load_view(self.store, row.thread)).view
            waits = [
                f"{step.id}: {x.kind} {x.name} {x.status}"
                for step in (view.run.steps.values() if view.run else ())
                for x in step.effects.values()
                if x.status != "done"
            ]
            self.problems.append(
                f"{row.thread} is stuck: {row.status}, held by {row.owner or 'nobody'}, due at {row.wake_at}, {waits}"
            )


class _Complaints(logging.Handler):
    """What the workers say goes into the trace; an error with a traceback is one that nobody has thought of."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(logging.WARNING)
        self._simulation = simulation

    def emit(self, record: logging.LogRecord) -> None:
        self._simulation.note("log", record.getMessage())
        if record.exc_info:
            self._simulation.problems.append(f"{record.getMessage()}: {self._error(record.exc_info)}")

    @staticmethod
    def _error(info: Any) -> str:
        where = info[2]
        while where.tb_next is not None:
            where = where.tb_next
        return f"{info[1]!r} ({where.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{where.tb_lineno})"
