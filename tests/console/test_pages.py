"""What the pages say, and that what they show is text and nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.console.conftest import Page, Served, serving
from tests.console.desk import HOSTILE

from turnout import approve, reject

EVIL = "t<script>alert(3)</script>/..%2f\"'&"
"""A thread's name: it has no blanks, and everything else."""


async def filled(desk: Served) -> list[str]:
    """An address of every page, over a desk with all kinds of threads."""
    app = desk.app
    review = await desk.paused("refund-1")
    await app.start("refunds", {"order": "B-20"}, thread="refund-2", by=HOSTILE)
    await app.start("rounds", {}, thread="rounds-1")
    await app.start("rounds", {"fails": True}, thread="rounds-2")
    await app.start("signs", {"text": HOSTILE, "people": 2}, thread=EVIL, by=HOSTILE)
    await desk.rest("refund-2", "rounds-1", "rounds-2")
    await app.wait(f"{EVIL}/1", timeout=20)
    await app.set_aside("rounds-1", HOSTILE, by="ops")
    [sign] = await app.reviews(thread=EVIL)
    evil = "t%3Cscript%3Ealert(3)%3C%2Fscript%3E%2F..%252f%22'%26"
    return [
        "/threads", "/threads?status=waiting&graph=signs&search=t", f"/threads?search={evil}", "/threads?search=none",
        "/threads?aside=1", "/threads/refund-1", "/threads/refund-1?at=5", "/threads/refund-2?show=replay",
        "/threads/refund-2?show=whatif", "/threads/refund-2?show=fork&at=4", "/threads/rounds-1", "/threads/rounds-2",
        f"/threads/{evil}", f"/threads/{evil}?at=1", "/reviews", "/reviews?status=decided", "/reviews?role=finance",
        f"/reviews/{review.id}", f"/reviews/{sign.id}", "/graphs", "/graphs/refunds", "/graphs/rounds", "/graphs/signs",
        "/costs", "/costs?graph=refunds&days=7", "/policies", "/tools", "/workers",
    ]  # fmt: skip


async def test_no_page_has_a_script_a_style_or_a_handler_of_its_own_whatever_it_shows(desk: Served) -> None:
    async with desk.visitor() as visitor:
        seen = 0
        for path in await filled(desk):
            page = await visitor.get(path)
            seen += HOSTILE in page.text or EVIL in page.text
            for tag, attrs in page.elements:
                assert tag not in ("style", "img", "iframe", "object", "base"), (path, tag)
                assert not [name for name in attrs if name.startswith("on") or name == "style"], (
                    path,
                    tag,
                    attrs,
                )
                if tag == "script":
                    assert (attrs["src"] or "").startswith("/static/"), (path, attrs)
                for name in ("href", "src", "action"):
                    value = attrs.get(name)
                    assert value is None or (value[0] in "/?#" and not value.startswith("//")), (
                        path,
                        tag,
                        value,
                    )
    assert seen >= 10


