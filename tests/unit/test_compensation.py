"""Compensation: what landed in a run that doesn't finish is undone, the latest first, once, and never on a guess."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import (
    CANNOT_TELL,
    DID_NOT_HAPPEN,
    END,
    Cancelled,
    Context,
    DidNotHappen,
    Failed,
    Finished,
    Graph,
    Landed,
    Paused,
    Tool,
    approve,
    did_not_happen,
    landed,
    parallel,
    reject,
    tool,
)
from turnout.core import entries as e
from turnout.errors import GraphInvalid, InputInvalid
from turnout.testing import VirtualClock, open_test_app


class Travel:
    """A world in which things are booked and cancelled, and which can fail at either."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.keys: list[str] = []
        self.fail: list[Exception | None] = []
        self.said: list[Any] = []
        self.lost = ""

    def write(self, name: str, **options: Any) -> Tool[Any, Any]:
        async def undo(place: str, result: Any, write_key: str, idempotency_key: str) -> str:
            self.keys.append(idempotency_key)
            problem = self.fail.pop(0) if self.fail else None
            if problem is not None:
                raise problem
            self.log.append(f"undo {name} {place} {result}")
            return "undone"

        async def book(place: str) -> str:
            self.log.append(f"{name} {place}")
            if self.lost == name:
                raise ConnectionError("the line is dead")
            return f"{name}-{place}"

        async def look(place: str) -> Any:
            return self.said.pop(0)

        undo.__name__, book.__name__ = f"cancel_{name}", f"book_{name}"
        if options.pop("reconcile", False):
            options["reconcile"] = look
        return tool(effect="write", compensate=undo, **options)(book)


def trip(world: Travel, *names: str, tools: dict[str, Tool[Any, Any]] | None = None, **options: Any) -> Graph:
    """Books one after the other, and then fails."""
    made = {name: (tools or {}).get(name) or world.write(name) for name in names}
    graph = Graph("g", state=Work, tools=list(made.values()), **{"together": True, **options})

    def booking(name: str) -> Any:
        async def book(state: Work, ctx: Context) -> dict[str, Any]:
            return {"log": [await ctx.call(made[name], place="Graz")]}

        return book

    for name in names:
        graph.node(booking(name), name=name)

    @graph.node
    async def end(state: Work, ctx: Context) -> dict[str, Any]:
        if state.data == "wait":
            await ctx.signal("go")
        if state.data != "fine":
            raise RuntimeError("no seats left")
        return {"n": 1}

    graph.start(names[0])
    for here, there in zip(names, [*names[1:], end], strict=True):
        graph.edge(here, there)
    graph.edge(end, END)
    return graph


def outcomes(found: Any) -> list[tuple[str, str]]:
    return [(write.name, write.outcome) for write in found.writes]


async def test_a_run_that_fails_undoes_what_has_landed_the_latest_first():
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", "hotel", "tour")]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert world.log == [
            "train Graz", "hotel Graz", "tour Graz",
            "undo tour Graz tour-Graz", "undo hotel Graz hotel-Graz", "undo train Graz train-Graz",
        ]  # fmt: skip
        assert outcomes(failed) == [
            ("book_train", "compensated"),
            ("book_hotel", "compensated"),
            ("book_tour", "compensated"),
        ]
        assert failed.error.message == "no seats left"
        assert len(set(world.keys)) == 3
        seen = await kinds(app)
        assert seen[-4:] == ["effect.intended", "effect.settled", "compensation.ended", "run.failed"]
        assert seen.index("step.failed") < seen.index("compensation.started")
        await proven(app)
        assert (await app.whatif("t")).gap is None
        assert len(world.log) == 6  # the what-if undid nothing


async def test_a_run_that_finishes_undoes_nothing():
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        assert isinstance(await app.run("g", {"data": "fine"}, thread="t"), Finished)
        assert world.log == ["train Graz", "hotel Graz"]


async def test_a_run_that_is_cancelled_undoes_what_has_landed():
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        assert isinstance(await app.run("g", {"data": "wait"}, thread="t"), Paused)
        await app.cancel("t", by="dana", reason="too dear")
        cancelled = await app.wait("t/1")
        assert isinstance(cancelled, Cancelled)
        assert outcomes(cancelled) == [("book_train", "compensated"), ("book_hotel", "compensated")]
        assert world.log[2:] == ["undo hotel Graz hotel-Graz", "undo train Graz train-Graz"]
        started = [x.body for x in await app.entries("t") if isinstance(x.body, e.CompensationStarted)]
        assert started[0].why == "the run was cancelled by dana: too dear"
        await proven(app)


