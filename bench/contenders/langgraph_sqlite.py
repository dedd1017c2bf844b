"""LangGraph with its SQLite checkpointers, as they ship, and `durability="sync"`: a step is durable before the next."""

from __future__ import annotations

import asyncio
import operator
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypedDict

from common import CALLS, PaidCalls, answer, message, size
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_work import State, config, fresh, loop

FILE = "langgraph.db"


def step(folder: Path, n: int) -> dict[str, Any]:
    db = sqlite3.connect(folder / FILE, check_same_thread=False)
    app = loop().compile(checkpointer=SqliteSaver(db))
    app.invoke(fresh(10), config("warm-up"), durability="sync")
    started = time.perf_counter()
    app.invoke(fresh(n), config("measured"), durability="sync")
    seconds = time.perf_counter() - started
    opened = size(folder, FILE)
    db.close()
    return {"us": seconds / n * 1e6, "bytes_open": opened / n, "bytes": size(folder, FILE) / n}


def threads(folder: Path, k: int, n: int) -> dict[str, Any]:
    async def main() -> float:
        async with AsyncSqliteSaver.from_conn_string(str(folder / FILE)) as saver:
            app = loop(is_async=True).compile(checkpointer=saver)
            await app.ainvoke(fresh(10), config("warm-up"), durability="sync")
            started = time.perf_counter()
            await asyncio.gather(
                *(app.ainvoke(fresh(n), config(f"t{i}"), durability="sync") for i in range(k))
            )
            return time.perf_counter() - started

    return {"steps_per_s": k * n / asyncio.run(main())}


def waiting() -> StateGraph:
    """The loop, then a question to a person, then one more step that says when it began."""

    def work(state: State) -> dict[str, Any]:
        return {"n": state["n"] + 1, "messages": [message(state["n"])]}

    def ask(state: State) -> dict[str, Any]:
        return {"messages": [interrupt("go on?")]}

    def after(state: State) -> dict[str, Any]:
        begun.append(time.perf_counter())
        return {}

    graph = StateGraph(State)
    for node in (work, ask, after):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "work")
    graph.add_conditional_edges("work", lambda s: "work" if s["n"] < s["limit"] else "ask", ["work", "ask"])
    graph.add_edge("ask", "after")
    graph.add_edge("after", END)
    return graph


begun: list[float] = []


def prepare_resume(folder: Path, n: int) -> dict[str, Any]:
    db = sqlite3.connect(folder / FILE, check_same_thread=False)
    waiting().compile(checkpointer=SqliteSaver(db)).invoke(fresh(n), config("long"), durability="sync")
    db.close()
    return {}


def resume(folder: Path, n: int) -> dict[str, Any]:
    graph = waiting()
    started = time.perf_counter()
    db = sqlite3.connect(folder / FILE, check_same_thread=False)
    app = graph.compile(checkpointer=SqliteSaver(db))
    app.invoke(Command(resume="yes"), config("long"), durability="sync")
    db.close()
    return {"ms": (begun[0] - started) * 1e3}


class Agent(TypedDict):
    turns: int
    limit: int
    answers: Annotated[list[str], operator.add]


def agent_graph(calls: PaidCalls, as_tasks: bool) -> StateGraph:
    pay = task(calls.pay) if as_tasks else calls.pay

    def agent(state: Agent) -> dict[str, Any]:
        answers = []
        for number in range(1, CALLS + 1):
            calls.moment(number - 1)
            said: Any = pay(number)
            answers.append(said.result() if as_tasks else said)
        calls.moment(CALLS)
        return {"turns": state["turns"] + 1, "answers": [answers[-1]]}

    graph = StateGraph(Agent)
    graph.add_node("agent", agent)
    graph.add_edge(START, "agent")
    graph.add_conditional_edges(
        "agent", lambda s: "agent" if s["turns"] < s["limit"] else END, ["agent", END]
    )
    return graph


class Free(PaidCalls):
    """For the speed of it: nothing is written, nothing is killed."""

    def pay(self, number: int) -> str:
        return f"answer {number}"


def agent(folder: Path, n: int) -> dict[str, Any]:
    db = sqlite3.connect(folder / FILE, check_same_thread=False)
    app = agent_graph(Free(folder / "calls", None), as_tasks=False).compile(checkpointer=SqliteSaver(db))
    app.invoke({"turns": 0, "limit": 3, "answers": []}, config("warm-up"), durability="sync")
    started = time.perf_counter()
    app.invoke({"turns": 0, "limit": n, "answers": []}, config("measured"), durability="sync")
    seconds = time.perf_counter() - started
    db.close()
    return {"us": seconds / n * 1e6}


def killed(folder: Path, kill_after: int | None, again: bool, as_tasks: bool = False) -> dict[str, Any]:
    """An agent node of five calls; the process is killed after `kill_after` of them, and started `again`."""
    calls = PaidCalls(folder / "calls", None if again else kill_after)
    db = sqlite3.connect(folder / FILE, check_same_thread=False)
    app = agent_graph(calls, as_tasks).compile(checkpointer=SqliteSaver(db))
    app.invoke(None if again else {"turns": 0, "limit": 1, "answers": []}, config("agent"), durability="sync")
    db.close()
    return {"paid": len(calls.file.read_text().split())}


def about(folder: Path) -> dict[str, Any]:
    db = sqlite3.connect(folder / FILE, check_same_thread=False)
    SqliteSaver(db).setup()
    journal = db.execute("PRAGMA journal_mode").fetchone()[0]
    synchronous = db.execute("PRAGMA synchronous").fetchone()[0]
    db.close()
    return {
        "langgraph": version("langgraph"),
        "langgraph-checkpoint-sqlite": version("langgraph-checkpoint-sqlite"),
        "journal_mode": journal,
        "synchronous": synchronous,
    }


if __name__ == "__main__":
    measures = {
        "step": step, "threads": threads, "prepare_resume": prepare_resume, "resume": resume, "agent": agent,
        "killed": killed, "about": about,
    }  # fmt: skip
    answer(measures)
