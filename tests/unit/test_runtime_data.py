"""Data that a node, a tool or a model gives, or an input has: too deep, of the wrong type, or not to be shown."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from tests.unit.runs import Work, chain, kinds, proven

from turnout import CANNOT_TELL, END, Context, Failed, Finished, Graph, append, tool
from turnout.core.messages import Message, ModelReply, ModelRequest
from turnout.errors import GraphInvalid, InputInvalid, ModelFailed, ToolFailed
from turnout.testing import ScriptedModel, open_test_app


async def test_arguments_that_do_not_fit_are_found_before_the_write_is_on_record() -> None:
    """A default isn't checked by Pydantic: `memo: str = None` passes the first look and fails the second."""

    @tool(effect="write", reconcile=lambda: CANNOT_TELL)
    async def send(memo: str = None) -> str:  # type: ignore[assignment]  # noqa: RUF013
        return f"sent {memo}"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "InputInvalid"
        assert "effect.intended" not in await kinds(app)
        await proven(app)


@pytest.mark.parametrize("depth", [100, 240, 250, 300, 2000])
async def test_deep_data_is_kept_or_refused_clearly(depth: int) -> None:
    deep: Any = []
    for _ in range(depth):
        deep = [deep]

    @tool(effect="read")
    async def look() -> Any:
        return deep

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": await ctx.call(look)}

    async with open_test_app(graphs=[chain(node, tools=[look])]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Finished if depth <= 100 else Finished | Failed)
        await proven(app)
        await app.explain("t")


@pytest.mark.parametrize("depth", [240, 250, 2000])
async def test_a_deep_input_is_kept_or_refused_clearly(depth: int) -> None:
    deep: Any = []
    for _ in range(depth):
        deep = [deep]

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": ["ran"]}

    async with open_test_app(graphs=[chain(node)]) as app:
        try:
            run = await app.start("g", {"data": deep}, thread="t")
        except InputInvalid:
            return
        assert isinstance(await app.wait(run, timeout=5), Finished)
        await proven(app)


async def test_a_node_that_gives_no_update_but_something_to_wait_for_fails_clearly() -> None:
    async def generates(state: Work, ctx: Context) -> Any:
        yield {"n": 1}

    def coroutine(state: Work, ctx: Context) -> Any:
        async def inner() -> dict[str, Any]:
            return {"n": 1}

        made.append(inner())
        return made[-1]

    made: list[Any] = []
    for node in (generates, coroutine):
        try:
            app = open_test_app(graphs=[chain(node)])
        except GraphInvalid:
            continue
        async with app:
            ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
            assert isinstance(ended, Failed), node
            assert ended.error.type == "UpdateInvalid"
    for coroutine_ in made:
        coroutine_.close()


async def test_the_values_that_pydantic_refused_are_not_put_on_record() -> None:
    class Out(BaseModel):
        token: int

    class Leaky:
        async def complete(self, request: ModelRequest, emit: Any) -> ModelReply:
            return ModelReply(output={"token": "sk-SECRET"})

    @tool(effect="read")
    async def look() -> int:
        return Out.model_validate({"token": "sk-SECRET"}).token

    async def asks(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.model("m", messages="hi", output=Out)
        except ModelFailed as error:
            return {"log": [str(error)]}
        return {}

    async def calls(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call(look)
        except ToolFailed as error:
            return {"log": [str(error)]}
        return {}

    async def breaks(state: Work, ctx: Context) -> dict[str, Any]:
        Out.model_validate({"token": "sk-SECRET"})
        return {}

    graph = chain(asks, calls, breaks, tools=[look])
    async with open_test_app(graphs=[graph], models={"m": Leaky()}) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        said = [*(await app.state("t"))["log"], ended.error.message]
        assert len(said) == 3
        for line in said:
            assert "SECRET" not in line
            assert "valid integer" in line
        await proven(app)


class Chat(BaseModel):
    messages: Annotated[list[Message], append] = []


async def answer(state: Chat, ctx: Context) -> dict[str, Any]:
    reply = await ctx.model("clerk", messages=state.messages)
    return {"messages": [reply.message]}


def chat() -> Graph:
    graph = Graph("chat", state=Chat)
    graph.node(answer)
    graph.start(answer)
    graph.edge(answer, END)
    return graph


SLIP = {"messages": [{"role": "user", "contnt": "x"}]}


async def test_an_input_with_a_field_that_messages_do_not_have_is_refused() -> None:
    async with open_test_app(graphs=[chat()], models={"clerk": ScriptedModel(["a", "b"])}) as app:
        words = r"0: Message has no 'contnt'; did you mean 'content'\?"
        with pytest.raises(InputInvalid, match=words):
            await app.start("chat", SLIP, thread="t")
        assert isinstance(
            await app.run("chat", {"messages": [{"role": "user", "content": "x"}]}, thread="t"), Finished
        )
        with pytest.raises(InputInvalid, match=words):
            await app.start("chat", SLIP, thread="t")


async def test_a_child_is_not_given_an_input_with_a_field_that_messages_do_not_have() -> None:
    async def parent(state: Work, ctx: Context) -> None:
        await ctx.run("chat", SLIP)

    async with open_test_app(graphs=[chain(parent), chat()], models={"clerk": ScriptedModel([])}) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "ChildFailed"
        assert "did you mean 'content'?" in ended.error.message
        await proven(app)


async def test_what_was_recorded_with_fields_that_messages_do_not_have_is_read_as_it_was_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older version let them pass: such inputs start, and such journals replay. So do answers of a class of one's own."""

    class Own(ModelReply):
        raw: int = 1

    async with open_test_app(
        graphs=[chat()], models={"clerk": ScriptedModel([Own(text="a", raw=2), "b"])}
    ) as app:
        with monkeypatch.context() as older:
            older.setattr("turnout.service.starting.check_input", lambda *args: None)
            for _ in range(2):
                await app.start("chat", SLIP, thread="t")
        assert isinstance(await app.wait("t/2", timeout=5), Finished)
        await proven(app)
        assert [said["content"] for said in (await app.state("t"))["messages"]] == ["", "a", "", "b"]
        before = datetime.now(UTC) + timedelta(hours=1)
        with monkeypatch.context() as older:
            older.setattr("turnout.service.starting.check_input", lambda *args: None)
            await app.start("chat", SLIP, thread="later", at=before)
        await app.start(
            "chat", {}, thread="later", at=before
        )  # it is checked against what the first one makes
