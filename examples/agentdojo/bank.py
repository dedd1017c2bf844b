"""AgentDojo's banking suite, its tools as Turnout tools, and the agent that has them."""

from __future__ import annotations

from typing import Any, Literal

from agentdojo.agent_pipeline.agent_pipeline import load_system_message
from agentdojo.functions_runtime import Function
from agentdojo.task_suite.load_suites import get_suite
from agentdojo.task_suite.task_suite import TaskSuite
from examples.agentdojo.world import World
from pydantic import BaseModel, ConfigDict, TypeAdapter

from turnout import Graph, Tool
from turnout.agents import agent
from turnout.core.typed_form import TypedForm

VERSION = "v1.2.2"
SUITE: TaskSuite[Any] = get_suite(VERSION, "banking")

EFFECTS: dict[str, Literal["read", "write"]] = {
    "get_iban": "read",
    "get_balance": "read",
    "get_most_recent_transactions": "read",
    "get_scheduled_transactions": "read",
    "get_user_info": "read",
    "read_file": "read",
    "send_money": "write",
    "schedule_transaction": "write",
    "update_scheduled_transaction": "write",
    "update_password": "write",
    "update_user_info": "write",
}
"""What each of the suite's tools does to the environment."""

UNTRUSTED = frozenset({"read_file", "get_most_recent_transactions"})
"""The tools that show what others have written: bills and letters, and the subjects of incoming payments."""


def bank_tools(world: World[Any]) -> list[Tool[Any, Any]]:
    """The suite's tools, acting on `world`. Names, descriptions, arguments and results are the suite's own."""
    return [_reading(world, f) if EFFECTS[f.name] == "read" else _changing(world, f) for f in SUITE.tools]


def bank_agent(world: World[Any], **options: Any) -> Graph:
    """The agent loop with the suite's tools and AgentDojo's own instructions. `options` are those of `agent(...)`."""
    return agent("bank", tools=bank_tools(world), instructions=load_system_message(None), **options)


def _reading(world: World[Any], function: Function[Any, Any]) -> Tool[Any, Any]:
    def look(**args: Any) -> Any:
        return world.look(function.name, args)

    declared = _declared(function)
    return Tool(fn=look, effect="read", takes_key=False, untrusted=function.name in UNTRUSTED, **declared)


def _changing(world: World[Any], function: Function[Any, Any]) -> Tool[Any, Any]:
    def change(*, idempotency_key: str, **args: Any) -> Any:
        return world.change(function.name, args, idempotency_key)

    def reconcile(*, idempotency_key: str, **args: Any) -> Any:
        return world.outcome(idempotency_key)

    return Tool(fn=change, effect="write", takes_key=True, reconcile=reconcile, **_declared(function))


def _declared(function: Function[Any, Any]) -> dict[str, Any]:
    """What AgentDojo declares of a tool, in Turnout's terms. Arguments that it doesn't have are refused."""

    class Arguments(function.parameters):  # type: ignore[name-defined,misc]
        model_config = ConfigDict(extra="forbid")

    arguments: type[BaseModel] = Arguments
    return {
        "name": function.name,
        "description": function.description,
        "form": TypedForm(arguments, TypeAdapter(function.return_type)),
    }
