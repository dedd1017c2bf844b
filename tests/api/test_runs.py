"""Runs over HTTP: started once, waited for, paused, decided, cancelled, signalled, forked."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import create_model
from tests.api.conftest import Served, served
from tests.api.desk import PAID

from turnout import END, Context, Finished, Graph
from turnout.cli import reviews, show
from turnout.core.notices import Rules, Terms
from turnout.errors import InputInvalid
from turnout.service import deciding, threads
from turnout.testing import open_test_app

INPUT = {"graph": "refunds", "input": {"order": "A-17", "amount": 500}}


async def paused(http: httpx.AsyncClient, thread: str = "case-17", **more) -> dict:
    said = await http.post("/runs", json={**INPUT, "thread": thread, **more}, headers={"Prefer": "wait=20"})
    assert said.status_code == 200, said.text
    assert said.json()["outcome"]["status"] == "paused"
    return said.json()["outcome"]["reviews"][0]


async def test_a_start_is_answered_at_once_with_the_runs_address(http: httpx.AsyncClient) -> None:
    said = await http.post("/runs", json={"graph": "waits", "input": {}, "thread": "a/b"})
    assert said.status_code == 202
    assert said.json()["outcome"]["status"] == "running"
    assert said.headers["Location"] == "/api/v1/threads/a%2Fb/runs/1"
    run = await http.get(f"http://localhost:8700{said.headers['Location']}", headers={"Prefer": "wait=20"})
    assert run.json()["thread"] == "a/b"
    assert run.json()["outcome"]["signals"] == ["go"]


def noting(annotation: Any, default: Any) -> Graph:
    """A graph whose state has one field, of this type."""
    note = create_model("Note", note=(annotation, default))
    graph = Graph("notes", state=note)

    async def write(state: note, ctx: Context) -> dict[str, Any]:  # type: ignore[valid-type]
        return {"note": default}

    graph.node(write)
    graph.start(write)
    graph.edge(write, END)
    return graph


@pytest.mark.parametrize("wait", [{}, {"Prefer": "wait=5"}], ids=["at once", "waited for"])
async def test_a_run_that_has_finished_is_answered_also_when_its_graph_has_another_schema_since(
    tmp_path: Path, wait: dict[str, str]
) -> None:
    store = f"sqlite:///{tmp_path / 't.db'}"
    async with open_test_app(store, graphs=[noting(int, 7)]) as app:
        assert isinstance(await app.run("notes", {}, thread="t"), Finished)
    async with served(store, graphs=[noting(list[str], [])]) as desk, desk.client() as http:
        said = await http.get("/threads/t/runs/1", headers=wait)
        assert said.status_code == 200, said.text
        assert said.json()["outcome"]["status"] == "finished"
        assert said.json()["outcome"]["state"] == {"note": 7}


async def test_waiting_is_bounded(http: httpx.AsyncClient) -> None:
    said = await http.post(
        "/runs",
        json={"graph": "talks", "input": {}, "at": "2099-01-01T00:00:00Z"},
        headers={"Prefer": "wait=1"},
    )
    assert said.status_code == 202
    assert said.headers["Preference-Applied"] == "wait=1"


async def test_a_key_makes_an_input_that_is_sent_twice_one_run(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "req-1"}
    first = (await http.post("/runs", json=INPUT, headers=key)).json()
    again = (await http.post("/runs", json=INPUT, headers=key)).json()
    assert (first["thread"], first["run"]) == (again["thread"], again["run"])
    assert (first["new"], again["new"]) == (True, False)
    other = await http.post("/runs", json={**INPUT, "input": {"order": "B"}}, headers=key)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:turnout:error:KeyReused"


async def test_a_review_is_decided_on_what_was_shown_and_once(http: httpx.AsyncClient) -> None:
    PAID.clear()
    review = await paused(http)
    shown = await http.get(f"/reviews/{review['id']}")
    assert shown.headers["ETag"] == f'"{review["shown"]}"'
    url = f"/reviews/{review['id']}/decisions"
    missing = await http.post(url, json={"decision": "approve", "by": "dana"})
    assert (missing.status_code, missing.json()["type"]) == (428, "urn:turnout:error:ShownMissing")
    stale = await http.post(
        url, json={"decision": "approve", "by": "dana"}, headers={"If-Match": '"something-else"'}
    )
    assert (stale.status_code, stale.json()["type"]) == (412, "urn:turnout:error:ReviewStale")
    done = await http.post(
        url,
        json={"decision": "edit", "payload": {"amount": 100}, "by": "dana"},
        headers={"If-Match": shown.headers["ETag"]},
    )
    assert done.status_code == 200
    assert done.json()["status"] == "edit"
    late = await http.post(
        url, json={"decision": "reject", "by": "eve"}, headers={"If-Match": shown.headers["ETag"]}
    )
    assert late.status_code == 409
    assert late.json()["first"]["by"] == "dana"
    assert late.json()["first"]["via"] == "open"
    run = (await http.get("/threads/case-17/runs/1", headers={"Prefer": "wait=20"})).json()
    assert run["outcome"]["state"]["receipt"] == "R-A-17-100"
    assert len(PAID) == 1


async def test_a_decision_that_is_sent_twice_with_its_key_counts_once(http: httpx.AsyncClient) -> None:
    review = await paused(http)
    url, headers = f"/reviews/{review['id']}/decisions", {"If-Match": "*", "Idempotency-Key": "d-1"}
    said = {"decision": "approve", "by": "dana", "roles": ["finance"]}
    first = await http.post(url, json=said, headers=headers)
    again = await http.post(url, json=said, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert len(again.json()["decisions"]) == 1
    other = await http.post(url, json={**said, "decision": "reject"}, headers=headers)
    assert other.json()["type"] == "urn:turnout:error:KeyReused"


async def test_a_signal_wakes_the_thread_and_its_key_counts_once(http: httpx.AsyncClient) -> None:
    await http.post(
        "/runs", json={"graph": "waits", "input": {}, "thread": "w"}, headers={"Prefer": "wait=20"}
    )
    key = {"Idempotency-Key": "s-1"}
    sent = [
        (await http.post("/threads/w/signals", json={"name": "go", "payload": "now"}, headers=key)).json()[
            "done"
        ]
        for _ in range(2)
    ]
    assert sent == [True, False]
    run = (await http.get("/threads/w/runs/1", headers={"Prefer": "wait=20"})).json()
    assert run["outcome"]["state"] == {"got": "now"}


async def test_a_run_is_cancelled(http: httpx.AsyncClient) -> None:
    await paused(http)
    said = await http.post("/threads/case-17/cancel", json={"reason": "not needed", "by": "dana"})
    assert said.status_code == 202
    run = (await http.get("/threads/case-17/runs/1", headers={"Prefer": "wait=20"})).json()
    assert (run["outcome"]["status"], run["outcome"]["by"]) == ("cancelled", "dana")
    again = await http.post("/threads/case-17/cancel", json={})
    assert again.json()["type"] == "urn:turnout:error:UnknownRun"


async def test_a_thread_is_set_aside_and_taken_back(http: httpx.AsyncClient) -> None:
    await paused(http)
    assert (await http.put("/threads/case-17/aside", json={"reason": "look at it first"})).json() == {
        "done": True
    }
    assert (
        (await http.get("/threads", params={"aside": True}))
        .json()["items"][0]["aside"]
        .startswith("look at it")
    )
    assert (await http.delete("/threads/case-17/aside")).json() == {"done": True}
    assert (await http.delete("/threads/case-17/aside")).json() == {"done": False}


async def test_a_thread_that_moved_away_is_taken_back_only_when_nobody_has_imported_it(
    desk: Served, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    await paused(http)
    await desk.app.export_to(str(tmp_path / "house.jsonl"), move=True)
    refused = await http.delete("/threads/case-17/aside")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:turnout:error:ThreadMoved")
    said = await http.delete("/threads/case-17/aside", params={"not_imported": True})
    assert said.json() == {"done": True}


async def test_a_fork_asked_for_twice_with_its_key_is_one_thread(http: httpx.AsyncClient) -> None:
    await paused(http)
    key = {"Idempotency-Key": "f-1"}
    first = await http.post("/threads/case-17/forks", json={"update": {"amount": 9}}, headers=key)
    again = await http.post("/threads/case-17/forks", json={"update": {"amount": 9}}, headers=key)
    assert first.status_code == 201, first.text
    assert first.json()["thread"] == again.json()["thread"]
    assert again.json()["new"] is False
    await http.post(
        "/runs", json={"graph": "refunds", "input": {"order": "B"}, "thread": first.json()["thread"]}
    )
    again = await http.post("/threads/case-17/forks", json={"update": {"amount": 9}}, headers=key)
    assert again.json()["run"] == first.json()["run"]  # also when it has got another input since
    forked = (await http.get(f"/threads/{first.json()['thread']}")).json()
    assert forked["parent"] == "case-17"


@pytest.mark.parametrize(
    "other", [{"update": {"amount": 2}, "name": "fork"}, {"update": {"amount": 1}, "name": "other"}, {"update": {"amount": 1}}],
    ids=["another update", "another name", "no name"],
)  # fmt: skip
async def test_another_fork_with_a_used_key_is_refused(
    http: httpx.AsyncClient, other: dict[str, Any]
) -> None:
    await paused(http)
    fork, key = {"update": {"amount": 1}, "name": "fork"}, {"Idempotency-Key": "f-1"}
    assert (await http.post("/threads/case-17/forks", json=fork, headers=key)).status_code == 201
    refused = await http.post("/threads/case-17/forks", json=other, headers=key)
    assert refused.status_code == 422, refused.text
    assert "KeyReused" in refused.json()["type"]
    taken = await http.post("/threads/case-17/forks", json=fork, headers={"Idempotency-Key": "f-2"})
    assert "ForkRefused" in taken.json()["type"]
    assert {row["thread"] for row in (await http.get("/threads")).json()["items"]} == {"case-17", "fork"}
    assert (await http.get("/threads/fork/state")).json()["amount"] == 1


async def test_forks_that_are_asked_for_at_once_with_one_key_are_one(http: httpx.AsyncClient) -> None:
    await paused(http)
    made = await asyncio.gather(
        *(http.post("/threads/case-17/forks", json={}, headers={"Idempotency-Key": "f"}) for _ in range(5))
    )
    assert len({answer.json()["thread"] for answer in made}) == 1
    assert [answer.json()["new"] for answer in made].count(True) == 1


async def test_lists_come_in_pages_and_are_searched(http: httpx.AsyncClient) -> None:
    for n in range(5):
        await http.post("/runs", json={"graph": "talks", "input": {}, "thread": f"t{n}"})
    await http.post("/runs", json={"graph": "waits", "input": {}, "thread": "other"})
    names, cursor = [], ""
    while cursor is not None:
        page = (
            await http.get("/threads", params={"search": "t", "graph": "talks", "limit": 2, "cursor": cursor})
        ).json()
        names += [item["thread"] for item in page["items"]]
        cursor = page["next"]
    assert names == ["t0", "t1", "t2", "t3", "t4"]
    broken = await http.get("/threads", params={"cursor": "$$"})
    assert broken.json()["type"] == "urn:turnout:error:InputInvalid"


async def test_a_cursor_of_another_list_is_refused(http: httpx.AsyncClient) -> None:
    """It was taken for the end of the reviews, and for the beginning of the entries."""
    for n in range(2):
        await paused(http, f"r{n}")
    lists = ("/threads", "/reviews", "/threads/r0/entries")
    pages = {path: (await http.get(path, params={"limit": 1})).json()["next"] for path in lists}
    for path in lists:
        for other, cursor in pages.items():
            said = await http.get(path, params={"cursor": cursor})
            if other == path:
                assert said.status_code == 200, (path, said.text)
                assert said.json()["items"]
            else:
                assert said.status_code == 422, (path, other, said.text)
                assert said.json()["type"] == "urn:turnout:error:InputInvalid"


async def test_threads_with_the_longest_names_are_paged_and_watched(open_desk: Served) -> None:
    async with open_desk.socket() as url, httpx.AsyncClient(base_url=f"{url}/api/v1") as http:
        names = [last * 200 for last in "\U0001f600\U0001f601"]
        for name in names:
            await open_desk.app.run("talks", {}, thread=name)
        first = (await http.get("/threads", params={"limit": 1})).json()
        rest = await http.get("/threads", params={"cursor": first["next"]})
        assert rest.status_code == 200, rest.text
        assert [item["thread"] for item in first["items"] + rest.json()["items"]] == names
        last = {"Last-Event-ID": f"{quote(names[0])}:1"}
        for path in (f"/threads/{quote(names[0])}/events", "/events"):
            async with http.stream("GET", path, headers=last) as events:
                assert events.status_code == 200, await events.aread()
                async for line in events.aiter_lines():
                    if line.startswith("data:"):
                        assert json.loads(line.removeprefix("data:"))["seq"] == 2
                        break


async def test_reviews_come_in_pages_each_once(http: httpx.AsyncClient) -> None:
    for n in range(5):
        await paused(http, f"r{n}")
    seen, cursor = [], ""
    while cursor is not None:
        page = (await http.get("/reviews", params={"role": "finance", "limit": 2, "cursor": cursor})).json()
        seen += [item["thread"] for item in page["items"]]
        cursor = page["next"]
    assert sorted(seen) == [f"r{n}" for n in range(5)]
    assert len(set(seen)) == 5


async def test_the_journal_the_state_and_the_report_are_read_at_an_entry(http: httpx.AsyncClient) -> None:
    await paused(http)
    page = (await http.get("/threads/case-17/entries", params={"limit": 2})).json()
    assert [entry["kind"] for entry in page["items"]] == ["input.received", "run.started"]
    rest = (await http.get("/threads/case-17/entries", params={"cursor": page["next"]})).json()
    assert rest["items"][0]["seq"] == 3
    assert rest["next"] is None
    one = (await http.get("/threads/case-17/entries/1")).json()
    assert one["body"]["input"] == {"amount": 500, "order": "A-17"}
    assert (await http.get("/threads/case-17/entries/99")).json()["type"] == "urn:turnout:error:UnknownEntry"
    assert (await http.get("/threads/case-17/state", params={"seq": 2})).json()["amount"] == 500
    report = (await http.get("/threads/case-17/explain")).json()
    assert report["reviews"][0]["question"] == "Refund this order?"
    gone = await http.get("/threads/case-17/explain", params={"seq": 99})
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:turnout:error:UnknownEntry")


async def test_a_thread_is_replayed_asked_what_if_and_verified(http: httpx.AsyncClient) -> None:
    await paused(http)
    assert (await http.post("/threads/case-17/replay")).json()["identical"] is True
    assert (await http.post("/threads/case-17/whatif")).json()["same"] is True
    assert (await http.post("/threads/case-17/verify")).json()["ok"] is True
    head = (await http.get("/head")).json()
    assert (await http.post("/verify", json=head)).json()["ok"] is True
    assert (await http.get("/in-flight")).json()[0]["adopted"] is True


async def test_graphs_limits_schedules_and_workers_are_told(http: httpx.AsyncClient) -> None:
    graph = (await http.get("/graphs/refunds")).json()
    assert graph["entry"] == "ask"
    assert {"label": "rejected", "target": "END"} in graph["nodes"][0]["routes"]
    assert (await http.get("/graphs/nothing")).status_code == 404
    assert (await http.put("/limits/graph/refunds", json={"at_once": 3})).status_code == 204
    assert (await http.get("/limits")).json() == [{"kind": "graph", "name": "refunds", "at_once": 3}]
    assert (await http.delete("/limits/graph/refunds")).status_code == 204
    declared = {"graph": "talks", "input": {}, "cron": "0 2 * * *", "by": "dana"}
    assert (await http.put("/schedules/nightly", json=declared)).json()["by"] == "dana"
    assert (await http.post("/schedules/nightly/pause")).json()["paused"] is True
    assert (await http.post("/schedules/nightly/resume")).json()["paused"] is False
    assert (await http.get("/schedules/nightly")).json()["cron"] == "0 2 * * *"
    assert (await http.delete("/schedules/nightly")).status_code == 200
    assert (await http.get("/schedules/nightly")).json()["type"] == "urn:turnout:error:UnknownSchedule"
    assert isinstance((await http.get("/workers")).json(), list)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/threads?status=runing", "'running'"), ("/threads?status=nonsense", "there are running, waiting"),
        ("/reviews?status=aprove", "'approve'"), ("/outbox?status=ded", "'dead'"), ("/threads?serch=case", "'search'"),
        ("/threads/case-17/entries?limits=1", "'limit'"), ("/costs?sinse=2026-11-26T00:00:00Z", "'since'"),
        ("/graphs?tenant=acme", "it takes none"), ("/me?who=ann", "it takes none"), ("/events?after=1", "it takes none"),
        ("/reviews?state=open", "'status'"),
    ],
)  # fmt: skip
async def test_a_filter_that_is_misspelt_is_refused_with_the_nearest_right_one(
    http: httpx.AsyncClient, path: str, said: str
) -> None:
    await paused(http)
    answer = await http.get(path)
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"].endswith(":InputInvalid")
    assert said in answer.json()["detail"]


async def test_what_changes_something_is_not_done_for_all_because_a_parameter_is_misspelt(
    http: httpx.AsyncClient,
) -> None:
    assert (await http.post("/outbox/resend?tennant=acme")).status_code == 422
    assert (await http.post("/outbox/resend?tenant=acme")).status_code == 200


def test_the_cli_offers_the_statuses_that_there_are() -> None:
    assert show.STATUSES == threads.STATUSES
    assert {*reviews.STATUSES} == {*deciding.STATUSES, "all"}


async def test_the_outbox_comes_in_pages(open_desk: Served, http: httpx.AsyncClient) -> None:
    open_desk.app.store.notices = lambda: Rules((Terms("hook"),))
    for n in range(5):
        await paused(http, f"case-{n}")
    whole = (await http.get("/outbox")).json()
    assert whole["next"] is None
    found, cursor = [], ""
    while cursor is not None:
        page = (await http.get("/outbox", params={"limit": 2, "cursor": cursor})).json()
        assert len(page["items"]) <= 2
        found += page["items"]
        cursor = page["next"]
    assert found == whole["items"]
    assert len(found) == 5
    for wrong in ("outbox:", "outbox:x:n-1", "outbox:99999999999999999999:n"):
        said = await http.get("/outbox", params={"cursor": base64.urlsafe_b64encode(wrong.encode()).decode()})
        assert (said.status_code, said.json().get("title")) in ((422, InputInvalid.__doc__), (200, None)), (
            wrong
        )
