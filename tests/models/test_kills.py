"""A worker is killed with SIGKILL between the attempts of a model call; another one goes on from the record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.crash.spawner import Spawner
from tests.models.calls import alias, deployment, written

pytestmark = pytest.mark.crash

FAULTS = [
    {"type": "fail", "status": 503, "retry_after": 0.2},
    {"type": "fail", "status": 429, "retry_after": 2},
    {"type": "reply", "text": "at last"},
]


@pytest.fixture(scope="module")
def spawner() -> Iterator[Spawner]:
    found = Spawner()
    yield found
    found.close()


@pytest.fixture
def config(upstream, tmp_path, monkeypatch):
    terms = {"key_env": '""'}
    return written(
        tmp_path, deployment("a", f"{upstream.url}/v1", "chat", **terms), alias("main", "a", retries="5")
    )


def start(spawner, tmp_path, config, name, *more):
    return spawner.start("tests.models.killed", tmp_path / "s.db", config, *more, out=tmp_path / name)


@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_next_worker_goes_on_where_the_record_ends(spawner, upstream, config, tmp_path, which, when):
    """What was on record is not asked again, and the Retry-After that a dead worker was told is kept by the next one."""
    upstream.play(*FAULTS)
    first = start(spawner, tmp_path, config, "first", "--at", which, "--when", when)
    assert first.wait(60) == -9, first.said
    second = start(spawner, tmp_path, config, "second")
    assert second.wait(60) == 0, second.said
    found, seen = second.result, upstream.requests()
    assert (found["said"], found["identical"], found["verify"]) == (["at last"], True, [])
    assert [one["status"] for one in seen] == [503, 429, 200]
    # Killed before the attempt was durable: the request was in flight, as far as anybody can know.
    lost = 1 if when == "before" else 0
    assert len(found["attempts"]) == len(seen) - lost
    if when == "after":
        assert [error for _, error, _ in found["attempts"]] == ["ModelUnavailable", "ModelRateLimited", ""]
        assert seen[2]["started_at"] - seen[1]["ended_at"] >= 2
        assert upstream.complaints() == []