async def test_only_what_the_graph_says_is_undone():
    world = Travel()
    tools = {name: world.write(name) for name in ("train", "hotel")}
    async with open_test_app(
        graphs=[trip(world, "train", "hotel", tools=tools, together=[[tools["train"]]])]
    ) as app:
        failed = await app.run("g", {}, thread="t")
        assert outcomes(failed) == [("book_train", "compensated"), ("book_hotel", "landed")]
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", together=())]) as app:
        assert outcomes(await app.run("g", {}, thread="t")) == [("book_train", "landed")]


async def test_a_run_that_fails_between_its_steps_undoes_too():
    world = Travel()
    graph = trip(world, "train", step_limit=1)
    async with open_test_app(graphs=[graph]) as app:
        failed = await app.run("g", {"data": "fine"}, thread="t")
        assert isinstance(failed, Failed)
        assert failed.error.type == "StepLimit"
        assert outcomes(failed) == [("book_train", "compensated")]
        await proven(app)


async def test_parallel_writes_are_undone_in_the_reverse_order_of_their_landing():
    world, gate = Travel(), asyncio.Event()
    a, b = world.write("a"), world.write("b")

    async def first(state: Work, ctx: Context) -> dict[str, Any]:
        return {}

    async def slow(state: Work, ctx: Context) -> dict[str, Any]:
        await gate.wait()
        return {"log": [await ctx.call(a, place="x")]}

    async def quick(state: Work, ctx: Context) -> dict[str, Any]:
        found = await ctx.call(b, place="x")
        gate.set()
        return {"log": [found]}

    async def end(state: Work, ctx: Context) -> dict[str, Any]:
        raise RuntimeError("no")

    graph = Graph("g", state=Work, tools=[a, b], together=True)
    for node in (first, slow, quick, end):
        graph.node(node)
    graph.start(first)
    graph.edge(first, parallel(slow, quick, join=end))
    graph.edge(slow, end)
    graph.edge(quick, end)
    graph.edge(end, END)
    async with open_test_app(graphs=[graph]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Failed)
        assert world.log == ["b x", "a x", "undo a x a-x", "undo b x b-x"]
        await proven(app)


@pytest.mark.parametrize("yes", [True, False])
async def test_a_person_approves_before_when_the_graph_says_so(yes: bool):
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", compensate_review=["ops"])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert (review.question, review.purpose, review.roles) == (
            "Undo book_train?",
            "compensation",
            ("ops",),
        )
        assert review.payload == {
            "write": "book_train", "arguments": {"place": "Graz"}, "result": "train-Graz", "compensation": "cancel_train",
            "because": "the run failed: RuntimeError: no seats left",
        }  # fmt: skip
        decide = approve if yes else reject
        await app.resolve(review, decide(by="dana", roles=["ops"]))
        failed = await app.wait("t/1")
        assert outcomes(failed) == [("book_train", "compensated" if yes else "landed")]
        assert len(world.log) == (2 if yes else 1)
        await proven(app)


@pytest.mark.parametrize(
    ("judgement", "outcome", "calls"),
    [
        (approve(by="dana"), "compensated", 2),
        (landed(by="dana"), "compensated", 1),
        (reject(by="dana"), "landed", 1),
    ],
)
async def test_a_compensation_that_fails_goes_to_a_person(judgement: Any, outcome: str, calls: int):
    world = Travel()
    world.fail = [DidNotHappen("they are closed")]
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert review.purpose == "compensation"
        assert review.allowed == ("approve", "landed", "reject")
        assert "they are closed" in review.payload["problem"]
        assert (await app.view("t")).status == "waiting"
        steps = {step.id: step for step in (await app.explain("t")).steps}
        assert steps["undo:1"].waits_for == (f"review {review.id}",)
        await app.resolve(review, judgement)
        failed = await app.wait("t/1")
        assert isinstance(failed, Failed)
        assert outcomes(failed) == [
            ("book_train", "compensated"),
            ("book_hotel", outcome),
        ]  # the others go on
        assert len(world.keys) == calls + 1
        found = [(x.write, x.outcome) for x in (await app.explain("t")).compensations]
        assert found == [
            ("book_hotel", "left" if outcome == "landed" else outcome),
            ("book_train", "compensated"),
        ]
        await proven(app)


