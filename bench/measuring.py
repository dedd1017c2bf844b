"""Running a measurement: each contender in a process of its own, in turns, in a folder or a database that is new."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from places import Place
from plan import ABOUT, NEEDS, SCRIPTS, Measurement
from server import Server

HERE = Path(__file__).resolve().parent
LONGEST = 300
"""Seconds after which a contender's process is given up."""
Pythons = dict[tuple[str, str], str]  # (store, contender) -> the interpreter that has what it needs


Figures = dict[str, dict[str, list[float]]]  # contender -> figure -> one value a round


class Broken(Exception):
    """A contender's process failed."""


@dataclass
class Measured:
    """`figures`: one value a round. `plans`: what the statements' plans were, if the measurement asks for them."""

    figures: Figures = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    plans: dict[str, str] = field(default_factory=dict)

    def add(self, contender: str, answered: dict[str, Any]) -> None:
        self.plans.update(answered.pop("plans", {}))
        for name, value in answered.items():
            if value is not None:
                self.figures[contender][name].append(value)


def interpreters(stores: Iterable[str], contenders: Iterable[str]) -> tuple[Pythons, list[str]]:
    """The interpreter of each contender: this one, or the one of a venv beside it; and what to say of the missing."""
    candidates = [
        sys.executable,
        *(str(HERE.parent / venv / "bin/python") for venv in (".venv-peers", ".venv")),
    ]
    found, missing = {}, {}
    for (store, contender), script in SCRIPTS.items():
        if store not in stores or contender not in contenders:
            continue
        for python in candidates:
            if Path(python).exists() and has(python, NEEDS[script]):
                found[store, contender] = python
                break
        else:
            missing[script] = f"no {NEEDS[script]} here, so {script.removesuffix('.py')} is left out"
    return found, list(missing.values())


@functools.cache
def has(python: str, modules: str) -> bool:
    return subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0


def call(python: str, script: str, asked: dict[str, Any], *, killed: bool = False) -> dict[str, Any]:
    """One contender, one measurement, in a new process. With `killed`, dying of SIGKILL is what is wanted."""
    try:
        done = subprocess.run(
            [python, str(HERE / "contenders" / script), json.dumps(asked)],
            capture_output=True, text=True, timeout=LONGEST, env={**os.environ, "LANGSMITH_TRACING": "false"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Broken(f"{script} {asked}: not done after {LONGEST} s") from None
    if killed and done.returncode == -9:
        return {}
    if done.returncode != 0 or killed:
        raise Broken(f"{script} {asked}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(m: Measurement, place: Place, pythons: Pythons, rounds: int, server: Server | None) -> Measured:
    """All rounds of one measurement."""
    measured = Measured()
    contenders = [c for c in m.contenders if (m.store, c) in pythons]
    base = Path(tempfile.mkdtemp(prefix="turnout-bench-", dir=place.folder))
    try:
        for number in range(1 if m.once else rounds):
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                folder = base / f"{contender}-{number}"
                if m.before:
                    first = base / contender
                    if not first.exists():
                        first.mkdir()
                        measured.add(contender, prepare(m, contender, pythons, first))
                    shutil.copytree(first, folder)
                else:
                    folder.mkdir()
                measured.add(contender, one(m, contender, pythons, folder, server))
                shutil.rmtree(folder)
    finally:
        shutil.rmtree(base)
    return measured


def prepare(m: Measurement, contender: str, pythons: Pythons, folder: Path) -> dict[str, Any]:
    asked = {**m.asked(contender), "measure": m.before, "folder": str(folder)}
    killed = m.before == "killed"
    if killed:
        asked["again"] = False
    return call(pythons[m.store, contender], m.script(contender), asked, killed=killed)


def one(
    m: Measurement, contender: str, pythons: Pythons, folder: Path, server: Server | None
) -> dict[str, Any]:
    """One contender's figures of one round. On Postgres, where steps are counted, also what the server did for each."""
    python, script = pythons[m.store, contender], m.script(contender)
    asked = {**m.asked(contender), "folder": str(folder)}
    if server is None:
        return call(python, script, asked)
    with server.database() as url:
        before = server.counters(url)
        answered = call(python, script, {**asked, "url": url})
        if m.group == "threads":
            after, steps = server.counters(url), asked["k"] * asked["n"]
            answered |= {f"{name}_a_step": (after[name] - before[name]) / steps for name in before}
        return answered


def about(pythons: Pythons) -> dict[str, dict[str, Any]]:
    """Versions and settings, by script, of those that say."""
    scripts = {SCRIPTS[which]: python for which, python in pythons.items()}
    with tempfile.TemporaryDirectory() as folder:
        return {
            script: call(python, script, {"measure": "about", "folder": folder})
            for script, python in scripts.items()
            if script in ABOUT
        }
