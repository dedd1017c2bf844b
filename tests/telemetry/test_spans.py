"""Spans and metrics of whole runs, at a real OTLP receiver."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.telemetry.collector import Collector, collecting
from tests.telemetry.desk import QUICK, SECRET, Case, desk, policies, toml

from turnout import END, App, Context, Failed, Finished, Graph, Paused, approve, tool
from turnout.core import tracing
from turnout.core.messages import ModelReply, Usage
from turnout.errors import SettingsInvalid
from turnout.telemetry import conventions as c
from turnout.testing import ScriptedModel, open_test_app

REPLY = ModelReply(
    text=f"it is {SECRET}", usage=Usage(input_tokens=12, output_tokens=3), model="clerk-1", cost_micros=70
)
CAME = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def opened(
    folder: Path, collector: Collector, more: str = "", store: str = "sqlite://", graph: Graph | None = None
) -> App:
    path = toml(folder, f'[telemetry]\nendpoint = "{collector.url}/"\ninterval = 0.2\ntimeout = 2\n{more}')
    return open_test_app(
        store, graphs=[graph or desk()], models={"clerk": ScriptedModel(lambda request: REPLY)},
        retrievers={"policies": policies}, settings=QUICK, config=path,
    )  # fmt: skip


async def finished(app: App, **options: Any) -> None:
    """Run the desk until its review was decided by its due time, and the run has ended."""
    run = await app.start("desk", {"how": "due"}, **options)
    async with asyncio.timeout(10):
        while isinstance(outcome := await app.wait(run), Paused):
            await asyncio.sleep(0.02)
    assert isinstance(outcome, Finished)


async def test_a_run_is_a_trace_of_run_steps_and_effects_without_content(
    tmp_path: Path, collector: Collector
) -> None:
    async with opened(tmp_path, collector) as app:
        await finished(app, thread="case-17", tenant="acme", priority=3)
    run = collector.named("invoke_workflow desk")
    assert run.parent == ""
    assert (run.attributes[c.CONVERSATION], run.attributes[c.STATUS], run.attributes[c.PRIORITY]) == (
        "case-17",
        "finished",
        3,
    )
    assert {span.trace for span in collector.spans} == {run.trace}
    steps = {name: collector.named(f"step {name}") for name in ("research", "shaky", "settle")}
    assert {step.parent for step in steps.values()} == {run.id}
    effects = {
        "execute_tool look_up": "research", "chat clerk": "research", "retrieval policies": "research",
        "execute_tool pay": "settle", "review": "settle",
    }  # fmt: skip
    for name, step in effects.items():
        span = collector.named(name)
        assert span.parent == steps[step].id
        assert steps[step].start <= span.start <= span.end <= steps[step].end
    assert len(collector.spans) == 1 + len(steps) + len(effects), "clock and dice have none"
    assert collector.named("chat clerk").kind == 3
    model = collector.named("chat clerk").attributes
    assert (model[c.OPERATION], model[c.INPUT_TOKENS], model[c.OUTPUT_TOKENS], model[c.RESPONSE_MODEL], model[c.COST]) == (
        "chat", 12, 3, "clerk-1", 70,
    )  # fmt: skip
    assert collector.named("execute_tool pay").attributes[c.WRITE] == "landed"
    assert collector.named("review").attributes[c.REVIEW_OUTCOME] == "approve"
    assert steps["shaky"].attributes[c.FAILURES] == 1
    assert not any(span.failed for span in collector.spans)
    assert {span.attributes[c.TENANT] for span in collector.spans} == {"acme"}
    assert run.resource["service.name"] == "turnout"
    said = json.dumps(
        [[span.name, {k: str(v) for k, v in span.attributes.items()}] for span in collector.spans]
    )
    assert SECRET not in said


async def test_content_goes_along_when_it_is_asked_for(tmp_path: Path, collector: Collector) -> None:
    async with opened(tmp_path, collector, "content = true\n") as app:
        await finished(app)
    assert json.loads(collector.named("execute_tool look_up").attributes[c.TOOL_ARGUMENTS]) == {
        "order": "A-17"
    }
    assert SECRET in collector.named("execute_tool pay").attributes[c.TOOL_RESULT]
    assert json.loads(collector.named("execute_tool pay").attributes[c.TOOL_ARGUMENTS]) == {"order": "A-17"}
    [asked] = json.loads(collector.named("chat clerk").attributes[c.INPUT_MESSAGES])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": f"what of {SECRET}?"}]}
    [said] = json.loads(collector.named("chat clerk").attributes[c.OUTPUT_MESSAGES])
    assert said["parts"] == [{"type": "text", "content": f"it is {SECRET}"}]
    assert collector.named("retrieval policies").attributes[c.QUERY] == SECRET


async def test_a_failed_run_says_which_error_and_not_its_words(tmp_path: Path, collector: Collector) -> None:
    async with opened(tmp_path, collector) as app:
        assert isinstance(await app.run("desk", {"how": "fail"}), Failed)
    for name in ("invoke_workflow desk", "step shaky"):
        span = collector.named(name)
        assert span.failed
        assert span.attributes[c.ERROR] == "RuntimeError"
    assert collector.named("step shaky").attributes[c.FAILURES] == 2


async def test_the_trace_of_the_caller_is_continued_also_in_children(
    tmp_path: Path, collector: Collector
) -> None:
    parent = Graph("parent", state=Case)

    @parent.node
    async def above(state: Any, ctx: Context) -> dict[str, Any]:
        await ctx.run("below", {})
        return {}

    below = Graph("below", state=Case)

    @below.node
    async def work(state: Any, ctx: Context) -> dict[str, Any]:
        return {}

    for graph, node in ((parent, above), (below, work)):
        graph.start(node)
        graph.edge(node, END)
    path = toml(tmp_path, f'[telemetry]\nendpoint = "{collector.url}"\n')
    async with open_test_app(graphs=[parent, below], settings=QUICK, config=path) as app:
        assert isinstance(await app.run("parent", {}, thread="t", traceparent=CAME), Finished)
        [first, *_] = await app.entries("t")
        assert first.body.traceparent == CAME  # type: ignore[attr-defined]
        assert (await app.replay("t")).identical
    trace, span = CAME.split("-")[1:3]
    assert {found.trace for found in collector.spans} == {trace}
    assert collector.named("invoke_workflow parent").parent == span
    assert collector.named("step above").parent == collector.named("invoke_workflow parent").id
    assert collector.named("invoke_workflow below").parent == collector.named("step above").id
    assert collector.named("child below").parent == collector.named("step above").id


async def test_a_trace_that_is_not_recorded_gives_no_spans(tmp_path: Path, collector: Collector) -> None:
    async with opened(tmp_path, collector) as app:
        await finished(app, traceparent=CAME[:-1] + "0")
        await finished(app, thread="seen", traceparent=CAME)
    assert {span.attributes[c.THREAD] for span in collector.spans} == {"seen"}


@pytest.mark.parametrize(
    "header", ["", "nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", CAME.upper(), "ff" + CAME[2:]]
)
async def test_a_trace_that_does_not_hold_is_as_none(header: str) -> None:
    async with open_test_app(graphs=[desk()], settings=QUICK, work=False) as app:
        await app.start("desk", {}, thread="t", traceparent=header)
        [entry] = await app.entries("t")
        assert entry.body.traceparent == ""  # type: ignore[attr-defined]
        assert b"traceparent" not in entry.stored


async def test_a_run_that_another_process_goes_on_with_is_one_trace(
    tmp_path: Path, collector: Collector
) -> None:
    store = f"sqlite:///{tmp_path / 's.db'}"
    async with opened(tmp_path, collector, store=store) as app:
        assert isinstance(await app.run("desk", {"how": "ask"}, thread="t"), Paused)
        [review] = await app.reviews()
        seen = app.worker.observers[0]._tracker._threads  # type: ignore[union-attr, attr-defined]
        async with asyncio.timeout(5):
            while seen:
                await asyncio.sleep(0.01)  # nothing is kept of a thread that rests
    async with opened(tmp_path, collector, store=store) as app:
        await app.resolve(review, approve(by="dana"))
        assert isinstance(await app.wait("t/1", timeout=10), Finished)
    run, settle = collector.named("invoke_workflow desk"), collector.named("step settle")
    assert {span.trace for span in collector.spans} == {run.trace}
    assert settle.parent == run.id
    assert c.PARTIAL not in settle.attributes
    assert settle.start < collector.named("execute_tool pay").end < settle.end
    assert run.start < collector.named("step research").start


async def test_metrics_arrive_with_their_names_and_amounts(tmp_path: Path, collector: Collector) -> None:
    async with opened(tmp_path, collector) as app:
        await finished(app)
        await finished(app)
    [(labels, runs)] = collector.metrics[c.RUNS]
    assert (labels, runs.as_int) == ({c.GRAPH: "desk", c.STATUS: "finished"}, 2)
    steps = {found[c.NODE]: point.as_int for found, point in collector.metrics[c.STEPS]}
    assert steps == {"research": 2, "shaky": 2, "settle": 2}
    tokens = {found[c.TOKEN_TYPE]: point.sum for found, point in collector.metrics[c.TOKENS_USED]}
    assert tokens == {"input": 24, "output": 6}
    assert collector.metrics[c.COSTS][0][1].as_int == 140
    assert {point.count for _, point in collector.metrics[c.STEP_DURATION]} == {2}
    assert collector.metrics[c.DROPPED][0][1].as_int == 0


async def _timed(app: App, count: int) -> float:
    begun = time.perf_counter()
    outcomes = await asyncio.gather(*(app.run("quick", {}) for _ in range(count)))
    assert all(isinstance(outcome, Finished) for outcome in outcomes)
    return time.perf_counter() - begun


def quick() -> Graph:
    graph = Graph("quick", state=Case)

    @graph.node
    async def one(state: Any, ctx: Context) -> dict[str, Any]:
        return {"log": ["x"]}

    graph.start(one)
    graph.edge(one, END)
    return graph


@pytest.mark.parametrize("trouble", ["slow", "refusing", "gone"])
async def test_a_receiver_in_trouble_slows_no_run_and_what_is_lost_is_counted(
    tmp_path: Path, collector: Collector, trouble: str
) -> None:
    if trouble == "slow":
        collector.delay = 5.0
    elif trouble == "refusing":
        collector.status = 503
    else:
        collector.port = 1
    async with open_test_app(graphs=[quick()], settings=QUICK, config="") as app:
        usual = await _timed(app, 200)
    begun = time.perf_counter()
    async with opened(tmp_path, collector, "queue = 50\n", graph=quick()) as app:
        with_trouble = await _timed(app, 200)
        exporter = app.worker.observers[0]  # type: ignore[union-attr]
        async with asyncio.timeout(10):
            while not (exporter.failed or trouble == "slow"):  # type: ignore[attr-defined]
                await asyncio.sleep(0.05)
        for _ in range(3):
            await _timed(app, 100)
        assert exporter.dropped > 0  # type: ignore[attr-defined]
    assert with_trouble < 5 * usual + 1
    assert time.perf_counter() - begun < 30, "closing waits a few seconds for the receiver, and no longer"
    async with asyncio.timeout(15):  # what was on its way then may take its time limit
        while any("telemetry" in t.name or "MetricReader" in t.name for t in threading.enumerate()):
            await asyncio.sleep(0.05)


async def test_headers_come_from_the_environment(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsInvalid, match="OTLP_HEADERS is not set"):
        opened(tmp_path, collector, 'headers_env = "OTLP_HEADERS"\n')
    monkeypatch.setenv("OTLP_HEADERS", "nonsense")
    with pytest.raises(SettingsInvalid, match="name=value"):
        opened(tmp_path, collector, 'headers_env = "OTLP_HEADERS"\n')
    monkeypatch.setenv("OTLP_HEADERS", "X-Team = turnout,authorization=Bearer abc")
    async with opened(tmp_path, collector, 'headers_env = "OTLP_HEADERS"\nservice = "desk"\n') as app:
        await finished(app)
    headers = {name.lower(): value for name, value in collector.headers[0].items()}
    assert (headers["x-team"], headers["authorization"]) == ("turnout", "Bearer abc")
    assert collector.spans[0].resource["service.name"] == "desk"


async def test_the_standard_environment_counts_where_the_file_says_nothing(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "by-environment")
    path = toml(tmp_path, "[telemetry]\n")
    async with open_test_app(graphs=[quick()], settings=QUICK, config=path) as app:
        await app.run("quick", {})
    assert collector.named("invoke_workflow quick").resource["service.name"] == "by-environment"


def test_the_ids_of_a_trace_follow_from_the_record() -> None:
    first = tracing.of_run("", "t", 1, 5)
    assert first == tracing.of_run("", "t", 1, 5)
    assert first != tracing.of_run("", "t", 1, 6)
    assert tracing.parse(first.header) == first
    assert tracing.below(first, "a").trace == first.trace
    assert len({first.span, tracing.below(first, "a").span, tracing.below(first, "b").span}) == 3
    assert tracing.parse(CAME + "-more") is None
    assert tracing.parse("01" + CAME[2:] + "-more") is not None, "a later version may say more"


async def test_a_compensation_is_a_step_of_its_own_and_verdicts_are_counted(
    tmp_path: Path, collector: Collector
) -> None:
    @tool(effect="write")
    async def cancel_train(place: str, idempotency_key: str) -> str:
        return "cancelled"

    @tool(effect="write", compensate=cancel_train)
    async def book_train(place: str, idempotency_key: str) -> str:
        return "booked"

    trip = Graph("trip", state=Case, tools=[book_train], together=True)

    @trip.node
    async def book(state: Any, ctx: Context) -> dict[str, Any]:
        await ctx.call(book_train, place="Rome")
        raise RuntimeError("sold out")

    trip.start(book)
    trip.edge(book, END)
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "all.cedar").write_text('@id("all") permit(principal, action, resource);')
    async with opened(tmp_path, collector, graph=trip) as app:
        assert isinstance(await app.run("trip", {}, thread="t"), Failed)
        assert "compensation.ended" in [entry.kind for entry in await app.entries("t")]
    run = collector.named("invoke_workflow trip")
    undoing = next(span for span in collector.spans if span.attributes.get(c.OUTCOME) == "compensated")
    assert undoing.parent == run.id
    assert c.PARTIAL not in undoing.attributes
    known = {span.id for span in collector.spans}
    assert [span for span in collector.spans if span.parent and span.parent not in known] == []
    verdicts = {
        found[c.NAME]: (found[c.VERDICT], point.as_int) for found, point in collector.metrics[c.VERDICTS]
    }
    assert verdicts["book_train"] == ("allow", 1)