async def test_every_answer_is_sealed_also_errors_and_files(desk: Served) -> None:
    async with desk.visitor() as visitor:
        for path in [
            *await filled(desk),
            "/nothing",
            "/threads/nobody",
            "/static/console.css",
            "/static/nothing.js",
            "/sign-in",
        ]:
            headers = (await visitor.client.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")


async def test_the_four_questions_are_answered_on_one_page(desk: Served) -> None:
    await desk.app.start("refunds", {"order": "B-20"}, thread="r")
    await desk.rest("r")
    async with desk.visitor() as visitor:
        said = (await visitor.get("/threads/r?show=replay")).said()
        assert "What state was it in?" in said
        assert "receipt 20 for B-20" in said  # the state
        assert "tool · write send_refund" in said  # the calls
        assert "look_up.1 → pay small refund" in said  # the branch, and the rule
        assert "Identical. All" in said  # the replay
        report = await desk.app.explain("r")
        decision = next(d for d in report.decisions if d.rule == "small refund")
        said = (await visitor.get(f"/threads/r?at={decision.seq}")).said()
        assert "because amount <= 50" in said
        assert "Values it read amount 20" in said
        assert "nothing to refund → END" in said
        [read, write] = report.calls
        said = (await visitor.get(f"/threads/r?at={read.seq}")).said()
        assert "Arguments order B-20" in said
        assert "Result 20" in said
        said = (await visitor.get(f"/threads/r?at={write.settled[0].seq}")).said()
        assert "says the tool's answer" in said
        assert write.idempotency_key in said


async def test_a_model_call_shows_its_tokens_and_its_cost(desk: Served) -> None:
    await desk.paused("r")
    async with desk.visitor() as visitor:
        said = (await visitor.get("/threads/r")).said()
        assert "2 calls, 1 of a model, 366 tokens, cost 0.001234" in said
        assert "321 in, 45 out" in said


async def test_what_happened_before_a_review_is_what_was_before_the_request(desk: Served) -> None:
    first = await desk.paused("r")
    await desk.app.resolve(first.id, reject(by="dana", roles=["finance"]))
    await desk.rest("r")
    await desk.app.start("refunds", {"order": "B-700"}, thread="r")
    await desk.app.wait("r/2", timeout=20)
    [second] = await desk.app.reviews(thread="r")
    await desk.app.resolve(second.id, approve(by="dana", roles=["finance"]))
    await desk.app.wait("r/2", timeout=20)
    async with desk.visitor() as visitor:
        pages = [(await visitor.get(f"/reviews/{review.id}")).said() for review in (first, second)]
    one, two = (said[said.index("What happened before") :] for said in pages)
    assert "2 calls before it, 1 of a model, 366 tokens; cost 0.001234" in one
    assert "4 calls before it, 2 of a model, 732 tokens; cost 0.002468" in two
    assert [one.count("look_up "), two.count("look_up "), one.count("pay "), two.count("pay ")] == [
        1,
        2,
        0,
        0,
    ]
    assert "Asked before" not in one
    assert "Asked before: Refund 900 for A-900? rejected" in two


async def test_what_a_failed_run_died_of_is_told(desk: Served) -> None:
    await desk.app.start("rounds", {"fails": True}, thread="r")
    await desk.rest("r")
    async with desk.visitor() as visitor:
        page = await visitor.get("/threads/r")
        assert f"RuntimeError {HOSTILE}" in page.said()
        assert any("box failed" in (attrs.get("class") or "") for _, attrs in page.elements)


async def test_threads_are_found_by_name_graph_and_status_and_the_address_keeps_it(desk: Served) -> None:
    await desk.paused("case-1")
    await desk.app.start("refunds", {"order": "B-2"}, thread="case-2")
    await desk.app.start("rounds", {}, thread="case-3")
    await desk.rest("case-2", "case-3")

    def names(page: Page) -> list[str]:
        links = [attrs["href"] or "" for _, attrs in page.elements if attrs.get("class") == "row-link"]
        return [link.rpartition("/")[2] for link in links]

    async with desk.visitor() as visitor:
        assert names(await visitor.get("/threads")) == ["case-3", "case-2", "case-1"]
        assert names(await visitor.get("/threads?graph=refunds")) == ["case-2", "case-1"]
        assert names(await visitor.get("/threads?graph=refunds&status=finished")) == ["case-2"]
        assert names(await visitor.get("/threads?search=se-3")) == ["case-3"]
        page = await visitor.get("/threads?graph=refunds&search=case")
        links = [attrs.get("href") or "" for _, attrs in page.elements]
        assert "/threads?graph=refunds&search=case&status=waiting" in links  # a tab keeps the other filters
        for path, said in (
            ("/threads?search=se-3", "all 1running 0waiting 0finished 1"),
            ("/threads?search=se-3&graph=refunds", "all 0running 0"),
            ("/threads?tenant=acme", "all 0running 0"),
            ("/threads?search=case", "all 3running 0waiting 1finished 2"),
        ):
            assert said in (await visitor.get(path)).said(), path


async def test_pages_of_threads_go_on_where_the_one_before_ended(
    desk: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.console.threads.PAGE", 2)
    for n in range(5):
        await desk.app.start("rounds", {}, thread=f"r.{n}")  # names may have points in them
    await desk.rest(*(f"r.{n}" for n in range(5)))
    found, path = [], "/threads?graph=rounds"
    async with desk.visitor() as visitor:
        while path:
            page = await visitor.get(path)
            found += [attrs["href"] for _, attrs in page.elements if attrs.get("class") == "row-link"]
            path = next((attrs["href"] or "" for _, attrs in page.elements if attrs.get("rel") == "next"), "")
            assert not path or "graph=rounds" in path
    assert found == [f"/threads/r.{n}" for n in (4, 3, 2, 1, 0)]


async def test_a_replay_and_a_what_if_keep_the_entry_that_is_selected(desk: Served) -> None:
    await desk.paused("r")
    async with desk.visitor() as visitor:
        page = await visitor.get("/threads/r?at=3")
        assert [attrs["value"] for attrs in page.named("at")] == ["3", "3", "3"]  # replay, what if, fork
        for show in ("replay", "whatif"):
            said = (await visitor.get(f"/threads/r?show={show}&at=3")).said()
            assert "After entry 3 of" in said
            assert "Fork at entry 3" in said
        last = (await visitor.get("/threads/r")).named("at")
        assert len(last) == 1  # that of the fork: nothing is selected, and the page follows the thread


async def test_an_address_that_makes_no_sense_is_a_page_that_says_so(desk: Served) -> None:
    await desk.paused("r")
    async with desk.visitor() as visitor:
        assert "no thread" in (await visitor.get("/threads/nobody", 404)).said()
        assert "no entry 99" in (await visitor.get("/threads/r?at=99", 404)).said()
        assert "no review" in (await visitor.get("/reviews/rev-0", 404)).said()
        assert "no graph" in (await visitor.get("/graphs/nothing", 404)).said()
        await visitor.get("/nothing/at/all", 404)
        for odd in ("?at=x", "?at=-1", "?at=²", "?from=0", "?at=" + "9" * 400, "?show=what", "?from=99999"):
            await visitor.get(f"/threads/r{odd}")
        for odd in ("/threads/r?at=", "/threads/r?from=", "/costs?days="):
            await visitor.get(odd + "9" * 5000)  # more digits than Python takes for a number
        for odd in ("?before=x", "?before=1", "?before=" + "9" * 30 + ".a", "?status=%00", "?aside=2"):
            await visitor.get(f"/threads{odd}")


async def test_a_form_that_makes_no_sense_is_taken_for_what_is_usual_or_told(desk: Served) -> None:
    review = await desk.paused("r")
    async with desk.visitor() as visitor:
        for days in ("²", "9" * 5000, "-1"):
            answer = await visitor.post("/policies", {"rules": "", "days": days})
            assert "write rules first" in Page(answer.text).said()
        for n, at in enumerate(("²", "x", "")):
            form = {"do": "fork", "at": at, "by": "dana", "name": f"f{n}"}
            answer = await visitor.post("/threads/r", form)
            assert answer.headers["location"] == f"/threads/f{n}"  # at the last entry
        for at in ("9" * 18, "999"):
            answer = await visitor.post("/threads/r", {"do": "fork", "at": at, "by": "dana"})
            assert answer.status_code == 404
        deep = {"do": "fork", "by": "dana", "value.notes": "[" * 100_000, "value.limit": "9" * 5000}
        answer = await visitor.post("/threads/r", deep)
        assert answer.status_code == 422
        form = {
            "by": "dana",
            "shown": review.shown,
            "decision": "edit",
            "value.parts.names": "x",
            "value.limit": "9" * 5000,
        }
        answer = await visitor.post(f"/reviews/{review.id}", form)
        assert answer.status_code == 422
        assert "this number is too large" in Page(answer.text).said()


@pytest.mark.parametrize("path", ["/theme", "/sign-in", "/threads/r"])
async def test_an_origin_that_is_none_is_another_site_s(desk: Served, path: str) -> None:
    async with desk.visitor() as visitor:
        for origin in ("http://[", "null", "http://", "x"):
            answer = await visitor.client.post(path, data={"theme": "dark"}, headers={"origin": origin})
            assert answer.status_code == 403, origin
            assert "turnout_theme" not in visitor.client.cookies


async def test_a_graph_shows_its_versions_and_how_its_nodes_do(desk: Served) -> None:
    await desk.paused("a")
    await desk.app.start("rounds", {"fails": True}, thread="b")
    await desk.rest("b")
    async with desk.visitor() as visitor:
        said = (await visitor.get("/graphs/refunds")).said()
        assert "at hand 1 0 1 0" in said  # in flight, running, waiting, diverged
        assert "ask Somebody of finance decides. 1 0 % (0) 100 % (1)" in said
        assert "send_refund write" in said
        said = (await visitor.get("/graphs/rounds")).said()
        assert "meet 1 100 % (1) 0 % (0)" in said
        assert "default → go_left + go_right, then meet" in said


async def test_threads_that_are_set_aside_are_taken_back_from_their_page(desk: Served) -> None:
    await desk.paused("r")
    async with desk.visitor() as visitor:
        form = {"do": "set aside", "thread": "r", "reason": "it kills its workers", "by": "dana"}
        answer = await visitor.post("/workers/aside", form, seen="/workers")
        assert answer.status_code == 303
        said = (await visitor.get("/workers")).said()
        assert "it kills its workers (by dana)" in said
        assert "r is set aside" in said
        assert "r is set aside" not in (await visitor.get("/workers")).said()  # told once
        await visitor.post("/workers/aside", {"do": "take back", "thread": "r"}, seen="/workers")
        row = await desk.app.store.thread("r")
        assert row is not None
        assert not row.aside


async def test_threads_that_moved_away_are_no_trouble_and_come_back_only_by_somebody_s_word(
    desk: Served, tmp_path: Path
) -> None:
    await desk.paused("r")
    await desk.app.start("refunds", {"order": "B-20"}, thread="paid")
    await desk.rest("paid")
    await desk.app.export_to(str(tmp_path / "house.jsonl"), move=True)
    async with desk.visitor() as visitor:
        said = (await visitor.get("/workers")).said()
        assert "0 set aside" in said
        assert "2 moved away" in said
        assert "set aside" not in (await visitor.get("/threads/r")).said().lower()
        form = {"do": "take back", "thread": "r"}
        refused = await visitor.post("/workers/aside", form, seen="/workers")
        assert refused.status_code == 409
        assert "two stores would do its work" in refused.text
        for thread, then in (("r", "the next free worker goes on with it"), ("paid", "it has nothing to do")):
            form = {"do": "take back", "thread": thread, "not_imported": "yes"}
            await visitor.post("/workers/aside", form, seen="/workers")
            assert f"{thread} is taken back: {then}" in (await visitor.get("/workers")).said()


async def test_a_thread_of_a_graph_that_is_not_at_hand_is_drawn_from_its_record(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/t.db"
    async with serving(url) as desk:
        await desk.paused("r")
    async with serving(url) as desk:
        desk.app.graphs.clear()
        async with desk.visitor() as visitor:
            page = await visitor.get("/threads/r")
            assert "is not at hand here" in page.said()
            assert "look_up" in page.said()
            assert "small refund → pay" not in page.said()  # the last entry is selected, not the decision
            await visitor.get("/graphs/refunds")
            await visitor.get("/threads/r?show=replay", 404)


async def test_a_page_that_is_open_hears_how_far_the_thread_has_come(desk: Served) -> None:
    review = await desk.paused("r")
    async with desk.visitor() as visitor:
        before = (await visitor.client.get("/threads/r/pulse")).json()
        assert before["status"] == "waiting"
        form = {"decision": "approve", "by": "dana", "shown": review.shown}
        await visitor.post(f"/reviews/{review.id}", form)
        await desk.app.wait("r/1", timeout=20)
        after = (await visitor.client.get("/threads/r/pulse")).json()
        assert after["status"] == "finished"
        assert after["head"] > before["head"]
        page = await visitor.get("/threads/r")
        assert not [attrs for _, attrs in page.elements if "data-live" in attrs]  # it is over


async def test_the_theme_is_kept_in_a_cookie_and_changes_nothing_else(desk: Served) -> None:
    async with desk.visitor() as visitor:
        answer = await visitor.client.post("/theme", data={"theme": "dark", "back": "/graphs"})
        assert answer.headers["location"] == "/graphs"
        page = await visitor.get("/threads")
        assert dict(page.elements)["html"]["data-theme"] == "dark"
        await visitor.client.post("/theme", data={"theme": "auto", "back": "https://elsewhere.example"})
        assert "data-theme" not in dict((await visitor.get("/threads")).elements)["html"]
        answer = await visitor.client.post("/theme", data={"theme": "<x>", "back": "//elsewhere.example"})
        assert answer.headers["location"] == "/"


async def test_nobody_reads_a_journal_for_a_list(desk: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    review = await desk.paused("r")

    async def refuse(*args: Any, **more: Any) -> Any:
        raise AssertionError("a page of many threads read a journal")

    monkeypatch.setattr(desk.app.store, "read", refuse)
    monkeypatch.setattr(desk.app.store, "snapshot", refuse)
    async with desk.visitor() as visitor:
        for path in (
            "/threads",
            "/reviews",
            "/reviews?status=decided",
            "/graphs",
            "/graphs/refunds",
            "/workers",
        ):
            await visitor.get(path)
        with pytest.raises(AssertionError, match="read a journal"):
            await visitor.client.get(f"/reviews/{review.id}")
