"""What a node must not be able to do to its worker, and what its schema must not promise."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from turnout import END, Context, Failed, Finished, Graph, Retry, tool
from turnout.errors import GraphInvalid, InputInvalid
from turnout.testing import open_test_app


class Work(BaseModel):
    n: int = 0


def one_node(fn: Any, **options: Any) -> Graph:
    graph = Graph("g", state=Work, tools=options.pop("tools", ()))
    graph.node(fn, name="work", **options)
    graph.start("work")
    graph.edge("work", END)
    return graph


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_node_that_exits_fails_its_run_and_leaves_the_worker_alone(kind: str) -> None:
    async def leaves(state: Work, ctx: Context) -> None:
        sys.exit(3)

    def leaves_too(state: Work, ctx: Any) -> None:
        sys.exit(3)

    async with open_test_app(graphs=[one_node(leaves if kind == "async" else leaves_too)]) as app:
        outcome = await app.wait(await app.start("g", {}), timeout=5)
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "SystemExit"


async def test_errors_of_a_task_group_are_retried_when_each_of_them_would_be() -> None:
    tries: list[int] = []

    @tool(effect="read")
    async def look(n: int) -> int:
        tries.append(n)
        if len(tries) == 1:
            raise TimeoutError("slow")
        return n

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        async with asyncio.TaskGroup() as group:
            found = group.create_task(ctx.call(look, n=1))
        return {"n": found.result()}

    graph = one_node(work, tools=[look], retry=Retry(attempts=2, on=(TimeoutError,), wait=0.01))
    async with open_test_app(graphs=[graph]) as app:
        outcome = await app.wait(await app.start("g", {}), timeout=5)
        assert isinstance(outcome, Finished), outcome
    assert tries == [1, 1]


def test_a_secret_in_the_state_is_a_build_problem() -> None:
    class Leaky(BaseModel):
        password: SecretStr | None = None

    with pytest.raises(GraphInvalid, match="keep secrets out of the state"):
        Graph("leaky", state=Leaky)


def test_a_tool_with_an_annotation_that_can_not_be_resolved_says_so() -> None:
    with pytest.raises(InputInvalid, match="can't be resolved"):

        @tool(effect="read")
        async def look(order: Missing) -> int:  # type: ignore[name-defined]  # noqa: F821
            return 1


async def test_a_role_with_a_comma_is_refused() -> None:
    async def work(state: Work, ctx: Context) -> None:
        await ctx.review("ok?", roles=["finance,risk"])

    async with open_test_app(graphs=[one_node(work)]) as app:
        outcome = await app.wait(await app.start("g", {}), timeout=5)
        assert isinstance(outcome, Failed)
        assert "without a comma" in outcome.error.message