async def test_an_unknown_compensation_is_sent_again_with_its_key():
    world, clock = Travel(), VirtualClock()
    world.fail = [ConnectionError("the line is dead")]
    async with open_test_app(graphs=[trip(world, "train")], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(600)
        assert outcomes(await app.wait(run)) == [("book_train", "compensated")]
        assert len(world.keys) == 2
        assert len(set(world.keys)) == 1
        await proven(app)


@pytest.mark.parametrize(
    ("said", "outcome", "undone"),
    [(Landed("train-Graz"), "compensated", True), (DID_NOT_HAPPEN, "did_not_happen", False)],
)
async def test_a_write_of_unknown_outcome_is_looked_into_first(said: Any, outcome: str, undone: bool):
    world, clock = Travel(), VirtualClock()
    world.lost = "train"
    world.said = [CANNOT_TELL, CANNOT_TELL, CANNOT_TELL, said]
    async with open_test_app(
        graphs=[trip(world, "train", tools={"train": world.write("train", reconcile=True)})], clock=clock
    ) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: len(world.said) == 3, clock)  # it was asked once, and waits
        await app.cancel("t")
        await clock.advance(600)
        assert outcomes(await app.wait(run)) == [("book_train", outcome)]
        assert world.log[0] == "train Graz"
        assert world.log[1:] == (["undo train Graz train-Graz"] if undone else [])
        await proven(app)


@pytest.mark.parametrize("yes", [True, False])
async def test_a_person_says_what_became_of_a_write_before_it_is_undone(yes: bool):
    world = Travel()
    world.lost = "train"
    async with open_test_app(graphs=[trip(world, "train")]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        await app.cancel("t")
        async with asyncio.timeout(10):
            while not (open_ones := [r for r in await app.reviews() if r.id != paused.reviews[0].id]):
                await asyncio.sleep(0.01)
        [review] = open_ones
        assert review.purpose == "outcome"
        await app.resolve(review, landed("train-Graz", by="dana") if yes else did_not_happen(by="dana"))
        cancelled = await app.wait("t/1")
        assert isinstance(cancelled, Cancelled)
        assert outcomes(cancelled) == [("book_train", "compensated" if yes else "did_not_happen")]
        assert len(world.log) == (2 if yes else 1)
        [first, *_] = (await app.explain("t")).calls
        assert first.outcome == ("landed" if yes else "did_not_happen")
        await proven(app)


async def test_a_new_version_that_sends_a_write_again_does_not_forget_what_undoes_it(tmp_path: Path):
    world, clock, keys = Travel(), VirtualClock(), []

    def keyed(problem: Exception | None, **options: Any) -> Tool[Any, Any]:
        @tool(effect="write", name="book_train", **options)
        async def book(place: str, idempotency_key: str) -> str:
            keys.append(idempotency_key)
            if problem is not None:
                raise problem
            return f"train-{place}"

        return book

    store = f"sqlite:///{tmp_path / 's.db'}"
    first = keyed(ConnectionError("the line is dead"), compensate=world.write("train").compensate)
    graph = trip(world, "train", tools={"train": first})
    async with open_test_app(store, graphs=[graph], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: keys, clock)
    graph = trip(world, "train", tools={"train": keyed(None)}, together=())
    async with open_test_app(store, graphs=[graph], clock=clock) as app:
        await clock.advance(60)
        paused = await app.wait(run, timeout=5)
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert review.question == "book_train could not be undone. What now?"
        await app.resolve(review, landed(by="dana"))
        assert outcomes(await app.wait(run)) == [("book_train", "compensated")]
        assert len(set(keys)) == 1
        await proven(app)


async def test_a_fork_leaves_what_its_parent_has_written_to_the_parent():
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        assert isinstance(await app.run("g", {"data": "wait"}, thread="t"), Paused)
        hotel = next(x.seq for x in await app.entries("t") if x.kind == "step.finished")
        run = await app.fork("t", at=hotel, name="f")
        await until(lambda: len(world.log) == 3)  # it books a hotel of its own
        async with asyncio.timeout(10):
            while not isinstance(await app.wait(run), Paused):
                pass
        await app.cancel("f")
        cancelled = await app.wait(run)
        assert outcomes(cancelled) == [("book_train", "landed"), ("book_hotel", "compensated")]
        assert world.log == ["train Graz", "hotel Graz", "hotel Graz", "undo hotel Graz hotel-Graz"]
        await proven(app, "f")


@pytest.mark.parametrize("happened", [True, False])
async def test_a_fork_in_the_middle_of_a_write_leaves_that_write_to_its_parent(happened):
    """Both would undo one booking. What the fork books itself it undoes itself."""
    world = Travel()
    train = world.write("train", reconcile=True)
    async with open_test_app(graphs=[trip(world, "train", tools={"train": train})]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Failed)
        assert world.log == ["train Graz", "undo train Graz train-Graz"]
        intended = next(x for x in await app.entries("t") if x.kind == "effect.intended")
        world.said = [Landed("train-Graz") if happened else DID_NOT_HAPPEN]
        failed = await app.wait(await app.fork("t", at=intended.seq, name="f"))
        assert isinstance(failed, Failed)
        assert outcomes(failed) == [("book_train", "landed" if happened else "compensated")]
        own = [x.body for x in (await app.entries("f"))[intended.seq :] if x.kind == "effect.intended"]
        assert intended.body.idempotency_key not in {body.idempotency_key for body in own}
        assert world.log[2:] == ([] if happened else ["train Graz", "undo train Graz train-Graz"])
        await proven(app, "f")


async def test_a_fork_in_the_middle_of_a_compensation_undoes_nothing():
    world = Travel()
    world.fail = [DidNotHappen("closed")]
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Paused)
        failed = await app.wait(await app.fork("t", name="f"))
        assert isinstance(failed, Failed)
        assert outcomes(failed) == [("book_train", "landed"), ("book_hotel", "landed")]
        await proven(app, "f")


