"""decide: what comes next is a pure function of graph, view and time."""

from typing import Any

import msgspec
import pytest
from tests.unit.runs import Work, chain

from turnout import END, Graph, parallel
from turnout.core import canon
from turnout.core import entries as e
from turnout.core.amounts import Amount, Spent
from turnout.core.decide import RUNNING, Advance, Fail, Finish, Memory, Park, Resume, Start, decide
from turnout.core.fold import apply
from turnout.core.view import ThreadView, clone
from turnout.errors import JournalDamaged

NOW = 1_000_000


async def a(state: Any, ctx: Any) -> None: ...


async def b(state: Any, ctx: Any) -> None: ...


def put(view: ThreadView, body: e.Body, *, run: int = 1, step: str = "", at: int = NOW) -> ThreadView:
    """`view` after an entry with this body."""
    seq = view.seq + 1
    return apply(
        view, e.Entry(view.thread, seq, body.kind, run, step, at, 1, b"", bytes([seq % 256]) * 32, body)
    )


def said(graph: Graph, view: ThreadView, now: int = NOW, held: dict[str, int] | None = None) -> Any:
    """What decide says; it must leave the view alone and say the same twice."""
    before = canon.encode(view)
    first = decide(graph, view, now, held or {}, Memory())
    again = decide(graph, clone(view), now, held or {}, Memory())
    assert canon.encode(view) == before
    assert type(first) is type(again)
    drafts = [canon.encode(d.body) for d in getattr(first, "drafts", [])]
    assert drafts == [canon.encode(d.body) for d in getattr(again, "drafts", [])]
    return first


def run_on(graph: Graph, view: ThreadView, now: int = NOW) -> Any:
    """Take what is decided until steps are to be run or nothing is left."""
    while isinstance(plan := said(graph, view, now), Start | Advance | Finish | Fail):
        for draft in plan.drafts:
            put(view, draft.body, run=draft.run, step=draft.step, at=now)
    return plan


def begun(graph: Graph, **given: Any) -> ThreadView:
    view = ThreadView(thread="t")
    put(view, e.InputReceived(graph="g", input=given))
    run_on(graph, view)
    return view


def test_an_empty_thread_parks_for_good() -> None:
    assert said(chain(a), ThreadView(thread="t")) == Park(None)


def test_an_input_becomes_a_run_and_its_first_step() -> None:
    graph = chain(a, b)
    view = ThreadView(thread="t")
    put(view, e.InputReceived(graph="g", input={"n": 3}))
    plan = run_on(graph, view)
    assert isinstance(plan, Resume)
    assert [step.id for step in plan.steps] == ["a.1"]
    assert view.state == {"n": 3, "log": [], "data": None}


def test_a_delayed_input_parks_the_thread_until_its_time_and_lets_others_pass() -> None:
    graph = chain(a)
    view = ThreadView(thread="t")
    put(view, e.InputReceived(graph="g", input={"n": 1}, at=NOW + 50, priority=9))
    put(view, e.InputReceived(graph="g", input={"n": 2}, at=NOW + 20, priority=5), run=2)
    assert said(graph, view) == Park(NOW + 20)
    assert (view.status, view.priority) == ("waiting", 5)
    [started] = said(graph, view, NOW + 20).drafts
    assert (started.run, started.body.delta["set"]["n"]) == (2, 2)
    put(view, e.InputReceived(graph="g", input={"n": 3}), run=3)
    assert (view.status, view.priority) == ("running", 0)
    assert [draft.run for draft in said(graph, view).drafts] == [3]
    assert [draft.run for draft in said(graph, view, NOW + 50).drafts] == [
        1
    ]  # of those that are due, the first sent


def test_a_delayed_input_that_is_cancelled_ends_at_once() -> None:
    view = ThreadView(thread="t")
    put(view, e.InputReceived(graph="g", input={}, at=NOW + 50))
    put(view, e.CancelRequested(by="dana"))
    assert view.status == "running"
    [ended] = said(chain(a), view).drafts
    assert isinstance(ended.body, e.RunCancelled)
    put(view, ended.body)
    assert said(chain(a), view) == Park(None)


