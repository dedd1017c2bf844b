"""Hostile requests: every field of every body, every query, path and header, with what no client of ours would send.

The answer is a success, or a problem that is the request's fault; never a 500, and what was refused has changed nothing."""

import asyncio
import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.api.conftest import BASE, Served, served
from tests.api.test_matrix import BODIES, RIGHTS, ask, furnish
from tests.postgres import fresh_database
from tests.property.hostile import PICKED, contents, texts

FUZZ = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
RAW = [
    "NaN", "-Infinity", "1e999", "-0", "9" * 30, "9" * 5_000, "0.1e1", "18446744073709551616", "[" * 100_000, "[" * 900 + "]" * 900,
    '{"a":' * 900 + "1" + "}" * 900, '{"a":1,"a":2}', '{"":""}', '{"\\u0000":1}', '{"\\ud800":1}', '"\\u0000"', '"\\ud800"',
    '"\\udc00x"', '"' + "x" * 70_000 + '"', "null", "true", "[]", "{}", '""', "'", "", "\ufeff1", '{"$packed":1}', "[null]",
    '"\\u202e"', '"a\\/b"', '["a","a"]', "1.5", "-1", "0", '"2026-13-45T99:00:00Z"', '"0001-01-01T00:00:00Z"',
    '"9999-12-31T23:59:59-14:00"', '"2026-11-26"',
]  # fmt: skip
"""JSON as text, much of it none."""
raw = st.one_of(
    st.sampled_from(RAW),
    texts.map(json.dumps),
    st.binary(max_size=20).map(lambda data: data.decode("latin-1")),
)


class Knocker:
    """A served desk, and somebody at its door."""

    def __init__(
        self, runner: asyncio.Runner, desk: Any, client: httpx.AsyncClient, ids: dict[str, str]
    ) -> None:
        self.run, self.desk, self.client, self.ids = runner.run, desk, client, ids

    def knock(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.run(self._knock(method, path, **more))

    async def _knock(self, method: str, path: str, **more: Any) -> httpx.Response:
        await self._rest()
        before = contents(self.desk.app.store)
        request = self.client.build_request(method, path, **more)
        said = await asyncio.wait_for(self.client.send(request), 60)
        assert said.status_code < 500, (said.status_code, said.text)
        if said.status_code >= 400:
            assert said.headers["content-type"] == "application/problem+json", said.text
            assert said.json()["status"] == said.status_code
            assert contents(self.desk.app.store) == before, said.text
        elif said.headers.get("content-type") == "application/json":
            said.json()
        return said

    async def _rest(self) -> None:
        """Until no worker is at it."""
        app, quiet = self.desk.app, 0
        while quiet < 2:
            busy = app.worker.busy or await app.store.held() or await app.store.due(app.clock.now())
            quiet = 0 if busy else quiet + 1
            await asyncio.sleep(0.002)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def knocker(request: pytest.FixtureRequest) -> Iterator[Knocker]:
    with contextlib.ExitStack() as stack:
        url = "sqlite://" if request.param == "sqlite" else stack.enter_context(fresh_database(schema=True))
        runner = stack.enter_context(asyncio.Runner())
        opened = served(url)
        desk = runner.run(opened.__aenter__())
        stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))
        ids = runner.run(furnish(desk, "acme"))
        secret = runner.run(desk.token("root", "admin", review_roles=("finance",)))
        desk.site.live.close()  # streams end at once
        transport = httpx.ASGITransport(app=desk.site.web, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {secret}"}
        client = httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)
        stack.callback(lambda: runner.run(client.aclose()))
        runner.run(ask(client, ("GET", "/head"), ids))  # keys that are made once are there
        before = runner.run(desk.app.verify()).problems
        yield Knocker(runner, desk, client, ids)
        assert runner.run(desk.app.verify()).problems == before


def fields() -> list[tuple[tuple[str, str], str]]:
    """Every field of every body, by the OpenAPI document."""
    from turnout.api.server import make

    document = make(None, None, None, None).openapi()  # type: ignore[arg-type]
    found = []
    for route in BODIES:
        schema = document["paths"][route[1]][route[0].lower()]["requestBody"]["content"]["application/json"][
            "schema"
        ]
        for one in (schema, *schema.get("anyOf", [])):
            if "$ref" in one:
                properties = document["components"]["schemas"][one["$ref"].rpartition("/")[2]]["properties"]
                found += [(route, name) for name in properties]
        found.append((route, ""))
    return found


PLACES = fields()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0][0]} {place[0][1]} {place[1]}")
@FUZZ
@given(said=raw)
def test_a_body_is_taken_in_or_refused_whatever_stands_in_it(knocker: Knocker, place: Any, said: str) -> None:
    (method, path), name = place
    text = said
    if name:
        body = copy.deepcopy(BODIES[(method, path)] or {})
        body.pop(name, None)
        if name == "at":
            body.pop("cron", None)
        more = f"{json.dumps(body)[:-1]}{', ' if body else ''}{json.dumps(name)}: {said}}}"
        text = more.replace("{thread}", knocker.ids["thread"])
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    knocker.knock(
        method, path.format(**knocker.ids), content=text.encode("utf-8", "surrogatepass"), headers=headers
    )


