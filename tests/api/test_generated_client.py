"""A client that somebody else's generator makes from the OpenAPI document: it says nothing is missing, and it works."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from tests.api.conftest import served

from turnout.api.server import make


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The generated package."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(make(None, None, None, None).openapi()))  # type: ignore[arg-type]
    (folder / "config.yml").write_text("post_hooks: []\n")
    command = [
        sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--config", "config.yml",
        "--output-path", "turnout_generated", "--meta", "none", "--fail-on-warning",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("turnout_generated")
    finally:
        sys.path.remove(str(folder))


def call(client: ModuleType, name: str) -> Any:
    """The function of an operation, "tag.operation"; it gives what the answer holds."""
    return importlib.import_module(f"{client.__name__}.api.{name}").asyncio


def model(client: ModuleType, name: str) -> Any:
    return getattr(importlib.import_module(f"{client.__name__}.models"), name)


async def test_every_operation_is_in_it(client: ModuleType) -> None:
    document = make(None, None, None, None).openapi()  # type: ignore[arg-type]
    declared = [
        (o["tags"][0], o["operationId"]) for path in document["paths"].values() for o in path.values()
    ]
    assert len(declared) > 50
    for tag, operation in declared:
        assert call(client, f"{tag}.{operation}")


async def test_a_day_at_the_desk(client: ModuleType) -> None:
    """A start that is sent twice, its review edited and approved, its outcome, its explanation, its replay."""
    async with served() as desk, desk.socket() as url:
        token = await desk.token("ann", "operator", "reviewer", review_roles=("finance",))
        async with client.AuthenticatedClient(f"{url}/api/v1", token) as signed_in:
            start = model(client, "Start").from_dict({"graph": "refunds", "input": {"order": "A"}})
            twice = [
                await call(client, "runs.start_run")(client=signed_in, body=start, idempotency_key="k1")
                for _ in range(2)
            ]
            assert twice[0].thread == twice[1].thread
            thread = twice[0].thread
            asked = await call(client, "runs.get_run")(thread, 1, client=signed_in, prefer="wait=10")
            assert asked.outcome.status == "paused"
            [review] = (await call(client, "reviews.list_reviews")(client=signed_in)).items
            assert (review.thread, review.payload["amount"]) == (thread, 0)
            edited = model(client, "Decide").from_dict({"decision": "edit", "payload": {"amount": 7}})
            refused = await call(client, "reviews.decide")(
                review.id, client=signed_in, body=edited, if_match='"another"'
            )
            assert isinstance(refused, model(client, "Problem"))
            assert refused.status == 412
            decided = await call(client, "reviews.decide")(
                review.id, client=signed_in, body=edited, if_match=f'"{review.shown}"', idempotency_key="k2"
            )
            assert decided.status == "edit"
            ended = await call(client, "runs.get_run")(thread, 1, client=signed_in, prefer="wait=10")
            assert ended.outcome.status == "finished"
            assert ended.outcome.state["receipt"] == "R-A-7"
            report = await call(client, "threads.explain")(thread, client=signed_in)
            assert [step.node for step in report.steps] == ["ask", "pay"]
            replayed = await call(client, "proof.replay")(thread, client=signed_in)
            assert replayed.identical
