"""AgentDojo's banking suite on Turnout: utility, replay, kills. Runs in .venv-agentdojo (`make test-agentdojo`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("agentdojo")

from agentdojo.functions_runtime import FunctionCall, FunctionsRuntime
from examples.agentdojo.bank import EFFECTS, SUITE, bank_tools
from examples.agentdojo.job import Job, run_job
from examples.agentdojo.kills import die_at, finish
from examples.agentdojo.model import Player
from examples.agentdojo.run import Row, run_all
from examples.agentdojo.world import World

from turnout import DID_NOT_HAPPEN, DidNotHappen, Finished, Landed, Paused, approve, field, reject

pytestmark = [pytest.mark.agentdojo]
TASKS = list(SUITE.user_tasks)
PAYMENT = {"recipient": "GB29", "amount": 12.5, "subject": "Dinner", "date": "2022-04-01"}
SAMPLES: dict[str, dict[str, Any]] = {
    "get_iban": {},
    "get_balance": {},
    "get_most_recent_transactions": {"n": 3},
    "get_scheduled_transactions": {},
    "get_user_info": {},
    "read_file": {"file_path": "bill-december-2023.txt"},
    "send_money": PAYMENT,
    "schedule_transaction": {**PAYMENT, "recurring": True},
    "update_scheduled_transaction": {"id": 7, "amount": 1.0},
    "update_password": {"password": "new"},
    "update_user_info": {"street": "Elm Street"},
}


@pytest.fixture
def world(tmp_path: Path) -> World[Any]:
    made: World[Any] = World(SUITE, tmp_path / "world.db")
    made.create(SUITE.load_and_inject_default_environment({}))
    return made


# --- the tools


def test_every_tool_of_the_suite_is_declared() -> None:
    assert set(EFFECTS) == {function.name for function in SUITE.tools} == set(SAMPLES)
    assert len(TASKS) == 16


@pytest.mark.parametrize("name", EFFECTS)
def test_a_tool_changes_the_environment_exactly_when_it_is_declared_a_write(name: str) -> None:
    environment = SUITE.load_and_inject_default_environment({})
    before = environment.model_dump_json()
    FunctionsRuntime(SUITE.tools).run_function(environment, name, SAMPLES[name], raise_on_error=True)
    assert (environment.model_dump_json() != before) == (EFFECTS[name] == "write")


@pytest.mark.parametrize("name", EFFECTS)
def test_a_tool_does_through_the_world_what_it_does_in_agentdojo(name: str, world: World[Any]) -> None:
    expected = SUITE.load_and_inject_default_environment({})
    runtime = FunctionsRuntime(SUITE.tools)
    wanted, _ = runtime.run_function(expected, name, SAMPLES[name], raise_on_error=True)
    [tool] = [tool for tool in bank_tools(world) if tool.name == name]
    args = tool.typed(tool.check(SAMPLES[name]))
    given = tool(**args, idempotency_key="k") if EFFECTS[name] == "write" else tool(**args)
    assert tool.dump(given) == tool.dump(wanted)
    assert world.environment() == expected


# --- the world


def test_a_key_is_applied_once(world: World[Any]) -> None:
    assert world.outcome("k") is DID_NOT_HAPPEN
    first = world.change("send_money", PAYMENT, "k")
    after = world.environment()
    assert world.change("send_money", PAYMENT, "k") == first
    assert world.environment() == after
    assert world.outcome("k") == Landed(first)
    assert [(change.tool, change.args, change.asked) for change in world.applied()] == [
        ("send_money", PAYMENT, 2)
    ]


def test_a_tool_that_refuses_has_changed_nothing(world: World[Any]) -> None:
    with pytest.raises(DidNotHappen, match="99 not found"):
        world.change("update_scheduled_transaction", {"id": 99}, "k")
    assert world.environment() == world.environment("before")
    assert world.applied() == []
    assert world.outcome("k") is DID_NOT_HAPPEN


# --- the tasks


@pytest.mark.parametrize("task", TASKS)
async def test_a_task_passes_its_own_check_and_replays_identically(task: str, tmp_path: Path) -> None:
    job = Job(task, tmp_path)
    job.prepare()
    await run_job(job)
    result = await job.result()
    truth = job.task.ground_truth(job.world.environment("before"))
    assert result.outcome == "Finished"
    assert result.utility
    assert result.identical
    assert result.answer == job.task.GROUND_TRUTH_OUTPUT
    assert result.calls == len(truth)
    assert [tool for tool, _ in result.writes] == [
        c.function for c in truth if EFFECTS[c.function] == "write"
    ]
    assert result.asked_twice == 0


async def test_a_call_that_the_bank_refuses_is_answered_to_the_model(tmp_path: Path) -> None:
    job = Job("user_task_2", tmp_path)
    job.prepare()
    wrong = FunctionCall(function="update_scheduled_transaction", args={"id": 99, "amount": 1200})
    async with job.open(Player([wrong], "It isn't there.")) as app:
        outcome = await job.work(app)
    assert isinstance(outcome, Finished)
    assert "99 not found" in outcome.state.model_dump()["messages"][-2]["content"]
    assert job.world.environment() == job.world.environment("before")


@pytest.mark.parametrize("approved", [True, False])
async def test_a_person_can_be_asked_before_every_change(approved: bool, tmp_path: Path) -> None:
    job = Job("user_task_0", tmp_path)
    job.prepare()
    writes = field("call.name").is_in([name for name, effect in EFFECTS.items() if effect == "write"])
    async with job.open(review=[writes]) as app:
        paused = await job.work(app)
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert review.payload == job.task.ground_truth(None)[-1].args
        assert job.world.applied() == []
        await app.resolve(review, approve(by="dana") if approved else reject(by="dana", comment="no"))
        assert isinstance(await job.work(app), Finished)
    assert len(job.world.applied()) == approved
    assert job.task.utility("", job.world.environment("before"), job.world.environment()) == approved


# --- the kills


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """Every task, killed around each commit of a change and at random moments."""
    found = run_all(TASKS, tmp_path_factory.mktemp("kills"), seed=2, kills=2)
    return {row.plain.task: row for row in found}


@pytest.mark.crash
@pytest.mark.slow
def test_tasks_are_killed_at_random_moments_too(rows: dict[str, Row]) -> None:
    """Not every one: on a busy machine some have ended before their moment comes."""
    assert sum(row.kills - 2 * len(row.plain.writes) for row in rows.values()) >= len(TASKS)


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_task_survives_kills_with_each_change_made_exactly_once(task: str, rows: dict[str, Row]) -> None:
    row = rows[task]
    assert row.kills >= 2 * len(row.plain.writes), "before and after each commit, and at random"
    for killed in row.killed:
        assert killed.outcome == "Finished"
        assert killed.utility
        assert killed.identical
        assert killed.writes == row.plain.writes
        assert killed.asked_twice == 0
        assert killed.environment == row.plain.environment
        assert killed.answer == row.plain.answer
    assert row.good


@pytest.mark.crash
async def test_the_world_notices_when_a_change_is_asked_for_again(tmp_path: Path) -> None:
    """The control: without the journal, a killed job asks for its change a second time, and that is seen."""
    job = Job("user_task_0", tmp_path)
    job.prepare()
    die_at(job, ("after", 1))
    for file in tmp_path.glob("turnout.db*"):
        file.unlink()
    finish(job)
    assert (await job.result()).asked_twice == 1