def queries() -> list[tuple[tuple[str, str], str]]:
    """Every query parameter and header of every route."""
    from turnout.api.server import make

    document = make(None, None, None, None).openapi()  # type: ignore[arg-type]
    return [
        ((method, path), f"{one['in']} {one['name']}")
        for method, path in RIGHTS
        for one in document["paths"][path][method.lower()].get("parameters", [])
    ]


def percent(text: str) -> str:
    """The text as its bytes, so that what is no UTF-8 goes on the way too."""
    return quote(text[:3_000].encode("utf-8", "surrogatepass"), safe="")


KINDS = st.one_of(
    texts,
    st.sampled_from(
        [*RAW[:20], "%", "%zz", "2026-11-26T09:00:00Z", "0001-01-01T00:00:00Z", "wait=99999", "*, *", 'W/"x"']
    ),
)


@pytest.mark.parametrize("place", queries(), ids=lambda place: f"{place[0][0]} {place[0][1]} {place[1]}")
@FUZZ
@given(said=KINDS)
def test_a_query_a_path_and_a_header_are_taken_in_or_refused(knocker: Knocker, place: Any, said: str) -> None:
    (method, path), (where, _, name) = place[0], place[1].partition(" ")
    said = said[:3_000]
    ids, headers, query = dict(knocker.ids), {"If-Match": "*"}, ""
    if where == "path":
        ids = {key: quote(value, safe="") for key, value in ids.items()} | {name: percent(said)}
        if not said or said in (".", ".."):
            return  # another path
    elif where == "query":
        query = f"?{name}={percent(said)}"
    else:
        headers[name] = (
            said.encode("utf-8", "surrogatepass").replace(b"\r", b"").replace(b"\n", b"").decode("latin-1")
        )
    if where == "header" and name == "authorization":
        return
    body = BODIES.get((method, path))
    content = (
        json.dumps(body).replace("{thread}", knocker.ids["thread"]).encode() if body is not None else b""
    )
    sent = [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
    if content:
        sent.append((b"content-type", b"application/json"))
    knocker.knock(method, path.format(**ids) + query, content=content, headers=sent)


@pytest.mark.parametrize(
    "place", [("POST", "/runs", "thread"), ("POST", "/runs", "by"), ("PUT", "/schedules/{name}", "name")]
)
@FUZZ
@given(said=texts)
def test_what_was_taken_in_is_read_back_as_it_was_given(knocker: Knocker, place: Any, said: str) -> None:
    method, path, name = place
    if path == "/runs":
        body = {"graph": "refunds", "input": {"order": said}, "thread": said if name == "thread" else None}
        answer = knocker.knock(
            method, path, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        if answer.is_success:
            found = answer.json()
            if found["run"] > 1:
                return  # a thread that was there
            assert name != "thread" or found["thread"] == said
            entry = knocker.knock("GET", f"/threads/{percent(found['thread'])}/entries/1").json()
            assert entry["body"]["input"] == {"order": said}
            assert entry["thread"] == found["thread"]
        return
    if not said or said in (".", "..") or len(said) > 3_000:
        return
    answer = knocker.knock(
        method,
        f"/schedules/{percent(said)}",
        json={"graph": "refunds", "input": {"order": "x"}, "cron": "@daily"},
    )
    if answer.is_success:
        assert answer.json()["name"] == said
        assert knocker.knock("GET", f"/schedules/{percent(said)}").json()["name"] == said
        assert knocker.knock("DELETE", f"/schedules/{percent(said)}").json()["name"] == said


@pytest.mark.parametrize("cursor", [*PICKED[:12], "====", "AAAA", "gICA", "7aCA", "LTE", "A" * 1_000])
@pytest.mark.parametrize("path", ["/threads", "/reviews", "/threads/{thread}/entries"])
def test_a_cursor_that_is_none_is_told(knocker: Knocker, path: str, cursor: str) -> None:
    knocker.knock("GET", f"{path.format(**knocker.ids)}?cursor={percent(cursor)}")


@pytest.mark.parametrize(
    "at",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "0",
        "1e9",
        "2026-11-26",
        "2026-11-26T09:00:00",
    ],
)
async def test_what_is_no_moment_in_utc_is_refused(open_desk: Served, at: str) -> None:
    permit = {"a.cedar": "permit (principal, action, resource);"}
    run = {"graph": "talks", "input": {}, "at": at}
    async with open_desk.client() as client:
        for said in (
            await client.get("/costs", params={"since": at}),
            await client.post("/policies/backtest", json={"files": permit, "since": at}),
            await client.post("/runs", json=run),
            await client.put("/schedules/s", json=run),
            await client.post("/tokens", json={"who": "x", "roles": ["viewer"], "expires_at": at}),
        ):
            assert (said.status_code, said.json()["type"]) == (422, "urn:turnout:error:InputInvalid"), (
                said.text
            )
