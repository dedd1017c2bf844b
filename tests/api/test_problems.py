"""Errors over HTTP: one problem for each class of the tree; what is too much; what isn't there."""

import contextlib
import inspect

import httpx
import pytest
from tests.api.conftest import Served, served
from tests.postgres import fresh_database

from turnout import errors
from turnout.api.problems import MEDIA, STATUSES, TYPE, problem_of
from turnout.errors import (
    CapReached,
    ReviewClosed,
    SettingsInvalid,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    TurnoutError,
)
from turnout.service.serving import Serve

STORE = "the server can't use its store now; its log says why"
SETTING = "a setting of the server can't be used; its log says which"


def tree() -> list[type[TurnoutError]]:
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    return [cls for cls in found if issubclass(cls, TurnoutError)]


def test_every_error_of_the_tree_has_an_entry_of_its_own_and_there_are_no_others() -> None:
    assert set(tree()) == STATUSES.keys()


@pytest.mark.parametrize("cls", tree(), ids=lambda cls: cls.__name__)
def test_a_problem_says_which_error_it_is_what_that_means_and_what_happened(cls: type[TurnoutError]) -> None:
    error = cls.__new__(cls)  # some are made of more than a text
    Exception.__init__(error, "what happened")
    error.__dict__ |= {"problems": ["one", "two"], "first": None, "retry_after": 1.0}
    found = problem_of(error)
    assert found.type == f"{TYPE}{cls.__name__}"
    assert found.title == error.headline
    kept = STORE if issubclass(cls, StoreError) else SETTING if cls is SettingsInvalid else "what happened"
    assert found.detail == kept
    assert 400 <= found.status < 600


def test_a_closed_reviews_problem_shows_the_first_decision() -> None:
    assert problem_of(ReviewClosed("closed", {"by": "dana"})).first == {"by": "dana"}


async def test_what_the_framework_refuses_is_a_problem_too(http: httpx.AsyncClient) -> None:
    for said, status in (
        (await http.get("/nothing/here"), 404),
        (await http.patch("/threads"), 405),
        (await http.post("/runs", content="{"), 422),
        (await http.post("/runs", json={"graph": "talks", "input": {}, "extra": 1}), 422),
        (await http.get("/threads", params={"limit": "many"}), 422),
    ):
        assert said.status_code == status, said.text
        assert said.headers["content-type"] == MEDIA
        assert said.json()["status"] == status
    assert (await http.patch("/threads")).headers["allow"] == "GET"


@pytest.mark.parametrize(
    "body", [b'{"graph": "\xff"}', b"[" * 20_000, b'{"graph": "talks", "input": ' + b"[" * 5_000]
)
async def test_a_body_that_can_not_be_read_is_a_problem_of_the_tree(
    http: httpx.AsyncClient, body: bytes
) -> None:
    said = await http.post("/runs", content=body, headers={"Content-Type": "application/json"})
    assert (said.status_code, said.headers["content-type"]) == (422, MEDIA), said.text
    assert said.json()["type"] == f"{TYPE}InputInvalid"


def test_money_at_a_cap_is_told_in_dollars() -> None:
    def said(measure: str) -> str:
        return str(
            CapReached(7, "day", "all", measure, at_cap="fail", roles=(), cap=5_000_000, topped=250_000, spent=4_900_001,
                       reserved=0, wanted=1)
        )  # fmt: skip

    assert said("micros") == (
        "budget day (all) allows $5.00 and $0.25 topped up; $4.900001 are spent and $0.00 reserved, so there is no room "
        "for $0.000001 more"
    )
    assert "allows 5000000 and 250000 topped up tokens; 4900001 are spent" in said("tokens")


async def test_what_is_the_houses_is_refused_to_a_tenant_in_whole_sentences(open_desk: Served) -> None:
    async with open_desk.client(await open_desk.token("ann", "admin", tenant="acme")) as ann:
        for path in ("/policies", "/budgets", "http://localhost/metrics"):
            said = await ann.get(path)
            assert (said.status_code, said.headers["content-type"]) == (403, MEDIA)
            assert said.json()["type"] == f"{TYPE}RightMissing"
            assert "policy are" not in said.json()["detail"]


