"""agent(...): ask the model, make the calls that it wants, one step each, until it answers.

    begin -> model -> END                   the model answered
             model -> call | review         it wants a tool; the call may have to be reviewed first
             call, review -> call | review  it wanted several
             call, review -> model          all its calls are answered
             call, review -> stop -> END    ... and it may not be asked again

Each call is a step of its own: every one of them has a decision on record that says why it was made without a
review, or with one, and a call that was made is never made again because of what a later one did.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turnout.agents.conversation import answer_to, checked, next_call, prompt, text_of
from turnout.agents.state import AgentState, PendingCall
from turnout.core.expr import Expr, field
from turnout.core.graph import ONCE, Graph, Retry
from turnout.core.messages import ToolCall
from turnout.core.routing import END, Rule, rule
from turnout.core.tool import Tool
from turnout.errors import EffectError, GraphInvalid, InputInvalid
from turnout.runtime.context import Context

Update = dict[str, Any]
STEPS = 1_000
"""The least step limit of an agent's graph."""
CALLS_A_TURN = 20
"""How many steps a turn may take, on average, before the step limit is reached."""


def agent(
    name: str = "agent",
    *,
    model: str = "main",
    tools: Sequence[Tool[Any, Any]] = (),
    instructions: str = "",
    turns: int = 20,
    review: Sequence[Tool[Any, Any] | Expr] = (),
    roles: Sequence[str] = (),
    retry: Retry = ONCE,
    state: type[AgentState] = AgentState,
    tainted_writes: str = "allow",
) -> Graph:
    """A graph in which a model answers with the help of tools.

    Use it alone (`open_app(graphs=[agent(...)])`), or mount it: `graph.node(agent(...))`, where the state of
    `graph` inherits from `AgentState`.

    `model` is the alias of the model, `instructions` its system message. The model is asked at most `turns` times a
    run; the calls of the last turn are still made, then the run ends with `stopped="turns"`. A call of an unknown
    tool, with wrong arguments, or that fails is answered to the model as an error, and the model goes on from
    there; a write whose outcome is unknown is settled first, as every write is.

    `review` names the tools whose calls a person must approve, and conditions on the call for which that holds:
    `review=[close_account, (field("call.name") == "pay") & (field("call.args.amount") > 1_000)]`. The review shows
    the exact arguments; an edit changes them, a rejected call is answered to the model as rejected. `roles` are the
    roles that may decide. `retry` is for the model: how often a failed request is tried again. `tainted_writes` is what
    becomes of a write once the conversation holds what an untrusted tool has given: allow, review or refuse.

    Raises `GraphInvalid`.
    """
    problems = _problems(turns, tools, review)
    if problems:
        raise GraphInvalid(name, problems)
    nodes = _Nodes(name, model, instructions, {tool.name: tool for tool in tools}, tuple(roles))
    graph = Graph(name, state=state, tools=tools, step_limit=max(STEPS, turns * CALLS_A_TURN),
                  tainted_writes=tainted_writes)  # fmt: skip
    graph.node(nodes.begin, name="begin")
    graph.node(nodes.ask_model, name="model", retry=retry)
    graph.node(nodes.make_call, name="call")
    graph.node(nodes.stop, name="stop")
    reviewed: list[Rule] = []
    if review:
        graph.node(nodes.ask_person, name="review")
        reviewed = [rule("the call needs a review", _needs_review(review), to="review")]
    no_call = field("call.name").is_none()
    after_call = [
        *reviewed,
        rule("the next call", ~no_call, to="call"),
        rule("turns used up", field("turns") >= turns, to="stop"),
    ]
    graph.start("begin")
    graph.edge("begin", "model")
    graph.route("model", [rule("the model answered", no_call, to=END), *reviewed], default="call")
    graph.route("call", after_call, default="model")
    if review:
        graph.route("review", after_call, default="model")
    graph.edge("stop", END)
    return graph


@dataclass(frozen=True)
class _Nodes:
    """The nodes' functions, and what they share."""

    name: str
    model: str
    instructions: str
    tools: Mapping[str, Tool[Any, Any]]
    roles: tuple[str, ...]

    async def begin(self, state: AgentState, ctx: Context) -> Update:
        """Forget how the last run of the thread ended, and that it may have been cut off."""
        if not state.messages:
            raise InputInvalid(
                f"agent {self.name!r} was given no message; start the run with "
                '{"messages": [{"role": "user", "content": "..."}]}'
            )
        return {"answer": "", "stopped": "", "turns": 0, "call": None}

    async def ask_model(self, state: AgentState, ctx: Context) -> Update:
        shown = prompt(self.instructions, state.messages)
        reply = await ctx.model(self.model, messages=shown, tools=list(self.tools.values()))
        said = reply.message
        update: Update = {"messages": [said], "turns": state.turns + 1}
        if said.tool_calls:
            return {**update, "call": next_call([said], self.tools)}
        return {**update, "answer": reply.text, "stopped": "answered"}

    async def make_call(self, state: AgentState, ctx: Context) -> Update:
        call = _pending(state)
        if call.problem:
            return self._answered(state, f"Error: {call.problem}")
        try:
            result = await ctx.call(call.name, **call.args)
        except EffectError as error:
            return self._answered(state, f"Error: {error}")
        return self._answered(state, text_of(result))

    async def ask_person(self, state: AgentState, ctx: Context) -> Update:
        call = _pending(state)
        question = f"May {self.name} call {call.name}?"
        asked, args = question, call.args
        while True:
            decision = await ctx.review(
                asked, payload=args, allowed=["approve", "edit", "reject"], roles=self.roles
            )
            if not decision.approved:
                return self._answered(state, f"Not called: {decision.summary}")
            args = decision.payload
            found = checked(ToolCall(id=call.id, name=call.name, args=args), self.tools)
            if not found.problem:
                return {"call": found.model_copy(update={"approved": True})}
            asked = f"{question} It was edited to something that can't be called: {found.problem}"

    async def stop(self, state: AgentState, ctx: Context) -> Update:
        return {"stopped": "turns"}

    def _answered(self, state: AgentState, content: str) -> Update:
        """Answer the call to the model; then the next one is due, if there is one."""
        answer = answer_to(_pending(state), content)
        return {"messages": [answer], "call": next_call([*state.messages, answer], self.tools)}


def _pending(state: AgentState) -> PendingCall:
    assert state.call is not None  # the routes come here only with a call
    return state.call


def _needs_review(review: Sequence[Tool[Any, Any] | Expr]) -> Expr:
    """Calls of these tools and calls that meet one of these conditions, unless a person has approved them."""
    names = [item.name for item in review if isinstance(item, Tool)]
    conditions = [item for item in review if isinstance(item, Expr)]
    if names:
        conditions.insert(0, field("call.name").is_in(names))
    possible = (field("call.problem") == "") & ~field("call.approved")
    return possible & functools.reduce(operator.or_, conditions)


def _problems(
    turns: int, tools: Sequence[Tool[Any, Any]], review: Sequence[Tool[Any, Any] | Expr]
) -> list[str]:
    found = [] if turns >= 1 else [f"turns={turns}: the model must be asked at least once"]
    for item in review:
        if isinstance(item, Tool):
            if item not in tools:
                found.append(
                    f"review names the tool {item.name!r}, which the agent doesn't have; add it to tools"
                )
        elif not isinstance(item, Expr):
            found.append(
                f"review={item!r} is neither a tool nor a condition such as field('call.args.amount') > 1"
            )
    return found
