"""What is declared of compensation: what can't be undone is told at once, and the fingerprint knows the rest."""

import pytest
from tests.unit.runs import Work
from tests.unit.trips import Travel, trip

from turnout import Graph, tool
from turnout.errors import GraphInvalid, InputInvalid


def test_what_can_not_be_undone_is_told_when_it_is_declared():
    with pytest.raises(InputInvalid, match="nothing else has to be undone"):

        @tool(effect="read", compensate=lambda place: None)
        async def look(place: str) -> str:
            return ""

    async def undo(place: str, seat: str) -> None: ...

    with pytest.raises(InputInvalid, match="needs seat"):

        @tool(effect="write", compensate=undo)
        async def book(place: str) -> str:
            return ""

    @tool(effect="read")
    async def reading(place: str) -> None: ...

    with pytest.raises(InputInvalid, match="must be a write"):

        @tool(effect="write", compensate=reading)
        async def buy(place: str) -> str:
            return ""


def test_together_names_writes_that_can_be_undone():
    @tool(effect="write")
    async def pay(place: str) -> str:
        return ""

    graph = Graph("g", state=Work, tools=[pay], together=[[pay, "book"]])
    with pytest.raises(GraphInvalid, match="can't be undone") as problem:
        graph.build()
    assert "'book', which is not a tool" in str(problem.value)


def test_the_fingerprint_knows_what_stands_together():
    world = Travel()
    tools = {"train": world.write("train")}
    alone = trip(world, "train", tools=tools, together=())
    assert trip(world, "train", tools=tools).fingerprint != alone.fingerprint
