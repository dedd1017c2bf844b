"""How the processes of the kill runs are started and waited for, from several threads at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("agentdojo")

from examples.agentdojo.kills import ended, started

pytestmark = [pytest.mark.agentdojo]
THREADS, EACH = 8, 60


def test_threads_that_start_and_wait_at_once_each_learn_how_their_own_process_ended() -> None:
    def ends(number: int) -> list[int | None]:
        return [ended(started(os._exit, number)) for _ in range(EACH)]

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(ends, range(THREADS)))
    assert found == [[number] * EACH for number in range(THREADS)]
