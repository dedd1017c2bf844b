"""Machines: each runs an app with a worker on the shared store, dies, stalls, is drained, and is started anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from tests.simulation.graphs import CHILDREN, family
from tests.simulation.loop import SimulatedLoop
from tests.simulation.operations import search
from tests.simulation.weather import Weather
from tests.simulation.wire import Database, Wire
from tests.simulation.world import World

from turnout import App, open_app
from turnout.testing import SeededChance

START = 1_767_225_600_000_000
"""Microseconds since 1970: 2026-01-01 00:00 UTC, when every schedule begins."""


class MachineClock:
    """A machine's own idea of the time: off by `skew` (microseconds), and set anew now and then."""

    def __init__(self, loop: SimulatedLoop, skew: int) -> None:
        self.skew = skew
        self._loop = loop

    def now(self) -> int:
        return START + self._loop.now + self.skew

    def call_at(self, moment: int, do: Callable[[], object]) -> Any:
        return self._loop.call_later(max(0.0, (moment - self.now()) / 1e6), do)


class Site:
    """What all machines have in common, and who decides what becomes of them. `calm`: nothing goes wrong any more."""

    def __init__(
        self, loop: SimulatedLoop, database: Database, world: World, weather: Weather, luck: random.Random,
        roots: tuple[str, ...], note: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self.loop = loop
        self.database = database
        self.world = world
        self.weather = weather
        self.luck = luck
        self.note = note
        self.calm = False
        self.troubles = 0
        self.version = 0
        self.lives: dict[str, Life] = {}
        self.machines = [Machine(self, f"m{number}") for number in range(weather.machines)]
        self._names = [*roots, *(f"c{number}" for number in range(CHILDREN))]
        w = weather
        self._odds = [("dies", w.dies / 2), ("dies after", w.dies / 2), ("stalls", w.stalls / 2), ("stalls after", w.stalls / 2),
                      ("unsent", w.unsent), ("unanswered", w.unanswered), ("late", w.late)]  # fmt: skip
        self._any = sum(odds for _, odds in self._odds)
        world.dies, world.done = self._dies, self._done

    def graphs(self, version: int) -> list[Any]:
        return [family(name, version if name.startswith("g") else 0) for name in self._names]

    def fate(self, verb: str) -> str:
        """What becomes of the next call. Most is to be found out where something is appended."""
        if self.calm or not self._any:
            return "fine"
        draw = self.luck.random() * (1 if verb == "append" else 4)
        if draw >= self._any:
            return "fine"
        for name, odds in self._odds:  # noqa: B007
            draw -= odds
            if draw < 0:
                break
        return name if name in ("unsent", "unanswered", "late") or self._may_strike() else "fine"

    def _may_strike(self) -> bool:
        return not self.calm and self.troubles < self.weather.most

    def _dies(self, name: str) -> bool:
        """Does the machine die as it sends something?"""
        if not self._may_strike() or self.luck.random() >= self.weather.dies:
            return False
        self.lives[name].strike("dies")
        return True

    def _done(self, name: str) -> None:
        """The world has done something, and the machine that asked for it doesn't know yet."""
        draw, weather = self.luck.random(), self.weather
        if self._may_strike() and draw < weather.dies + weather.stalls:
            self.lives[name].strike("dies" if draw < weather.dies else "stalls")


class Machine:
    """A place where one app runs at a time."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name
        self.boots = 0
        self.life: Life | None = None

    def start(self) -> None:
        """Start the app in the version that is to run now, unless it runs."""
        if self.life is None:
            self.boots += 1
            self.life = Life(self, f"{self.name}.{self.boots}")

    def start_later(self) -> None:
        site = self.site
        site.loop.call_later(site.luck.uniform(0, 12), self.start, context=site.loop.outside.context)

    async def stop(self) -> None:
        """Drain it, as on SIGTERM; the process ends."""
        life = self.life
        if life is not None:
            self.site.note(life.process.name, "is drained")
            closing = self.site.loop.create_task(life.app.close(), context=life.process.context)
            await asyncio.wait({closing}, timeout=self.site.weather.settings.grace * 4 + 30)
            life.die("has ended")


class Life:
    """A machine from its start to its end."""

    def __init__(self, machine: Machine, name: str) -> None:
        site = machine.site
        self.site = site
        self.machine = machine
        self.version = site.version
        self.process = site.loop.process(name)
        skew = 0.0 if site.calm else site.weather.skew
        self.clock = MachineClock(site.loop, int(site.luck.uniform(-skew, skew) * 1e6))
        self.wire = Wire(site.database, self)
        self.app: App = self.process.context.run(self._open)
        site.lives[name] = self
        site.note(name, f"starts, version {self.version}, clock {self.clock.skew / 1e6:+g} s")
        site.loop.create_task(self.app.__aenter__(), context=self.process.context)

    def _open(self) -> App:
        site = self.site
        app = open_app(
            self.wire, graphs=site.graphs(self.version), models={"m": site.world}, retrievers={"r": search},
            settings=site.weather.settings, clock=self.clock, chance=SeededChance(site.luck.getrandbits(32)),
        )  # fmt: skip
        assert app.worker is not None
        app.worker.name = self.process.name
        notify: Any = app._hub.notify

        def deliver(thread: str) -> None:
            site.loop.call_soon(notify, thread, context=self.process.context)

        if site.weather.deaf:
            notices: Any = app._hub
            notices.notify = lambda thread: site.database.pass_on(deliver, thread)
        return app

    def fate(self, verb: str) -> str:
        return self.site.fate(verb)

    def strike(self, how: str) -> None:
        """Die or stall, now; somebody will start the machine anew, or it goes on by itself."""
        if self.process.dead or self.process.frozen:
            return
        self.site.troubles += 1
        if how == "dies":
            self.die("dies")
            self.machine.start_later()
        else:
            lease = self.site.weather.settings.lease
            self.stall(self.site.luck.choice([0.5, lease * 0.6, lease * 1.5, lease * 1.5, lease * 3]))

    def die(self, word: str) -> None:
        """Nothing of it goes on."""
        self.site.note(self.process.name, word)
        self.site.loop.kill(self.process)
        self.wire.leave()
        if self.machine.life is self:
            self.machine.life = None

    def stall(self, seconds: float) -> None:
        """Freeze, and go on later as if nothing had been."""
        self.site.note(self.process.name, f"freezes for {seconds:g} s")
        self.site.loop.freeze(self.process)
        self.site.loop.call_later(seconds, self.thaw, context=self.site.loop.outside.context)

    def thaw(self) -> None:
        if self.process.frozen and not self.process.dead:
            self.site.note(self.process.name, "goes on")
            self.site.loop.thaw(self.process)