async def test_an_error_of_nobodys_is_told_without_its_insides(
    open_desk: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object, **more: object) -> None:
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr(open_desk.app.store, "threads", broken)
    async with open_desk.client() as client:
        said = await client.get("/threads")
    assert said.status_code == 500
    assert "1234" not in said.text


@pytest.mark.parametrize(("cls", "status"), [(StoreUnavailable, 503), (StoreDamaged, 500)])
async def test_where_the_store_is_is_told_in_the_log_and_to_nobody_who_asks(
    open_desk: Served,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cls: type[StoreError],
    status: int,
) -> None:
    said = "the store /var/lib/secret.db can't be opened; ada at db.internal may"

    async def broken(*args: object, **more: object) -> None:
        raise cls(said)

    for verb in ("thread", "threads", "census"):
        monkeypatch.setattr(open_desk.app.store, verb, broken)
    async with open_desk.client() as client:
        for answer in (
            await client.get("/threads"),
            await client.get("/threads/t"),
            await client.get("http://localhost/metrics"),
        ):
            assert answer.status_code == status
            assert answer.json()["type"] == f"{TYPE}{cls.__name__}"
            assert answer.json()["detail"] == STORE
        page = await client.get("http://localhost/threads/t")
        assert page.status_code == 503
        assert "its log says why" in page.text
        assert "secret.db" not in page.text
    assert caplog.text.count(said) == 4


async def test_a_request_that_is_too_long_is_refused_whatever_its_headers_say() -> None:
    async with served(serve=Serve(body=2048)) as desk, desk.client() as client:
        start = {"graph": "talks", "input": {"said": "x" * 3000}}
        said = await client.post("/runs", json=start)
        assert (said.status_code, said.json()["type"]) == (413, "urn:turnout:error:RequestTooLarge")

        async def pieces():
            for _ in range(30):
                yield b" " * 100

        said = await client.post("/runs", content=pieces(), headers={"Content-Type": "application/json"})
        assert said.status_code == 413
        assert (await client.post("/runs", json={"graph": "talks", "input": {}})).status_code == 202
        assert len(await desk.app.threads()) == 1


async def test_who_asks_too_often_waits_and_nobody_else_does() -> None:
    async with served(serve=Serve(rate=5, burst=10)) as desk:
        dana, eve = await desk.token("dana", "viewer"), await desk.token("eve", "viewer")
        async with desk.client(dana) as one, desk.client(eve) as other:
            said = [await one.get("/me") for _ in range(15)]
            assert [s.status_code for s in said[:10]] == [200] * 10
            assert said[-1].status_code == 429
            assert said[-1].json()["type"] == "urn:turnout:error:TooManyRequests"
            assert int(said[-1].headers["Retry-After"]) >= 1
            assert (await other.get("/me")).status_code == 200


async def test_nobody_is_told_to_go_on_in_no_time() -> None:
    async with served(serve=Serve(rate=1000, burst=1)) as desk, desk.client() as client:
        said = [await client.get("/me") for _ in range(20)]
        told = [answer.json()["detail"] for answer in said if answer.status_code == 429]
        assert told
        assert all("0.0 s" not in one for one in told)


async def test_guessing_tokens_is_counted_by_address() -> None:
    async with served(serve=Serve(rate=0.01, burst=5)) as desk:
        known, late = await desk.token("dana", "viewer"), await desk.token("late", "viewer")
        async with desk.client(known) as dana:
            assert (await dana.get("/me")).status_code == 200
        codes = []
        for n in range(8):
            async with desk.client(f"tt_0123456789ab_guess{n}") as guesser:
                codes.append((await guesser.get("/me")).status_code)
        assert codes == [401] * 5 + [429] * 3
        for secret, status in ((known, 200), (late, 429)):
            async with desk.client(secret) as client:
                assert (await client.get("/me")).status_code == status


