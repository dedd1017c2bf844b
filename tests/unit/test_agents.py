"""The agent loop of turnout.agents, with a scripted model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from turnout import (
    CANNOT_TELL,
    END,
    Context,
    DidNotHappen,
    Failed,
    Finished,
    Graph,
    Landed,
    Message,
    ModelReply,
    ModelRequest,
    Paused,
    ToolCall,
    approve,
    edit,
    field,
    open_app,
    reject,
    tool,
)
from turnout.agents import AgentState, agent
from turnout.core import entries as e
from turnout.core.tool import Tool
from turnout.errors import GraphInvalid
from turnout.testing import ScriptedModel, open_test_app

ASK = {"messages": [{"role": "user", "content": "Pay the bill."}]}


def calls(*wanted: tuple[str, dict[str, Any]], first: int = 1) -> ModelReply:
    """A reply that wants tools called, as call-1, call-2, ..."""
    return ModelReply(
        tool_calls=tuple(
            ToolCall(id=f"call-{first + i}", name=name, args=args) for i, (name, args) in enumerate(wanted)
        )
    )


class Bank:
    """Two tools, and what was really done with them."""

    def __init__(self) -> None:
        self.done: list[tuple[str, dict[str, Any]]] = []

        @tool(effect="read")
        async def balance(account: str) -> int:
            """The balance of an account."""
            self.done.append(("balance", {"account": account}))
            return 700

        @tool(effect="write")
        async def pay(to: str, amount: int, idempotency_key: str) -> dict[str, str]:
            """Pay somebody."""
            if amount < 0:
                raise DidNotHappen("a payment is positive")
            self.done.append(("pay", {"to": to, "amount": amount}))
            return {"receipt": f"R-{amount}"}

        self.balance: Tool[Any, Any] = balance
        self.pay: Tool[Any, Any] = pay
        self.tools = [balance, pay]


def answers(state: Any) -> list[tuple[str, str]]:
    """The tool messages of a conversation: id of the call, and what it was answered."""
    return [(m.tool_call_id, m.content) for m in state.messages if m.role == "tool"]


async def finished(
    graph: Graph, lines: Any, given: dict[str, Any] = ASK, **options: Any
) -> tuple[Any, ScriptedModel]:
    """Run the graph to its end, and prove that its replay is identical."""
    model = ScriptedModel(lines)
    async with open_test_app(graphs=[graph], models={"main": model}) as app:
        outcome = await app.run(graph, given, thread="t", **options)
        assert isinstance(outcome, Finished), outcome
        replay = await app.replay("t")
        assert replay.identical, replay.divergence
        return outcome.state, model


async def test_an_agent_makes_the_calls_the_model_wants_and_gives_its_answer() -> None:
    bank = Bank()
    graph = agent(tools=bank.tools, instructions="You are a clerk.")
    script = [calls(("balance", {"account": "A"})), calls(("pay", {"to": "B", "amount": 7})), "Paid 7 to B."]
    state, model = await finished(graph, script)
    assert (state.answer, state.stopped, state.turns, state.call) == ("Paid 7 to B.", "answered", 3, None)
    assert bank.done == [("balance", {"account": "A"}), ("pay", {"to": "B", "amount": 7})]
    assert [m.role for m in state.messages] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert answers(state) == [("call-1", "700"), ("call-1", '{"receipt":"R-7"}')]
    assert [r.messages[0].content for r in model.requests] == ["You are a clerk."] * 3
    assert [t["name"] for t in model.requests[0].tools] == ["balance", "pay"]


async def test_several_calls_in_one_reply_are_made_in_order_each_with_its_id() -> None:
    bank = Bank()
    wanted = [
        ("pay", {"to": "B", "amount": 1}),
        ("balance", {"account": "A"}),
        ("pay", {"to": "C", "amount": 2}),
    ]
    state, model = await finished(agent(tools=bank.tools), [calls(*wanted), "Done."])
    assert bank.done == wanted
    assert answers(state) == [
        ("call-1", '{"receipt":"R-1"}'),
        ("call-2", "700"),
        ("call-3", '{"receipt":"R-2"}'),
    ]
    assert len(model.requests) == 2


async def test_two_identical_calls_in_one_reply_are_two_calls() -> None:
    bank = Bank()
    once = ("pay", {"to": "B", "amount": 1})
    state, _ = await finished(agent(tools=bank.tools), [calls(once, once), "Done."])
    assert bank.done == [once, once]
    assert [call for call, _ in answers(state)] == ["call-1", "call-2"]


async def test_an_unknown_tool_and_wrong_arguments_are_answered_to_the_model() -> None:
    bank = Bank()
    wrong = calls(
        ("transfer", {}),
        ("pay", {"to": "B"}),
        ("pay", {"to": "B", "amount": "much"}),
        ("pay", {"to": "B", "amount": 1, "idempotency_key": "mine"}),
    )
    state, model = await finished(agent(tools=bank.tools), [wrong, "I can't."])
    assert bank.done == []
    told = dict(answers(state))
    assert "no tool 'transfer'" in told["call-1"]
    assert "balance, pay" in told["call-1"]
    assert "amount" in told["call-2"]
    assert "amount" in told["call-3"]
    assert "idempotency_key" in told["call-4"]
    assert [m.tool_call_id for m in model.requests[1].messages[-4:]] == [
        "call-1",
        "call-2",
        "call-3",
        "call-4",
    ]


async def test_a_tool_that_fails_is_answered_to_the_model() -> None:
    @tool(effect="read")
    async def rate(currency: str) -> float:
        raise LookupError(f"no rate for {currency}")

    bank = Bank()
    script = [calls(("rate", {"currency": "XXX"}), ("pay", {"to": "B", "amount": -1}), first=1), "I can't."]
    state, _ = await finished(agent(tools=[rate, bank.pay]), script)
    told = dict(answers(state))
    assert "no rate for XXX" in told["call-1"]
    assert "a payment is positive" in told["call-2"]
    assert state.stopped == "answered"


async def test_a_tool_may_have_parameters_named_like_those_of_ctx_call() -> None:
    @tool(effect="read")
    async def about(tool: str, self: str) -> str:
        return f"{tool} {self}"

    state, _ = await finished(
        agent(tools=[about]), [calls(("about", {"tool": "saw", "self": "me"})), "Done."]
    )
    assert answers(state) == [("call-1", "saw me")]


async def test_a_write_with_an_unknown_outcome_is_settled_before_the_model_is_asked_again() -> None:
    looks: list[str] = []

    def look(to: str, idempotency_key: str) -> Any:
        looks.append(to)
        return Landed("L-1") if looks else CANNOT_TELL

    @tool(effect="write", reconcile=look)
    async def send(to: str) -> str:
        raise ConnectionError("cut off")

    state, model = await finished(agent(tools=[send]), [calls(("send", {"to": "B"})), "Sent."])
    assert looks == ["B"]
    assert answers(state) == [("call-1", "L-1")]
    assert len(model.requests) == 2


async def test_the_model_is_asked_at_most_as_often_as_allowed() -> None:
    bank = Bank()
    state, model = await finished(
        agent(tools=bank.tools, turns=3), lambda request: calls(("balance", {"account": "A"}))
    )
    assert len(model.requests) == 3
    assert (state.stopped, state.answer, state.turns) == ("turns", "", 3)
    assert len(bank.done) == 3, "the calls of the last turn are made too"
    assert state.messages[-1].role == "tool"


async def test_a_model_that_fails_fails_the_run() -> None:
    async with open_test_app(graphs=[agent()], models={"main": ScriptedModel([OSError("down")])}) as app:
        outcome = await app.run("agent", ASK)
    assert isinstance(outcome, Failed)
    assert "down" in outcome.error.message


async def test_an_agent_without_a_message_says_how_to_give_it_one() -> None:
    async with open_test_app(graphs=[agent()], models={"main": ScriptedModel([])}) as app:
        outcome = await app.run("agent", {})
    assert isinstance(outcome, Failed)
    assert '"messages"' in outcome.error.message


async def test_a_second_run_of_the_thread_carries_the_conversation_on() -> None:
    bank = Bank()
    model = ScriptedModel([calls(("balance", {"account": "A"})), "700.", "Yes, still 700."])
    async with open_test_app(graphs=[agent(tools=bank.tools, turns=2)], models={"main": model}) as app:
        await app.run("agent", ASK, thread="t")
        outcome = await app.run("agent", {"messages": [{"role": "user", "content": "Sure?"}]}, thread="t")
        assert isinstance(outcome, Finished)
        assert outcome.state.model_dump()["answer"] == "Yes, still 700."
        assert outcome.state.model_dump()["turns"] == 1
        assert (await app.replay("t")).identical
    assert [m.role for m in model.requests[-1].messages] == ["user", "assistant", "tool", "assistant", "user"]


async def test_calls_that_a_cancelled_run_left_open_are_shown_as_answered() -> None:
    bank = Bank()
    model = ScriptedModel(
        [calls(("pay", {"to": "B", "amount": 1}), ("pay", {"to": "C", "amount": 2})), "Hello."]
    )
    graph = agent(tools=bank.tools, review=[(field("call.name") == "pay") & (field("call.args.amount") > 1)])
    async with open_test_app(graphs=[graph], models={"main": model}) as app:
        assert isinstance(await app.run(graph, ASK, thread="t"), Paused)
        await app.cancel("t")
        again = {"messages": [{"role": "user", "content": "Hi."}]}
        outcome = await app.run(graph, again, thread="t")
        assert isinstance(outcome, Finished), outcome
    shown = model.requests[-1].messages
    assert [m.role for m in shown] == ["user", "assistant", "tool", "tool", "user"]
    assert shown[2].content == '{"receipt":"R-1"}'
    assert shown[3].tool_call_id == "call-2"
    assert "stopped" in shown[3].content


async def reviewed(verdicts: list[Any], graph: Graph, script: list[Any]) -> tuple[Any, list[Any]]:
    """Run the graph, decide its reviews one after the other; the final state and the reviews."""
    seen: list[Any] = []
    async with open_test_app(graphs=[graph], models={"main": ScriptedModel(script)}) as app:
        run = await app.start(graph, ASK, thread="t")
        for verdict in verdicts:
            paused = await app.wait(run, timeout=10)
            assert isinstance(paused, Paused), paused
            [review] = paused.reviews
            seen.append(review)
            await app.resolve(review, verdict)
        outcome = await app.wait(run, timeout=10)
        assert isinstance(outcome, Finished), outcome
        replay = await app.replay("t")
        assert replay.identical, replay.divergence
        return outcome.state, seen


async def test_a_call_that_needs_a_review_waits_with_its_exact_arguments_shown() -> None:
    bank = Bank()
    script = [calls(("balance", {"account": "A"}), ("pay", {"to": "B", "amount": "7"})), "Paid."]
    graph = agent(tools=bank.tools, review=[bank.pay], roles=["finance"])
    state, [review] = await reviewed([approve(by="dana", roles=["finance"])], graph, script)
    assert review.payload == {"to": "B", "amount": 7}
    assert "pay" in review.question
    assert review.roles == ("finance",)
    assert bank.done == [("balance", {"account": "A"}), ("pay", {"to": "B", "amount": 7})]
    assert answers(state)[1] == ("call-2", '{"receipt":"R-7"}')


async def test_an_edit_changes_the_arguments_of_the_call() -> None:
    bank = Bank()
    script = [calls(("pay", {"to": "B", "amount": 70})), "Paid."]
    await reviewed([edit({"amount": 7}, by="dana")], agent(tools=bank.tools, review=[bank.pay]), script)
    assert bank.done == [("pay", {"to": "B", "amount": 7})]


async def test_an_edit_that_cannot_be_called_is_asked_again() -> None:
    bank = Bank()
    script = [calls(("pay", {"to": "B", "amount": 70})), "Paid."]
    verdicts = [edit({"amount": 7.5}, by="dana"), edit({"amount": 7}, by="dana")]
    _, [_, second] = await reviewed(verdicts, agent(tools=bank.tools, review=[bank.pay]), script)
    assert "can't be called" in second.question
    assert bank.done == [("pay", {"to": "B", "amount": 7})]


async def test_a_rejected_call_is_answered_to_the_model_with_the_comment() -> None:
    bank = Bank()
    script = [calls(("pay", {"to": "B", "amount": 70}), ("pay", {"to": "C", "amount": 1})), "One."]
    verdicts = [reject(by="dana", comment="too much"), approve(by="eli")]
    state, _ = await reviewed(verdicts, agent(tools=bank.tools, review=[bank.pay]), script)
    assert bank.done == [("pay", {"to": "C", "amount": 1})]
    assert "dana" in answers(state)[0][1]
    assert "too much" in answers(state)[0][1]


async def test_a_condition_on_the_call_says_which_calls_need_a_review() -> None:
    bank = Bank()
    large = (field("call.name") == "pay") & (field("call.args.amount") > 50)
    script = [
        calls(("pay", {"to": "B", "amount": 50}), ("pay", {"to": "C", "amount": 51}), ("pay", {"to": "D"})),
        "Done.",
    ]
    _, [review] = await reviewed([approve(by="dana")], agent(tools=bank.tools, review=[large]), script)
    assert review.payload == {"to": "C", "amount": 51}
    assert [args["to"] for _, args in bank.done] == ["B", "C"]


async def test_the_decision_before_a_call_says_why_it_was_made_without_a_review() -> None:
    bank = Bank()
    graph = agent(tools=bank.tools, review=[bank.pay])
    model = ScriptedModel([calls(("balance", {"account": "A"})), "700."])
    async with open_test_app(graphs=[graph], models={"main": model}) as app:
        await app.run(graph, ASK, thread="t")
        bodies = [entry.body for entry in await app.entries("t")]
    [made] = [body for body in bodies if isinstance(body, e.Decision) and body.target == "call"]
    assert made.reads["call.name"] == "balance"
    assert "the call needs a review" in [label for label, _ in made.others]


class Case(AgentState):
    number: str
    verdict: str = ""


async def test_an_agent_is_mounted_as_a_node_of_a_graph_with_more_state() -> None:
    bank = Bank()
    desk = agent("desk", tools=bank.tools)
    graph = Graph("cases", state=Case)

    @graph.node
    async def open_case(state: Case, ctx: Context) -> dict[str, Any]:
        return {"messages": [Message(role="user", content=f"Case {state.number}")]}

    @graph.node
    async def close_case(state: Case, ctx: Context) -> dict[str, Any]:
        return {"verdict": state.answer.upper()}

    graph.node(desk)
    graph.start(open_case)
    graph.edge(open_case, desk)
    graph.edge(desk, close_case)
    graph.edge(close_case, END)
    state, _ = await finished(graph, [calls(("pay", {"to": "B", "amount": 1})), "paid"], {"number": "17"})
    assert state.verdict == "PAID"
    assert bank.done == [("pay", {"to": "B", "amount": 1})]


def test_what_is_wrong_with_an_agent_is_said_when_it_is_built() -> None:
    bank = Bank()
    with pytest.raises(GraphInvalid) as raised:
        agent(tools=[bank.balance], review=[bank.pay, "pay"], turns=0)  # type: ignore[list-item]
    assert len(raised.value.problems) == 3


def test_the_fingerprint_covers_the_instructions_the_model_and_the_bounds() -> None:
    bank = Bank()
    variants: list[dict[str, Any]] = [
        {},
        {"instructions": "Be brief."},
        {"model": "small"},
        {"turns": 5},
        {"review": [bank.pay]},
        {"review": [bank.balance]},
        {"review": [bank.pay], "roles": ["finance"]},
    ]
    prints = [agent(tools=bank.tools, **variant).fingerprint for variant in variants]
    assert len(set(prints)) == len(prints)
    assert agent(tools=Bank().tools).fingerprint == prints[0]


async def stored(folder: Path, turns: int) -> int:
    """The bytes that a conversation of so many turns takes on disk, after the store was closed."""

    @tool(effect="read")
    async def look(page: int) -> str:
        return f"Page {page}: " + "".join(chr(97 + (page * 7 + i * i) % 26) for i in range(300))

    def play(request: ModelRequest) -> ModelReply | str:
        made = sum(m.role == "assistant" for m in request.messages)
        return calls(("look", {"page": made}), first=made) if made < turns - 1 else "Done."

    path = folder / f"{turns}.db"
    models = {"main": ScriptedModel(play)}
    async with open_app(f"sqlite:///{path}", graphs=[agent(tools=[look], turns=turns)], models=models) as app:
        outcome = await app.run("agent", ASK, thread="t")
        assert isinstance(outcome, Finished), outcome
        assert outcome.state.model_dump()["turns"] == turns
    return sum(file.stat().st_size for file in folder.glob(f"{turns}.db*"))


async def test_storage_is_linear_in_the_conversation(tmp_path: Path) -> None:
    short, long = await stored(tmp_path, 50), await stored(tmp_path, 200)
    # 4 times the turns, 4 times the bytes; a store of whole prompts or states would take 16 times.
    assert long < 5 * short, (short, long)
    assert long / 200 < 6_000, long / 200
