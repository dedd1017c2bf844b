"""LangGraph's side of the workload, on whichever store."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from common import message
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    n: int
    limit: int
    messages: Annotated[list[str], operator.add]


def loop(*, is_async: bool = False) -> StateGraph:
    """The loop. In an event loop an asynchronous node is the quicker one: a blocking one is sent to a thread."""

    def work(state: State) -> dict[str, Any]:
        return {"n": state["n"] + 1, "messages": [message(state["n"])]}

    async def work_async(state: State) -> dict[str, Any]:
        return work(state)

    graph = StateGraph(State)
    graph.add_node("work", work_async if is_async else work)
    graph.add_edge(START, "work")
    graph.add_conditional_edges("work", lambda s: "work" if s["n"] < s["limit"] else END, ["work", END])
    return graph


def config(thread: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}, "recursion_limit": 1_000_000}


def fresh(limit: int) -> State:
    return {"n": 0, "limit": limit, "messages": []}
