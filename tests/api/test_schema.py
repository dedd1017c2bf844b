"""The OpenAPI document against the server that it describes: what it says may be sent, and all that it doesn't."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.api.conftest import served

from turnout.api.server import make

SECRETS: dict[str, str] = {}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A desk with something of everything in it, served from a thread. Event streams end at once."""
    ready, leave, found = threading.Event(), asyncio.Event(), []

    async def serve() -> None:
        async with served() as desk, desk.socket() as url:
            for n in range(3):
                run = await desk.app.start("refunds", {"order": "A"}, thread=f"t{n}")
                await desk.app.wait(run)
            await desk.app.schedule("nightly", "refunds", {"order": "A"}, cron="@daily")
            SECRETS["admin"] = await desk.token("root", "admin", review_roles=("finance",))
            desk.site.live.close()
            found.append((url, asyncio.get_running_loop()))
            ready.set()
            await leave.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    [(url, loop)] = found
    yield url
    loop.call_soon_threadsafe(leave.set)
    thread.join(20)
    assert not thread.is_alive(), "the server didn't end, and would go on beside all tests that follow"


schema = schemathesis.openapi.from_dict(make(None, None, None, None).openapi())  # type: ignore[arg-type]


# What fits the document may be refused all the same: names have rules, a cursor comes from the page before, a decision
# says in one of two places what it is about, an exported head is signed. So that check is left out, and no other.
LEFT_OUT = [positive_data_acceptance]


@schema.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_the_document_says(case: Any, address: str) -> None:
    case.call_and_validate(
        base_url=f"{address}/api/v1",
        headers={"Authorization": f"Bearer {SECRETS['admin']}"},
        excluded_checks=LEFT_OUT,
    )


def test_the_document_names_every_operation_once_and_describes_it() -> None:
    document = make(None, None, None, None).openapi()  # type: ignore[arg-type]
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    for one in operations:
        assert one["description"], one["operationId"]
        assert any(status.startswith("2") for status in one["responses"])
        for status, answer in one["responses"].items():
            for media, said in answer.get("content", {}).items():
                assert said["schema"], (one["operationId"], status)
                assert (media == "application/problem+json") == (int(status) >= 400), (
                    one["operationId"],
                    status,
                )
    refs = set(re.findall(r"#/components/schemas/([^\"]+)", json.dumps(document)))
    assert refs <= document["components"]["schemas"].keys()
