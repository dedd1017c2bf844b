"""Forks and cancellations from the pages."""

from __future__ import annotations

from tests.console.conftest import Page, Served

from turnout import Cancelled, Finished


async def test_a_fork_goes_on_from_an_entry_with_the_state_that_was_typed(desk: Served) -> None:
    await desk.paused("r")
    report = await desk.app.explain("r")
    at = next(d.seq for d in report.decisions if d.after.startswith("look_up"))
    async with desk.visitor() as visitor:
        page = await visitor.get(f"/threads/r?show=fork&at={at - 1}")
        form = {
            attrs["name"]: attrs.get("value") or ""
            for tag, attrs in page.elements
            if tag == "input" and (attrs.get("name") or "").startswith("value.")
        }
        assert form["value.amount"] == "900"
        form |= {
            "do": "fork",
            "at": str(at - 1),
            "by": "dana",
            "name": "r-small",
            "value.amount": "40",
            "value.tone": "kind",
        }
        form.pop("value.checked")
        wrong = await visitor.post("/threads/r", form | {"value.amount": "many"})
        assert wrong.status_code == 422
        assert Page(wrong.text).named("value.amount")[0]["value"] == "many"
        impossible = await visitor.post("/threads/r", form | {"name": "two words"})
        assert impossible.status_code == 422
        assert "can't be a thread's name" in Page(impossible.text).said()
        answer = await visitor.post("/threads/r", form)
        assert answer.headers["location"] == "/threads/r-small"
        said = (await visitor.get("/threads/r-small")).said()
        assert f"Forked from r at entry {at - 1}, with amount, tone changed." in said
    outcome = await desk.app.wait("r-small/1", timeout=20)
    assert isinstance(outcome, Finished)
    assert outcome.state.model_dump() == {
        "order": "A-900", "amount": 40, "limit": None, "tone": "kind", "notes": [], "checked": False,
        "receipt": "receipt 40 for A-900",
    }  # fmt: skip


async def test_a_fork_after_the_end_of_a_run_is_told_to_wait_for_its_next_input(desk: Served) -> None:
    await desk.app.start("refunds", {"order": "B-20"}, thread="r")
    await desk.rest("r")
    head = len(await desk.app.entries("r"))
    async with desk.visitor() as visitor:
        said = (await visitor.get("/threads/r?show=fork")).said()
        assert "nothing goes on" in said
        assert "goes on by itself" not in said
        said = (await visitor.get(f"/threads/r?show=fork&at={head - 1}")).said()
        assert "goes on by itself" in said
        form = {"do": "fork", "at": str(head), "by": "dana", "name": "s two"}
        answer = await visitor.post("/threads/r", form, seen="/threads/r?show=fork")
        said = Page(answer.text).said()
        assert "can't be a thread's name" in said
        assert "nothing goes on" in said


async def test_a_run_is_cancelled_with_a_name_and_a_reason(desk: Served) -> None:
    await desk.paused("r")
    async with desk.visitor() as visitor:
        answer = await visitor.post("/threads/r", {"do": "cancel", "by": "dana", "reason": "asked twice"})
        assert answer.status_code == 303
        outcome = await desk.app.wait("r/1", timeout=20)
        assert isinstance(outcome, Cancelled)
        assert (outcome.by, outcome.reason) == ("dana", "asked twice")
        assert "cancelled by dana: asked twice" in (await visitor.get("/threads/r")).said()
        late = await visitor.post("/threads/r", {"do": "cancel", "by": "dana"}, seen="/workers")
        assert late.status_code == 404
        assert "nothing to cancel" in Page(late.text).said()
