"""Working on a job in real processes that are killed: at every commit of a change, and at random moments.

A kill is SIGKILL: the process can't catch it, nothing is flushed, nothing is given back. The processes are forked
from a server that has AgentDojo loaded already, which saves the seconds that its import takes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from examples.agentdojo.job import Job, run_job

PACE = 0.04
"""Seconds that the model thinks for each reply, so that there is a middle to be killed in."""
REACH = 0.6
"""Up to which part of the undisturbed time a process lives. Later moments are reached by those who go on after it."""
PATIENCE = 60.0
"""Seconds after which a child that should have ended is given up."""
Point = tuple[str, int]

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["agentdojo.task_suite.load_suites", "turnout"])
_reading = threading.Lock()
"""Held whenever multiprocessing reads how a child ended. It does so at every start, of all children; when two threads
read the same child's end, one of them finds nothing and makes 255 of it."""


def survive_commits(job: Job) -> int:
    """Work on the job and be killed right before and right after every commit of a change. Returns the kills."""
    kills = 0
    for number in range(1, job.expected_writes() + 1):
        for moment in ("before", "after"):
            die_at(job, (moment, number))
            kills += 1
    finish(job)
    return kills


def survive_random(job: Job, seed: int, kills: int) -> int:
    """Work on the job and be killed at up to `kills` random moments. Returns how often that was before its end."""
    chance = random.Random(f"{seed} {job.task.ID}")  # noqa: S311 - the same seed gives the same moments
    replies = len(job.task.ground_truth(job.world.environment("before"))) + 1
    survived = 0
    for _ in range(kills):
        child, driven = _start(job)
        with driven:
            driven.poll(PATIENCE)
        time.sleep(chance.uniform(0, REACH * replies * PACE))
        child.kill()
        ended(child)
        if asyncio.run(job.ended()):
            break
        survived += 1
    finish(job)
    return survived


def die_at(job: Job, point: Point) -> None:
    """Work on the job in a process that kills itself "before" or "after" the commit of a change (from 1)."""
    child, _ = _start(job, point)
    if ended(child) != -signal.SIGKILL:
        raise RuntimeError(f"{job.task.ID} was not killed {point[0]} change {point[1]}: it never came there")


def finish(job: Job) -> None:
    """Work on the job in a process that nobody kills."""
    child, _ = _start(job)
    code = ended(child)
    if code != 0:
        raise RuntimeError(f"the process that works on {job.task.ID} in {job.folder} ended with {code}")


def started(work: Callable[..., None], *args: Any) -> BaseProcess:
    """A process that does `work(*args)`. Several threads may start theirs at once."""
    child = _processes.Process(target=work, args=args, daemon=True)
    with _reading:
        child.start()
    return child


def ended(child: BaseProcess) -> int | None:
    """The exit code of a `started` process, once it has ended; it is killed after `PATIENCE`, which is an error."""
    if not wait([child.sentinel], PATIENCE):
        child.kill()
        wait([child.sentinel])
        raise RuntimeError(f"a process was still at work after {PATIENCE:g} s")
    with _reading:
        return child.exitcode


def _start(job: Job, point: Point | None = None) -> tuple[BaseProcess, Connection]:
    """A process that works on the job, and a connection that says when it has begun to."""
    driven, tell = _processes.Pipe(duplex=False)
    child = started(_work, job.task.ID, job.folder, point, tell)
    tell.close()
    return child, driven


def _work(task: str, folder: Path, point: Point | None, tell: Connection) -> None:
    """What the process does."""
    job = Job(task, folder, pace=PACE, watch=partial(_die, point))
    asyncio.run(run_job(job, when_driven=lambda: tell.send(True)))


def _die(point: Point | None, moment: str, number: int) -> None:
    if (moment, number) == point:
        os.kill(os.getpid(), signal.SIGKILL)