def test_a_finished_step_leads_on_and_the_last_one_to_the_end() -> None:
    graph = chain(a, b)
    view = begun(graph)
    put(view, e.StepFinished(), step="a.1")
    assert [step.id for step in run_on(graph, view).steps] == ["b.1"]
    put(view, e.StepFinished(delta={"add": {"n": 2}}), step="b.1")
    assert run_on(graph, view) == Park(None)
    assert (view.run, view.last.status if view.last else None, view.state["n"]) == (None, "finished", 2)


def test_an_input_that_does_not_fit_fails_its_run_and_leaves_the_next() -> None:
    graph = chain(a)
    view = ThreadView(thread="t")
    put(view, e.InputReceived(graph="g", input={"nn": 3}))
    put(view, e.InputReceived(graph="g", input={"n": 3}), run=2)
    assert isinstance(run_on(graph, view), Resume)
    assert view.last is not None
    assert (view.last.status, view.run.number if view.run else 0) == ("failed", 2)


def test_a_step_that_runs_is_not_run_again_and_one_that_rests_only_when_something_came() -> None:
    graph = chain(a)
    view = begun(graph)
    assert said(graph, view, held={"a.1": RUNNING}) == Park(None)
    put(view, e.SignalAwaited(name="s", key="k"), step="a.1")
    assert said(graph, view, held={"a.1": 0}) == Park(None)
    put(view, e.SignalReceived(name="s", payload=1))
    assert isinstance(said(graph, view, held={"a.1": 0}), Resume)


def test_a_timer_fires_at_its_time_and_not_before() -> None:
    graph = chain(a)
    view = begun(graph)
    put(view, e.TimerSet(key="k", due_at=NOW + 50), step="a.1")
    assert said(graph, view, NOW + 49, {"a.1": 0}) == Park(NOW + 50)
    plan = said(graph, view, NOW + 50, {"a.1": 0})
    assert [d.body.kind for d in plan.drafts] == ["timer.fired"]


def test_a_retry_waits_for_its_time() -> None:
    graph = chain(a)
    view = begun(graph)
    put(view, e.StepFailed(error=e.ErrorInfo("E", "x"), retry_at=NOW + 9), step="a.1")
    assert said(graph, view, NOW + 8) == Park(NOW + 9)
    plan = said(graph, view, NOW + 9)
    assert [(step.id, step.attempt) for step in plan.steps] == [("a.1", 2)]


def test_what_is_due_already_does_not_call_again_while_its_step_runs() -> None:
    graph = chain(a)
    view = begun(graph)
    put(view, e.StepFailed(error=e.ErrorInfo("E", "x"), retry_at=NOW + 9), step="a.1")
    assert said(graph, view, NOW + 9, {"a.1": RUNNING}) == Park(None)
    put(view, e.EffectIntended(effect="tool", name="t", key="k"), step="a.1")
    put(view, e.EffectSettled(key="k", outcome="unknown", retry_at=NOW + 20), step="a.1")
    assert said(graph, view, NOW + 19, {"a.1": RUNNING}) == Park(NOW + 20)
    assert said(graph, view, NOW + 20, {"a.1": RUNNING}) == Park(None)


def test_a_run_past_its_time_stops_its_steps_and_then_fails() -> None:
    graph = Graph("g", state=Work, time_limit=2)
    graph.node(a)
    graph.start(a)
    graph.edge(a, END)
    view = begun(graph)
    assert said(graph, view, NOW + 1_999_999, {"a.1": RUNNING}) == Park(NOW + 2_000_000)
    plan = said(graph, view, NOW + 2_000_000)
    assert [d.body.kind for d in plan.drafts] == ["run.failing"]
    put(view, plan.drafts[0].body)
    ending = said(graph, view)
    assert isinstance(ending, Resume)
    assert ending.ending
    put(view, e.StepCancelled(), step="a.1")
    last = said(graph, view)
    assert isinstance(last, Fail)
    assert last.drafts[0].body.error.type == "RunTimeout"  # type: ignore[attr-defined]


def test_a_cancel_is_heard_even_by_a_run_that_has_diverged() -> None:
    graph = chain(a)
    view = begun(graph)
    put(view, e.RunDiverged(divergence=e.Divergence("w", "x", "y"), fingerprint="f"))
    assert said(graph, view) == Park(None)
    put(view, e.CancelRequested(by="dana"))
    plan = said(graph, view)
    assert isinstance(plan, Resume)
    assert plan.ending


