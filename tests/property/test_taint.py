"""In random graphs no label is lost on any way from an untrusted source to a field.

What the sources give says whose it is, and nodes pass on what they have: so the text of a field tells where it came
from, and its labels have to name at least that.
"""

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from turnout import END, App, Context, Finished, Graph, append, fan_out, merge, parallel, tool, untrusted
from turnout.core.view import ThreadView
from turnout.testing import open_test_app


def behind(old: str | None, new: str) -> str:
    """A reducer of the user's own."""
    return f"{old or ''} {new}"


class Notes(BaseModel):
    mail: Annotated[str, untrusted] = ""
    a: str = ""
    b: str = ""
    c: str = ""
    lines: Annotated[list[str], append] = []
    facts: Annotated[dict[str, str], merge] = {}
    joined: Annotated[str, behind] = ""


FIELDS = tuple(Notes.model_fields)
SOURCES = {"tool:one": "<one>", "tool:two": "<two>", "retrieve:web": "<web>", "input:mail": "<mail>"}
"""Labels, and what in a text tells that it comes from there."""


@tool(effect="read", untrusted=True)
async def one() -> str:
    return "<one>"


@tool(effect="read", untrusted=True)
async def two() -> str:
    raise ValueError("<two>")


@tool(effect="read")
async def safe() -> str:
    return "fine"


async def web(query: str, k: int) -> list[Any]:
    return ["<web>"]


LOOKS: dict[str, Callable[[Any, str], str]] = {
    "attribute": lambda state, name: str(getattr(state, name)),
    "dump": lambda state, name: str(state.model_dump()[name]),
    "json": lambda state, name: state.model_dump_json(include={name}),
    "copy": lambda state, name: str(getattr(copy.copy(state), name)),
    "items": lambda state, name: str(dict(state)[name]),
    "update": lambda state, name: str(getattr(state.model_copy(update={"a": ""}), name)),
}


@dataclass(frozen=True)
class Step:
    """What a step gathers, and where it writes all that it has gathered. `looks` are ways of reading a field."""

    gathers: tuple[str, ...]
    looks: tuple[tuple[str, str], ...]
    writes: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """`kind`: one step, two branches that write different fields, a fan-out of what the step has, or a child's run."""

    kind: str
    step: Step
    other: Step


steps = st.builds(
    Step,
    st.lists(st.sampled_from(["one", "two", "safe", "web"]), max_size=2).map(tuple),
    st.lists(st.tuples(st.sampled_from(list(LOOKS)), st.sampled_from(FIELDS)), max_size=2).map(tuple),
    st.lists(st.sampled_from(FIELDS), max_size=3, unique=True).map(tuple),
)
programs = st.lists(
    st.builds(Stage, st.sampled_from(["step", "branches", "items", "child"]), steps, steps),
    min_size=1,
    max_size=5,
)


async def gather(step: Step, state: Any, ctx: Context) -> str:
    """All that the step can lay its hands on, as one text."""
    found = []
    for name in step.gathers:
        if name == "web":
            found += await ctx.retrieve("web", "q")
            continue
        try:
            found.append(await ctx.call(name))
        except Exception as error:
            found.append(str(error))
    return " ".join([*found, *(LOOKS[look](state, name) for look, name in step.looks)])


def update(text: str, writes: tuple[str, ...]) -> dict[str, Any]:
    shapes: dict[str, Any] = {"lines": [text], "facts": {text[:40]: text}}
    return {name: shapes.get(name, text) for name in writes}


def plain(step: Step) -> Any:
    async def node(state: Notes, ctx: Context) -> dict[str, Any]:
        return update(await gather(step, state, ctx), step.writes)

    return node


