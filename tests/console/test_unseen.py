"""Characters that show nothing: pages write them out, and forms send them back as they were."""

from __future__ import annotations

import re
from pathlib import Path

from tests.console.conftest import Page, Served

import turnout.console
from turnout import approve

UNSEEN = "a\u202eb\u200bc\u3164d\U000e0041e\u00a0f"
WRITTEN = "a\\u202eb\\u200bc\\u3164d\\U000e0041e\\u00a0f"
FIELD = re.compile(r'value="[^"]*"|<textarea[^>]*>[^<]*</textarea>')


async def test_what_nobody_would_see_is_written_out_on_every_page(desk: Served) -> None:
    app = desk.app
    await app.start("signs", {"text": f"</b>{UNSEEN}\u0007", "people": 2}, thread="s\u3164", by="x\u2800")
    await app.wait("s\u3164/1", timeout=20)
    [review] = await app.reviews()
    await app.resolve(review.id, approve(by="lee", comment=UNSEEN))
    await app.set_aside("s\u3164", "so\u3164so", by="ops")
    seen = 0
    async with desk.visitor() as visitor:
        for path in (
            "/threads", "/threads?search=s%E3%85%A4", "/threads/s%E3%85%A4", "/threads/s%E3%85%A4?at=2", "/reviews",
            "/threads/s%E3%85%A4?show=fork&at=2", f"/reviews/{review.id}", "/workers", "/costs", "/policies",
        ):  # fmt: skip
            html = (await visitor.client.get(path)).text
            shown = FIELD.sub("", html)
            odd = [c for c in shown if not c.isprintable() and c not in "\n\u202f"]
            hidden = odd + [c for c in shown if c in "\u3164\u2800\U000e0041"]
            assert not hidden, (path, hidden)
            seen += WRITTEN in shown
        assert seen >= 4
        [field, *_] = (await visitor.get("/workers")).named("thread")
        form = {"do": "take back", "thread": field["value"]}
        await visitor.post("/workers/aside", form, seen="/workers")
        row = await app.store.thread("s\u3164")
    assert row is not None
    assert not row.aside


async def test_a_field_keeps_what_nobody_sees_in_it_and_says_so(desk: Served) -> None:
    await desk.app.start("refunds", {"order": f"{UNSEEN}-900"}, thread="r")
    await desk.rest("r")
    [review] = await desk.app.reviews()
    async with desk.visitor() as visitor:
        page = await visitor.get(f"/reviews/{review.id}")
        assert page.said().count(f"Not all that is in it shows. It says: {WRITTEN}-900") == 1
        inputs = [attrs for tag, attrs in page.elements if tag == "input" and attrs.get("type") != "checkbox"]
        given = {attrs["name"]: attrs["value"] for attrs in inputs if attrs["name"]} | {"value.amount": "250"}
        answer = await visitor.post(f"/reviews/{review.id}", {**given, "by": "dana", "decision": "edit"})
        assert answer.status_code == 303, Page(answer.text).said()
    [after] = await desk.app.reviews(status="edit") or await desk.app.reviews(status="approve")
    assert (after.payload["order"], after.payload["amount"]) == (f"{UNSEEN}-900", 250)


def test_what_a_form_sends_back_is_printed_as_it_is() -> None:
    ours = ["csrf", "back", "days", "at", "n", "name", "review.shown", "one.id", "fork.at", "wanted"]
    for path in (Path(turnout.console.__file__).parent / "templates").glob("*.html"):
        for field in FIELD.findall(path.read_text(encoding="utf-8").replace("{{ more }}>", ">")):
            inside = field.partition(">")[2] if field.startswith("<") else field
            for said in re.findall(r"\{\{ (.*?) \}\}", inside):
                assert said in ours or said.startswith('"\\n"') or said.endswith("|exact"), (path.name, field)