@pytest.mark.parametrize("elsewhere", ["/nope", "/openapi.json", "http://localhost:8700/healthz"])
async def test_a_token_is_not_believed_because_of_an_answer_that_needs_none(elsewhere: str) -> None:
    async with served(serve=Serve(rate=0.01, burst=5)) as desk:
        await desk.token("dana", "viewer")  # the door is locked
        guesses = [{"Authorization": f"Bearer tt_0123456789ab_guess{n}"} for n in range(12)]
        async with desk.client() as guesser:
            for shown in guesses:
                await guesser.get(elsewhere, headers=shown)
            codes = [(await guesser.get("/me", headers=shown)).status_code for shown in guesses]
        assert codes.count(401) <= 5
        assert codes[5:] == [429] * 7


async def test_who_came_in_is_counted_as_one_however_the_headers_are_written() -> None:
    async with served(serve=Serve(rate=0.01, burst=5)) as desk:
        secret = await desk.token("dana", "viewer")
        async with desk.client() as client:
            codes = [
                (await client.get("/me", headers={"Authorization": f"{kind} {secret}"})).status_code
                for kind in ("Bearer", "bearer", "BEARER", "bEARER", "beARER", "beaRER", "bearER")
            ]
            assert codes == [200] * 5 + [429] * 2
            assert (await client.post("/session", json={"token": secret})).status_code == 201
            pages = [
                await client.get("http://localhost:8700/threads", headers={"Authorization": f"Basic {n}"})
                for n in range(7)
            ]
            assert [page.status_code for page in pages] == [200] * 5 + [429] * 2


async def test_probes_are_answered_at_an_address_that_asked_too_much() -> None:
    async with served(serve=Serve(rate=0.01, burst=5)) as desk, desk.client() as client:
        assert [(await client.get("/me")).status_code for _ in range(7)] == [200] * 5 + [429] * 2
        for path in ("/healthz", "/readyz"):
            assert (await client.get(f"http://localhost:8700{path}")).status_code in (200, 503)


async def test_what_a_tenant_does_not_find_says_nothing_of_where_the_store_is(tmp_path) -> None:
    async with served(f"sqlite:///{tmp_path / 's.db'}") as desk:
        secret = await desk.token("ann", "admin", tenant="acme")
        async with desk.client(secret) as ann:
            for method, path in (
                ("GET", "/threads/nobody"), ("POST", "/threads/nobody/cancel"), ("DELETE", "/schedules/nobody"),
                ("POST", "/outbox/nobody/resend"),
            ):  # fmt: skip
                said = await ann.request(method, path, json={})
                assert (said.status_code, str(tmp_path) in said.text) == (404, False), said.text
                assert "tenant 'acme'" in said.json()["detail"]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_no_problem_says_where_the_store_is_also_when_the_request_is_wrong(kind: str, tmp_path) -> None:
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'secret.db'}"
        if kind == "postgres":
            url = stack.enter_context(fresh_database(schema=True))
        async with served(url) as desk, desk.client(await desk.token("ann", "admin")) as ann:
            for method, path, status in (
                ("GET", "/threads/none", 404), ("POST", "/threads/none/cancel", 404), ("DELETE", "/schedules/none", 404),
                ("POST", "/outbox/none/resend", 404), ("GET", "/threads?search=%00", None), ("GET", "/costs?graph=%00", None),
                ("GET", "/threads?search=%ED%A0%80", None),
            ):  # fmt: skip
                said = await ann.request(method, path, json={})
                assert said.status_code == (status or said.status_code), said.text
                for hidden in ("secret", "sqlite:", "postgresql:", "host=", "turnout_"):
                    assert hidden not in said.text
                if status == 404:
                    assert "'none' in" in said.json()["detail"]
                    assert "this store" in said.json()["detail"]


async def test_cors_is_closed_unless_an_origin_is_named() -> None:
    ask = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    async with served() as desk, desk.client() as client:
        said = await client.options("/threads", headers=ask)
        assert "access-control-allow-origin" not in said.headers
    roomy = Serve(cors=("https://app.example",))
    async with served(serve=roomy) as desk, desk.client() as client:
        said = await client.options("/threads", headers=ask)
        assert said.headers["access-control-allow-origin"] == "https://app.example"
        other = await client.options("/threads", headers={**ask, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