def build(program: list[Stage]) -> Graph:
    graph = Graph("notes", state=Notes, tools=[one, two, safe], untrusted=["retrieve:web"])
    names = [f"n{i}" for i in range(len(program))] + ["end"]
    for i, stage in enumerate(program):
        name, after = names[i], names[i + 1]
        if stage.kind == "step":
            graph.node(plain(stage.step), name=name)
            graph.edge(name, after)
        elif stage.kind == "branches":
            shared = ("lines", "facts", "joined")
            left = Step(
                stage.step.gathers,
                stage.step.looks,
                tuple(w for w in stage.step.writes if w in (*shared, "a")),
            )
            right = Step(
                stage.other.gathers,
                stage.other.looks,
                tuple(w for w in stage.other.writes if w in (*shared, "b")),
            )
            graph.node(plain(Step((), (), ())), name=name)
            graph.node(plain(left), name=f"{name}l")
            graph.node(plain(right), name=f"{name}r")
            graph.node(plain(Step((), (), ())), name=f"{name}j")
            graph.edge(name, parallel(f"{name}l", f"{name}r", join=f"{name}j"))
            graph.edge(f"{name}l", f"{name}j")
            graph.edge(f"{name}r", f"{name}j")
            graph.edge(f"{name}j", after)
        elif stage.kind == "items":
            graph.node(_splitting(stage.step, f"{name}i"), name=name)
            graph.node(_each, name=f"{name}i")
            graph.edge(name, f"{name}i")
            graph.edge(f"{name}i", after)
        else:
            graph.node(_asking(stage.step), name=name)
            graph.edge(name, after)
    graph.node(plain(Step((), (), ())), name="end")
    graph.edge("end", END)
    graph.start(names[0])
    return graph


def _splitting(step: Step, to: str) -> Any:
    async def node(state: Notes, ctx: Context) -> Any:
        return fan_out(to, [await gather(step, state, ctx), "x"])

    return node


async def _each(state: Notes, ctx: Context) -> dict[str, Any]:
    return {"lines": [ctx.item], "joined": ctx.item}


def _asking(step: Step) -> Any:
    async def node(state: Notes, ctx: Context) -> dict[str, Any]:
        text = await gather(step, state, ctx)
        found = await ctx.run("below", {"a": text, "lines": [text]})
        return update(f"{found['b']} {found['lines']}", step.writes)

    return node


def below() -> Graph:
    graph = Graph("below", state=Notes, tools=[one])
    graph.node(plain(Step(("one",), (("attribute", "a"),), ("b",))), name="work")
    graph.start("work")
    graph.edge("work", END)
    return graph


def kept(view: ThreadView) -> None:
    """What a field holds, its labels name."""
    for name, found in view.state.items():
        for label, sign in SOURCES.items():
            if sign in str(found):
                assert label in view.labels.get(name, []), (name, found, view.labels)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs, st.booleans())
def test_no_label_is_lost_on_any_way_from_a_source_to_a_field(program: list[Stage], outside: bool) -> None:
    async def play(app: App) -> None:
        # The second run's input clears `a`.
        for begun in ({"mail": "<mail>"} if outside else {}, {"a": ""}):
            outcome = await app.wait(await app.start("notes", begun, thread="t"))
            assert isinstance(outcome, Finished), outcome
        for row in await app.threads():
            replayed = await app.replay(row.thread)
            assert replayed.identical, replayed.divergence
            for entry in await app.entries(row.thread):
                kept(await app.view(row.thread, at=entry.seq))

    async def main() -> None:
        async with open_test_app(graphs=[build(program), below()], retrievers={"web": web}) as app:
            await play(app)

    asyncio.run(main())


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs)
def test_where_nothing_is_untrusted_nothing_is_labelled(program: list[Stage]) -> None:
    clean = [
        Stage(
            "step" if s.kind == "child" else s.kind,
            *(Step(("safe",), p.looks, p.writes) for p in (s.step, s.other)),
        )
        for s in program
    ]

    async def main() -> None:
        async with open_test_app(graphs=[build(clean)]) as app:
            assert isinstance(await app.wait(await app.start("notes", {}, thread="t")), Finished)
            assert all(b'"taint"' not in entry.stored for entry in await app.entries("t"))
            assert (await app.view("t")).labels == {}

    asyncio.run(main())
