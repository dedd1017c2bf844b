"""Undoing a write: the work of a step that no node has.

What has to be known is found out first, a person is asked if the graph says so, then the compensation is called: a write as
any other, with its own key, intended before and settled after. When it fails, a person says what now.
"""

from __future__ import annotations

from typing import Any

from turnout.core import canon
from turnout.core.compensation import UNDOING, arguments, outcome_request
from turnout.core.effects import Request
from turnout.core.graph import Graph, Node
from turnout.core.tool import Tool
from turnout.core.view import Landing, StepView
from turnout.errors import EffectError, InputInvalid, UnknownTool
from turnout.runtime.context import ReviewTerms
from turnout.runtime.step import Ask, Scope

COMPENSATED, LEFT, NOTHING = "compensated", "left", "did_not_happen"


def node_of(graph: Graph, step: StepView) -> Node:
    """The node of a step. One that undoes something has none of the graph's. Raises KeyError."""
    landing = step.undoes
    if landing is None:
        return graph.nodes[step.node]

    async def undo(state: None, scope: Scope) -> str:
        return await Undoing(scope, graph, landing).undo()

    return Node(UNDOING, undo, graph.schema, is_async=True)


def undo_named(scope: Scope, ask: Ask) -> str:
    """What undoes a write of this step if the run doesn't finish; "" when it stands alone. Of a write that is sent again
    it is what the record says: it may have landed, and a new version of the code can't forget it."""
    tool: Tool[Any, Any] = ask.subject
    if ask.effect is not None and ask.effect.undo:
        return ask.effect.undo
    undo = tool.compensate
    return undo.name if undo is not None and tool.name in scope.node.together else ""


class Undoing:
    """One write that is being undone."""

    def __init__(self, scope: Scope, graph: Graph, landing: Landing) -> None:
        self._scope = scope
        self._graph = graph
        self._landing = landing
        self._result = landing.result

    async def undo(self) -> str:
        """Undo it. Returns what came of it: compensated, left or did_not_happen."""
        landing, roles = self._landing, self._graph.compensate_review
        if not landing.known:
            write = self._graph.tools.get(landing.name)
            found = await self._scope.ask(outcome_request(landing.step, landing.name, landing.slot), write)
            if not found["landed"]:
                return NOTHING
            self._result = found["result"]
        if roles is not None:
            said = await self._ask(
                f"Undo {landing.name}?", ["approve", "reject"], roles, {"because": landing.why}
            )
            if said != "approve":
                return LEFT
        while True:
            try:
                await self._call()
                return COMPENSATED
            except (EffectError, InputInvalid, UnknownTool) as error:
                problem = f"{type(error).__name__}: {error}"
            choices = {
                "approve": "undo it again",
                "landed": "it was undone by hand",
                "reject": "leave it as it is",
            }
            said = await self._ask(
                f"{landing.name} could not be undone. What now?", list(choices), roles or [],
                {"problem": problem, "choices": choices},
            )  # fmt: skip
            if said != "approve":
                return COMPENSATED if said == "landed" else LEFT

    async def _call(self) -> None:
        tool = self._graph.undo_of(self._landing.name, self._landing.undo)
        if tool is None:
            raise UnknownTool(
                f"this version of {self._graph.name!r} doesn't have {self._landing.undo!r} any more"
            )
        args = tool.check(arguments(tool, self._landing, self._result))
        await self._scope.ask(Request("tool", tool.name, args, write=True), tool)

    async def _ask(self, question: str, allowed: list[str], roles: list[str], more: dict[str, Any]) -> str:
        landing = self._landing
        payload = canon.plain(
            {
                "write": landing.name,
                "arguments": landing.args,
                "result": self._result,
                "compensation": landing.undo,
                **more,
            },
            "the review's payload",
        )
        terms = ReviewTerms(
            payload=payload, allowed=allowed, roles=list(roles), quorum=1, separate=False, due=None, due_in=None, on_due="",
            escalate_to=[], purpose="compensation",
        )  # fmt: skip
        found = await self._scope.ask(Request("review", question, {"payload": payload}), terms)
        return str(found["decision"])