async def test_a_child_that_fails_undoes_its_own_and_one_that_has_finished_stands():
    world = Travel()
    child = trip(world, "train")

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.run(child, {"data": state.data})
        raise RuntimeError("the parent fails")

    parent = chain(step, name="parent")
    for data, log in (("fine", ["train Graz"]), (None, ["train Graz", "undo train Graz train-Graz"])):
        world.log.clear()
        async with open_test_app(graphs=[parent, child]) as app:
            assert isinstance(await app.run("parent", {"data": data}, thread="p"), Failed)
            assert world.log == log


async def test_a_mounted_graph_brings_its_declaration_along():
    world = Travel()
    inner = Graph("inner", state=Work, tools=[book := world.write("train")], together=[book])

    @inner.node
    async def go(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(book, place="Graz")]}

    inner.start(go)
    inner.edge(go, END)
    outer = Graph("g", state=Work)
    outer.node(inner)

    @outer.node
    async def end(state: Work, ctx: Context) -> dict[str, Any]:
        raise RuntimeError("no")

    outer.start(inner)
    outer.edge(inner, end)
    outer.edge(end, END)
    async with open_test_app(graphs=[outer]) as app:
        assert outcomes(await app.run("g", {}, thread="t")) == [("book_train", "compensated")]


async def test_transactional_writes_are_undone_too():
    world: list[str] = []

    @tool(effect="write", transactional=True)
    def unbook(place: str, transaction: Any) -> None:
        world.append(f"undo {place}")

    @tool(effect="write", transactional=True, compensate=unbook)
    def book(place: str, transaction: Any) -> None:
        world.append(place)

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(book, place="Graz")
        raise RuntimeError("no")

    graph = Graph("g", state=Work, tools=[book], together=True)
    graph.node(step)
    graph.start(step)
    graph.edge(step, END)
    async with open_test_app(graphs=[graph]) as app:
        assert outcomes(await app.run("g", {}, thread="t")) == [("book", "compensated")]
        assert world == ["Graz", "undo Graz"]
        await proven(app)


async def test_a_version_without_the_compensation_asks_a_person(tmp_path: Any):
    world = Travel()
    store = f"sqlite:///{tmp_path}/t.db"
    async with open_test_app(store, graphs=[trip(world, "train")]) as app:
        assert isinstance(await app.run("g", {"data": "wait"}, thread="t"), Paused)

    @tool(effect="write")
    async def book_train(place: str) -> str:
        return ""

    async with open_test_app(
        store, graphs=[trip(world, "train", tools={"train": book_train}, together=())]
    ) as app:
        await app.cancel("t")
        async with asyncio.timeout(10):
            while not (reviews := await app.reviews()):
                await asyncio.sleep(0.01)
        assert "doesn't have 'cancel_train' any more" in reviews[0].payload["problem"]
        await app.resolve(reviews[0], landed(by="dana"))
        assert outcomes(await app.wait("t/1")) == [("book_train", "compensated")]


async def test_another_cancel_does_not_break_a_compensation_off():
    world, gate = Travel(), asyncio.Event()
    begun = asyncio.Event()

    @tool(effect="write")
    async def unbook(place: str) -> None:
        begun.set()
        await gate.wait()
        world.log.append("undone")

    @tool(effect="write", compensate=unbook)
    async def book(place: str) -> str:
        return "ok"

    async with open_test_app(graphs=[trip(world, "train", tools={"train": book})]) as app:
        run = await app.start("g", {}, thread="t")
        await begun.wait()
        assert (await app.view("t")).status == "compensating"
        await app.cancel("t")
        await asyncio.sleep(0.05)
        gate.set()
        assert outcomes(await app.wait(run)) == [("book", "compensated")]
        assert world.log == ["undone"]
        await proven(app)


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