def test_branches_join_only_when_all_have_arrived() -> None:
    async def join(state: Any, ctx: Any) -> None: ...

    async def begin(state: Any, ctx: Any) -> None: ...

    graph = Graph("g", state=Work)
    for node in (begin, a, b, join):
        graph.node(node)
    graph.start(begin)
    graph.edge(begin, parallel(a, b, join=join))
    graph.edge(a, join)
    graph.edge(b, join)
    graph.edge(join, END)
    view = begun(graph)
    put(view, e.StepFinished(), step="begin.1")
    assert [s.id for s in run_on(graph, view).steps] == ["a.1@1.0", "b.1@1.1"]
    put(view, e.StepFinished(delta={"extend": {"log": ["b"]}}), step="b.1@1.1")
    assert [s.id for s in run_on(graph, view).steps] == ["a.1@1.0"]
    put(view, e.StepFinished(delta={"extend": {"log": ["a"]}}), step="a.1@1.0")
    assert [s.id for s in run_on(graph, view).steps] == ["join.1"]
    assert view.state["log"] == ["a", "b"]
    assert view.run is not None
    assert list(view.run.branches) == [""]


# --- the fold refuses what cannot be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "step"),
    [
        (e.StepFinished(), "nobody.1"),
        (e.EffectRecorded(effect="tool", name="t", key="k"), "nobody.1"),
        (e.EffectSettled(key="k", outcome="landed"), "a.1"),
        (e.EffectSettled(key="k", outcome="maybe"), "a.1"),
        (e.TimerFired(key="k"), "a.1"),
        (e.ReviewDecided(review="rev-0", decision="approve", by="x"), ""),
        (e.BranchesJoined(branch="9.9"), ""),
        (e.RunStarted(graph="g", fingerprint="f", delta={}), ""),
        (e.Decision(graph="g", target="a", rule="r", branch="7.0"), ""),
    ],
)
def test_an_entry_that_cannot_follow_is_damage_and_says_where(body: e.Body, step: str) -> None:
    view = begun(chain(a))
    with pytest.raises(JournalDamaged, match=rf"thread t: entry {view.seq + 1} \({body.kind}\)"):
        put(view, body, step=step)


@pytest.mark.parametrize(
    "body",
    [
        e.EffectRecorded(effect="tool", name="t", key="k"),
        e.EffectIntended(effect="tool", name="t", key="k"),
        e.BudgetReserved(effect="tool", name="t", key="k", amount=Amount(calls=1)),
        e.BudgetSettled(spent=Spent(Amount(calls=1))),
    ],
)
def test_an_effect_of_another_run_than_the_active_one_is_damage(body: e.Body) -> None:
    view = begun(chain(a))
    with pytest.raises(JournalDamaged, match="run 2 is not active"):
        put(view, body, step="a.1", run=2)


def test_a_gap_or_a_repeat_in_the_numbering_is_damage() -> None:
    view = begun(chain(a))
    for seq in (view.seq, view.seq + 2):
        with pytest.raises(JournalDamaged, match="follows entry"):
            apply(
                view, e.Entry("t", seq, "step.finished", 1, "a.1", NOW, 1, b"", bytes(32), e.StepFinished())
            )


def test_every_kind_of_entry_is_a_fact_but_those_that_follow_from_the_view_alone() -> None:
    """A fact is put behind what came in meanwhile, whatever it is: a call was made, or something was asked."""
    assert {kind for kind, body in e.BODIES.items() if body.decided} == {
        "run.started", "decision", "branches.joined", "timer.fired", "review.lapsed", "run.failing", "run.finished",
        "run.failed", "run.cancelled", "compensation.started",
    }  # fmt: skip


def test_every_kind_of_entry_survives_its_own_bytes() -> None:
    from turnout.core.fold import _HANDLERS

    assert set(_HANDLERS) == set(e.BODIES)
    for kind, body in e.BODIES.items():
        with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
            e.decode_body(kind, b'{"nonsense"')
        assert body.kind == kind
