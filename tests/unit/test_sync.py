"""open_sync: the same app, blocking, on a loop of its own."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from turnout import END, Context, Finished, Graph, Paused, approve, open_sync
from turnout.errors import StoreUnavailable, UnknownThread, UsageError
from turnout.service.app import App
from turnout.sync import SyncApp


class Desk(BaseModel):
    order: str
    approved: bool = False


desk = Graph("desk", state=Desk)


@desk.node
async def ask(state: Desk, ctx: Context) -> dict[str, Any]:
    decision = await ctx.review("Go ahead?", payload={"order": state.order})
    return {"approved": decision.approved}


desk.start(ask)
desk.edge(ask, END)


def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 't.db'}"


def test_a_script_runs_pauses_decides_explains_and_replays_without_await(tmp_path: Path) -> None:
    with open_sync(url(tmp_path), graphs=[desk]) as app:
        outcome = app.run("desk", {"order": "A-17"}, thread="case")
        assert isinstance(outcome, Paused)
        app.resolve(outcome.reviews[0], approve(by="dana"))
        ended = app.wait("case/1", timeout=10)
        assert isinstance(ended, Finished)
        assert ended.state == Desk(order="A-17", approved=True)
        assert [row.thread for row in app.threads()] == ["case"]
        assert app.explain("case").reviews[0].opinions[0].by == "dana"
        assert app.replay("case").identical
        assert app.verify(against=app.head()).ok
        assert app.whatif("case").same
        assert app.state("case", at=2) == {"order": "A-17", "approved": False}


def test_every_public_call_of_the_app_has_a_blocking_one_of_the_same_arguments() -> None:
    import inspect

    skipped = {"graph", "within"}  # not questions to the store
    for name, method in inspect.getmembers(App, inspect.isfunction):
        if name.startswith("_") or name in skipped:
            continue
        mine = inspect.signature(getattr(SyncApp, name))
        if name == "run":  # has the options of `start`, spelled out
            method = App.start
        assert list(mine.parameters) == list(inspect.signature(method).parameters), name


def test_it_works_in_a_thread_that_has_an_event_loop_of_its_own(tmp_path: Path) -> None:
    async def notebook() -> None:
        with open_sync(url(tmp_path), graphs=[desk]) as app:
            assert isinstance(app.run("desk", {"order": "A-17"}), Paused)

    asyncio.run(notebook())


def test_many_threads_may_call_at_once(tmp_path: Path) -> None:
    with open_sync(url(tmp_path), graphs=[desk]) as app:
        outcomes: list[object] = []
        callers = [
            threading.Thread(target=lambda n=n: outcomes.append(app.run("desk", {"order": f"A-{n}"})))
            for n in range(8)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert len(outcomes) == 8
        assert all(isinstance(outcome, Paused) for outcome in outcomes)


def test_errors_are_those_of_the_app_and_leave_no_thread_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(StoreUnavailable, match="there is no store"):
        open_sync(url(tmp_path), create=False)
    with open_sync(url(tmp_path), graphs=[desk]) as app, pytest.raises(UnknownThread, match="nobody"):
        app.explain("nobody")
    app.close()
    with pytest.raises(UsageError, match="closed"):
        app.threads()
    assert threading.active_count() == before


def test_a_node_that_waits_for_its_own_app_is_refused_instead_of_hanging(tmp_path: Path) -> None:
    apps: list[SyncApp] = []
    waits = Graph("waits", state=Desk)

    @waits.node
    async def wait(state: Desk, ctx: Context) -> dict[str, Any]:
        apps[0].threads()
        return {}

    waits.start(wait)
    waits.edge(wait, END)
    with open_sync(url(tmp_path), graphs=[waits]) as app:
        apps.append(app)
        outcome = app.run("waits", {"order": "A-17"})
        assert "can't wait for its own app" in outcome.error.message  # type: ignore[union-attr]


def test_a_stream_gives_entries_as_they_become_durable(tmp_path: Path) -> None:
    with open_sync(url(tmp_path), graphs=[desk]) as app:
        events = app.stream("case")
        seen: list[str] = []

        def listen() -> None:
            for event in events:
                seen.append(event.kind)
                if event.kind == "review.requested":
                    return

        listener = threading.Thread(target=listen)
        listener.start()
        while listener.is_alive():  # until one is run after the listener has begun to listen
            app.run("desk", {"order": "A-17"}, thread="case", if_active="replace")
            listener.join(0.05)
        assert "run.started" in seen
