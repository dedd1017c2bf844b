"""The ledger is the upstream's own log, whoever is killed, and wherever; and no cap is exceeded.

Every request that an upstream has seen is one charge. A process that dies with a request on its way, or just before it
was sent, leaves a reservation: nobody can say what became of it, so all of it counts as spent, once. So the ledger has
no fewer calls than the upstream's log, and at most as many more as processes were killed with calls under way.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.crash.spawner import Child, Spawner
from tests.crash.stores import Stores
from tests.models.calls import alias, deployment, written
from tests.models.upstreams import LLMock

pytestmark = [pytest.mark.crash, pytest.mark.slow]

FAULTS = [
    {"type": "reply", "text": "one"}, {"type": "fail", "status": 429, "retry_after": 0.05},
    {"type": "stream_fault", "kind": "disconnect", "after_chunks": 2}, {"type": "reply", "text": "two and three"},
]  # fmt: skip


def config(folder: Path, upstream: LLMock, budgets: str) -> Path:
    terms = {"key_env": '""', "timeout": "10.0"}
    return written(
        folder, deployment("a", f"{upstream.url}/v1", "chat", **terms), alias("main", "a", retries="4", first_wait="0.01"),
        budgets,
    )  # fmt: skip


def asked(upstream: LLMock) -> Counter[str]:
    """How often the upstream was asked by each thread."""
    prompts = [one["body"]["messages"][0]["content"] for one in upstream.requests()]
    return Counter(prompt.partition("/")[0] for prompt in prompts)


def check(found: dict[str, Any], upstream: LLMock, caps: dict[str, int], lost: int) -> None:
    """What one process says at the end, against what the upstream has seen. `lost`: the most calls that were under way
    when processes were killed."""
    assert (found["verify"], set(found["replays"])) == ([], {True})
    calls = [row for row in found["charges"] if row[5] == "model"]
    assert {state for _, state, *_ in found["charges"]} <= {"settled", "assumed"}, (
        "nothing is reserved for ever"
    )
    seen, charged = asked(upstream), Counter(thread for thread, *_ in calls)
    for thread, times in seen.items():
        assert charged[thread] >= times, (
            f"{thread}: the upstream was asked {times} times, charged {charged[thread]}"
        )
    settled = [row for row in calls if row[1] == "settled"]
    cut_off = sum(error in ("AnswerBroken", "ModelTimeout", "Cancelled") for _, _, error in found["answered"])
    assert sum(seen.values()) - lost <= len(settled) + cut_off <= sum(seen.values())
    assert len(calls) - sum(seen.values()) <= lost
    known = [one for one in found["answered"] if one[0] is not None]
    assert sum(row[4] for row in settled) == sum(cost for _, cost, _ in known), (
        "settled at what the answers cost"
    )
    for name, spent, micros, tokens, held, held_micros in found["accounts"]:
        assert (held, held_micros) == (0, 0), name
        assert spent <= caps["calls"], name
        assert micros <= caps["micros"], name
        assert spent == sum(row[2] for row in found["charges"])
        assert (micros, tokens) == (sum(r[4] for r in found["charges"]), sum(r[3] for r in found["charges"]))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_is_killed_at_any_write_is_charged_for_what_the_upstream_saw(
    spawner: Spawner, upstream: LLMock, stores: Stores, tmp_path: Path, when: str
) -> None:
    path = config(tmp_path, upstream, '[budgets.all]\nper = "all"\ncalls = 5\ndollars = 0.01')
    at = 0
    while True:
        at += 1
        folder = tmp_path / str(at)
        folder.mkdir()
        upstream.play(*FAULTS)
        store = stores.fresh(folder)
        first = start(spawner, store, path, folder / "first", "--at", at, "--when", when, "--threads", 1)
        if first.wait(90) == 0:
            assert at > 7, "it should have been killed at every one of its writes"
            check(first.result, upstream, {"calls": 5, "micros": 10_000}, 0)
            return
        second = start(spawner, store, path, folder / "second", "--threads", 1)
        assert second.wait(90) == 0, second.said
        check(second.result, upstream, {"calls": 5, "micros": 10_000}, 1)
        stores.give_back(store)


def test_many_processes_that_are_killed_at_random_never_exceed_a_cap(
    spawner: Spawner, upstream: LLMock, stores: Stores, tmp_path: Path
) -> None:
    """Three processes on one store, killed again and again; eighty threads that want more than the cap allows."""
    chance, cap, threads = random.Random(7), 180, 80
    path = config(tmp_path, upstream, f'[budgets.all]\nper = "all"\ncalls = {cap}\ndollars = 0.01')
    upstream.play(*FAULTS * 12)
    store, kills, number = stores.fresh(tmp_path), 0, 0
    running: list[Child] = []
    end = time.monotonic() + 9
    while time.monotonic() < end:
        while len(running) < 3:
            number += 1
            running.append(start(spawner, store, path, tmp_path / f"p{number}", "--threads", threads))
        time.sleep(chance.uniform(0.5, 1.3))
        victim = running.pop(chance.randrange(len(running)))
        victim.signal(9)
        kills += victim.wait(30) == -9
    for child in running:
        child.signal(9)
        kills += child.wait(30) == -9
    last = start(spawner, store, path, tmp_path / "last", "--threads", threads)
    assert last.wait(120) == 0, last.said
    found = last.result
    check(found, upstream, {"calls": cap, "micros": 10_000}, kills * 5)
    assert sum(asked(upstream).values()) <= cap
    said = Counter(word for log in found["said"] for word in log)
    assert said["refused"], "the cap was reached"
    assert said["answered"] >= 3
    assert kills >= 3


def test_a_cancelled_run_leaves_nothing_reserved(
    spawner: Spawner, upstream: LLMock, stores: Stores, tmp_path: Path
) -> None:
    path = config(tmp_path, upstream, '[budgets.each]\nper = "all"\ncalls = 90\ndollars = 0.01')
    upstream.play(*({"type": "delay", "seconds": 5} for _ in range(2)))
    found = start(spawner, stores.fresh(tmp_path), path, tmp_path / "one", "--threads", 1, "--cancel")
    assert found.wait(60) == 0, found.said
    [(_, spent, _, _, held, _)] = found.result["accounts"]
    assert (spent, held) == (sum(row[2] for row in found.result["charges"]), 0)
    assert len(found.result["charges"]) >= sum(asked(upstream).values())


def start(spawner: Spawner, store: str, path: Path, out: Path, *more: object) -> Child:
    return spawner.start("tests.budgets.spender", store, path, *more, out=out)
