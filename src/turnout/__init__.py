"""Turnout: a runtime and control plane for LLM agents, run like a distributed system."""

from turnout.client import connect
from turnout.core.budgets import Budget
from turnout.core.entries import Divergence
from turnout.core.expr import field
from turnout.core.graph import Graph, Retry, fan_out
from turnout.core.matrix import above, at_least, at_most, below, between, matching, matrix, missing, row
from turnout.core.messages import ImagePart, Message, ModelReply, ModelRequest, TextPart, ToolCall, Usage
from turnout.core.reducers import add, append, merge, replace
from turnout.core.reviews import Judgement, approve, did_not_happen, edit, landed, reject, respond
from turnout.core.routing import END, parallel, rule
from turnout.core.taint import untrusted
from turnout.core.tool import CANNOT_TELL, DID_NOT_HAPPEN, Landed, Tool, tool
from turnout.errors import BudgetExceeded, DidNotHappen, TurnoutError
from turnout.guards.own import guard
from turnout.runtime.context import Context, Review, SyncContext
from turnout.service.app import App
from turnout.service.outcome import Cancelled, Failed, Finished, Outcome, Paused, Run
from turnout.service.schedules import Schedule
from turnout.settings import Settings
from turnout.sync import connect_sync, open_sync
from turnout.wiring import mcp_tool, open_app

__version__ = "0.1.0"

__all__ = [
    "CANNOT_TELL",
    "DID_NOT_HAPPEN",
    "END",
    "App",
    "Budget",
    "BudgetExceeded",
    "Cancelled",
    "Context",
    "DidNotHappen",
    "Divergence",
    "Failed",
    "Finished",
    "Graph",
    "ImagePart",
    "Judgement",
    "Landed",
    "Message",
    "ModelReply",
    "ModelRequest",
    "Outcome",
    "Paused",
    "Retry",
    "Review",
    "Run",
    "Schedule",
    "Settings",
    "SyncContext",
    "TextPart",
    "Tool",
    "ToolCall",
    "TurnoutError",
    "Usage",
    "above",
    "add",
    "append",
    "approve",
    "at_least",
    "at_most",
    "below",
    "between",
    "connect",
    "connect_sync",
    "did_not_happen",
    "edit",
    "fan_out",
    "field",
    "guard",
    "landed",
    "matching",
    "matrix",
    "mcp_tool",
    "merge",
    "missing",
    "open_app",
    "open_sync",
    "parallel",
    "reject",
    "replace",
    "respond",
    "row",
    "rule",
    "tool",
    "untrusted",
]
