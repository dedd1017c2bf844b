"""Signing in: tokens, sessions, OIDC, and the door that is open on a first try."""

import asyncio
import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.api.conftest import Served, served
from tests.api.receiver import receiver

from turnout.errors import InputInvalid, ServiceUnavailable, SettingsInvalid, SignInNeeded
from turnout.ports.clock import at
from turnout.runtime.clock import SystemClock
from turnout.service.access import oidc, sessions, tokens
from turnout.service.access.door import Door
from turnout.service.access.oidc import Provider
from turnout.service.access.schema import Oidc

COOKIE = sessions.COOKIE


def problem(said: httpx.Response) -> tuple[int, str]:
    return said.status_code, said.json()["type"].rpartition(":")[2]


# --- tokens -------------------------------------------------------------------------------------------------------


async def test_the_first_token_locks_the_door_and_revoking_it_does_not_open_it(open_desk: Served) -> None:
    async with open_desk.client() as nobody:
        assert (await nobody.get("/threads")).status_code == 200
        secret = await open_desk.token("dana", "admin")
        assert problem(await nobody.get("/threads")) == (401, "SignInNeeded")
        async with open_desk.client(secret) as dana:
            [token] = (await dana.get("/tokens")).json()
            assert (await dana.delete(f"/tokens/{token['id']}")).json()["revoked_at"] is not None
            assert problem(await dana.get("/threads")) == (401, "SignInNeeded")
        assert problem(await nobody.get("/threads")) == (401, "SignInNeeded")


async def test_a_secret_is_nowhere_in_the_store(open_desk: Served) -> None:
    secret = await open_desk.token("dana", "viewer")
    [row] = await open_desk.app.store.tokens()
    assert secret.split("_", 2)[2] not in repr(row)
    assert row.digest == tokens.digest_of(secret)


async def test_a_token_that_has_expired_or_is_slightly_wrong_opens_nothing(open_desk: Served) -> None:
    app = open_desk.app
    now = app.clock.now()
    made = await tokens.create(app.store, now, "dana", ["viewer"], expires_at=now + 60_000_000)
    async with open_desk.client(made.secret) as dana:
        assert (await dana.get("/me")).json()["who"] == "dana"
    with pytest.raises(SignInNeeded, match="expired"):
        await tokens.find(app.store, now + 60_000_000, made.secret, "token", tokens.PREFIX)
    for wrong in (
        made.secret + "x",
        made.secret[:-1],
        made.secret.replace("tt_", "ts_"),
        "tt_%_x",
        "tt__",
        "x" * 9000,
    ):
        async with open_desk.client(wrong) as client:
            assert problem(await client.get("/me")) == (401, "SignInNeeded"), wrong[:50]


async def test_a_token_is_made_over_http_shown_once_and_bound_to_its_makers_tenant(open_desk: Served) -> None:
    boss = await open_desk.token("boss", "admin", tenant="acme")
    async with open_desk.client(boss) as client:
        said = await client.post("/tokens", json={"who": "new", "roles": ["viewer"]})
        assert (said.status_code, said.json()["token"]["tenant"]) == (201, "acme")
        other = await client.post("/tokens", json={"who": "new", "roles": ["viewer"], "tenant": "bolt"})
        assert problem(other) == (422, "InputInvalid")
        wrong = await client.post("/tokens", json={"who": "new", "roles": ["king"]})
        assert problem(wrong) == (422, "InputInvalid")
        assert {token["who"] for token in (await client.get("/tokens")).json()} == {"boss", "new"}
        assert "secret" not in json.dumps((await client.get("/tokens")).json())
    async with open_desk.client(said.json()["secret"]) as new:
        assert (await new.get("/me")).json()["tenant"] == "acme"


# --- what is put on record ----------------------------------------------------------------------------------------


async def test_a_decision_says_who_how_they_signed_in_and_what_they_saw(open_desk: Served) -> None:
    run = await open_desk.app.start("refunds", {"order": "A", "amount": 5}, thread="t")
    await open_desk.app.wait(run)
    [review] = await open_desk.app.reviews()
    secret = await open_desk.token("dana", "reviewer", review_roles=("finance", "risk"))
    async with open_desk.client(secret) as dana:
        url, match = f"/reviews/{review.id}/decisions", {"If-Match": f'"{review.shown}"'}
        as_eve = await dana.post(url, json={"decision": "approve", "by": "eve"}, headers=match)
        assert problem(as_eve) == (403, "RightMissing")
        as_king = await dana.post(url, json={"decision": "approve", "roles": ["king"]}, headers=match)
        assert problem(as_king) == (403, "RightMissing")
        assert (await dana.post(url, json={"decision": "approve"}, headers=match)).status_code == 200
    body = next(x.body for x in await open_desk.app.entries("t") if x.kind == "review.decided")
    assert (body.by, body.roles, body.shown) == ("dana", ["finance", "risk"], review.shown)
    assert body.via == f"token {secret.split('_')[1]}"
    assert body.saw == review.shown
    [told] = (await open_desk.app.explain("t")).reviews
    assert (told.opinions[0].via, told.opinions[0].saw) == (body.via, body.saw)


async def test_who_edits_is_on_record_with_what_they_saw_and_not_only_with_what_they_made_of_it(
    open_desk: Served,
) -> None:
    await open_desk.app.wait(await open_desk.app.start("refunds", {"order": "A", "amount": 5}, thread="t"))
    [review] = await open_desk.app.reviews()
    secret = await open_desk.token("dana", "reviewer", review_roles=("finance", "risk"))
    async with open_desk.client(secret) as dana:
        edit = {"decision": "edit", "payload": {"amount": 4}}
        match = {"If-Match": f'"{review.shown}"'}
        assert (
            await dana.post(f"/reviews/{review.id}/decisions", json=edit, headers=match)
        ).status_code == 200
    body = next(x.body for x in await open_desk.app.entries("t") if x.kind == "review.decided")
    assert body.saw == review.shown
    assert body.shown == (await open_desk.app.review(review.id)).shown != review.shown


async def test_a_reviewer_without_the_reviews_role_is_refused(open_desk: Served) -> None:
    await open_desk.app.wait(await open_desk.app.start("refunds", {"order": "A", "amount": 5}, thread="t"))
    [review] = await open_desk.app.reviews()
    secret = await open_desk.token("dana", "reviewer", review_roles=("support",))
    async with open_desk.client(secret) as dana:
        said = await dana.post(
            f"/reviews/{review.id}/decisions", json={"decision": "approve"}, headers={"If-Match": "*"}
        )
        assert problem(said) == (403, "DecisionNotAllowed")


async def test_an_input_says_who_sent_it(open_desk: Served) -> None:
    secret = await open_desk.token("dana", "operator")
    async with open_desk.client(secret) as dana:
        await dana.post("/runs", json={"graph": "talks", "input": {}, "thread": "t"})
    assert (await open_desk.app.entries("t"))[0].body.by == "dana"


# --- sessions -----------------------------------------------------------------------------------------------------


async def test_a_session_needs_its_csrf_token_for_what_changes_something(open_desk: Served) -> None:
    secret = await open_desk.token("dana", "operator")
    async with open_desk.client() as browser:
        said = await browser.post("/session", json={"token": secret})
        assert said.status_code == 201
        cookie = said.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await browser.get("/me")).json()["how"] == f"session (token {secret.split('_')[1]})"
        start = {"graph": "talks", "input": {}}
        assert problem(await browser.post("/runs", json=start)) == (403, "RightMissing")
        wrong = {"X-CSRF-Token": "0" * 32}
        assert problem(await browser.post("/runs", json=start, headers=wrong)) == (403, "RightMissing")
        right = {"X-CSRF-Token": said.json()["csrf"]}
        assert (await browser.post("/runs", json=start, headers=right)).status_code == 202
        assert (await browser.delete("/session", headers=right)).status_code == 204
        browser.cookies.set(COOKIE, said.cookies[COOKIE])
        assert problem(await browser.get("/me")) == (401, "SignInNeeded")


async def test_a_session_ends_with_the_token_that_it_came_from(open_desk: Served) -> None:
    secret = await open_desk.token("dana", "viewer")
    async with open_desk.client() as browser:
        assert (await browser.post("/session", json={"token": secret})).status_code == 201
        await tokens.revoke(open_desk.app.store, open_desk.app.clock.now(), secret.split("_")[1])
        assert problem(await browser.get("/me")) == (401, "SignInNeeded")


async def test_a_session_lasts_no_longer_than_its_token_and_is_no_bearer_token(open_desk: Served) -> None:
    app = open_desk.app
    ends = app.clock.now() + 60_000_000
    made = await tokens.create(app.store, app.clock.now(), "dana", ["viewer"], expires_at=ends)
    session = await open_desk.door.sign_in(made.secret)
    assert session.expires_at == at(ends)
    async with open_desk.client(session.secret) as client:
        assert problem(await client.get("/me")) == (401, "SignInNeeded")


async def test_sessions_that_are_over_are_forgotten_tokens_are_not(open_desk: Served) -> None:
    app = open_desk.app
    secret = await open_desk.token("dana", "viewer")
    await open_desk.door.sign_in(secret)
    assert await app.store.forget_sessions(app.clock.now() + 86_400_000_000) == 1
    assert [row.kind for row in await app.store.tokens()] == ["token"]


# --- the first try ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8700"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
        {"Host": ""},
    ],
)
async def test_pages_of_other_sites_get_nothing_where_nobody_signs_in(
    open_desk: Served, headers: dict[str, str]
) -> None:
    async with open_desk.client() as page:
        assert problem(await page.get("/threads", headers=headers)) == (403, "RightMissing")
        assert (
            problem(await page.post("/runs", json={"graph": "talks", "input": {}}, headers=headers))[0] == 403
        )


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "x-real-ip", "Via"])
async def test_who_comes_through_a_proxy_on_the_same_machine_needs_a_token(
    open_desk: Served, name: str
) -> None:
    passed_on = {"Host": "127.0.0.1:8700", name: "203.0.113.9"}
    async with open_desk.client() as client:
        said = await client.get("/me", headers=passed_on)
        assert problem(said) == (403, "RightMissing")
        assert "turnout token create" in said.json()["detail"]
        for path in ("/threads", "/metrics"):
            page = await client.get(f"http://127.0.0.1:8700{path}", headers=passed_on)
            assert page.status_code == 403, path
        secret = await open_desk.token("dana", "viewer")
        token = {"Authorization": f"Bearer {secret}"}
        assert (await client.get("/me", headers={**passed_on, **token})).json()["who"] == "dana"


async def test_this_machines_own_pages_are_served_where_nobody_signs_in(open_desk: Served) -> None:
    async with open_desk.client() as page:
        own = {"Origin": "http://localhost:8700", "Sec-Fetch-Site": "same-origin"}
        assert (
            await page.post("/runs", json={"graph": "talks", "input": {}}, headers=own)
        ).status_code == 202
        for host in ("127.0.0.1", "[::1]", "[::1]:8700", "localhost"):
            assert (await page.get("/me", headers={"Host": host})).json()["how"] == "open", host


async def test_a_form_of_another_site_starts_nothing(open_desk: Served) -> None:
    async with open_desk.client() as page:
        said = await page.post(
            "/runs", content='{"graph": "talks", "input": {}}', headers={"Content-Type": "text/plain"}
        )
        assert said.status_code == 422
    assert await open_desk.app.threads() == []


async def test_other_addresses_need_a_token_first(open_desk: Served) -> None:
    door = Door(open_desk.app.store, open_desk.app.clock)
    with pytest.raises(SettingsInvalid, match="turnout token create"):
        await door.check()
    await open_desk.token("dana", "admin")
    await door.check()


@pytest.mark.parametrize("url", ["https://turnout.example", "http://10.0.0.7:8700", "turnout.example"])
async def test_a_public_address_in_front_of_a_loopback_one_needs_a_token_first(
    open_desk: Served, url: str
) -> None:
    store, clock = open_desk.app.store, open_desk.app.clock
    for own in ("", "http://localhost:8700", "http://127.0.0.1", "http://[::1]:8700/"):
        door = Door(store, clock, loopback=True, url=own)
        await door.check()
        assert await door.open_to_all(), own
    door = Door(store, clock, loopback=True, url=url)
    assert not await door.open_to_all()
    with pytest.raises(SettingsInvalid, match=r"turnout token create.*leave `url` out"):
        await door.check()
    await open_desk.token("dana", "admin")
    await door.check()


# --- OIDC ---------------------------------------------------------------------------------------------------------


class Issuer:
    """A provider with one key, on a socket."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = "k1"
        self.asked = 0
        self.url = ""

    def answer(self, path: str) -> Any:
        self.asked += 1
        if path == "/.well-known/openid-configuration":
            return {"jwks_uri": f"{self.url}/keys"}
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]}

    def token(
        self, *, key: Any = None, algorithm: str = "RS256", kid: str | None = None, **claims: Any
    ) -> str:
        said = {
            "iss": self.url, "aud": "turnout", "exp": time.time() + 600, "email": "dana@example.com",
            "groups": ["support-team", "finance"], "org": "acme", **claims,
        }  # fmt: skip
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key or self.key, algorithm=algorithm, headers={"kid": kid or self.kid})


@pytest.fixture
async def issuer() -> Any:
    found = Issuer()
    async with receiver(found.answer) as url:
        found.url = url
        yield found


def settings(issuer: Issuer) -> Oidc:
    return Oidc(
        issuer=issuer.url, audience="turnout", who="email", roles="groups", review_roles="groups", tenant="org",
        grants={"support-team": ("operator", "reviewer")},
    )  # fmt: skip


async def test_a_providers_token_signs_in_with_what_its_claims_say(issuer: Issuer) -> None:
    provider = Provider(settings(issuer), SystemClock())
    async with served(provider=provider) as desk, desk.client(issuer.token()) as dana:
        said = (await dana.get("/me")).json()
        assert said["who"] == "dana@example.com"
        assert said["roles"] == ["operator", "reviewer"]
        assert said["review_roles"] == ["support-team", "finance"]
        assert said["tenant"] == "acme"
        assert said["how"] == f"oidc {issuer.url}"
        assert (await dana.get("/me")).status_code == 200
        assert issuer.asked == 2  # the keys are kept
        session = (await dana.post("/session", json={"token": issuer.token(exp=time.time() + 100)})).json()
        assert session["me"]["who"] == "dana@example.com"
    async with served(provider=provider) as desk, desk.client() as nobody:
        assert problem(await nobody.get("/me")) == (401, "SignInNeeded")  # a provider locks the door, too


async def test_a_review_role_with_a_comma_is_none_and_does_not_become_two_in_a_session(
    issuer: Issuer,
) -> None:
    provider = Provider(settings(issuer), SystemClock())
    shown = issuer.token(groups=["support-team", "legal,finance", "", "a\x00b", "the risk team"])
    async with served(provider=provider) as desk, desk.client(shown) as dana:
        expected = ["support-team", "the risk team"]
        assert (await dana.get("/me")).json()["review_roles"] == expected
        session = (await dana.post("/session", json={"token": shown})).json()
        assert session["me"]["review_roles"] == expected
        caller = replace((await provider.caller(shown))[0], review_roles=("legal,finance", "risk"))
        made = await sessions.begin(desk.app.store, 0, caller, "", 2**50)
        assert made.caller.review_roles == ("risk",), "whoever signs people in"
        for role in ("legal,finance", "", "a b"):
            with pytest.raises(InputInvalid):
                await tokens.create(desk.app.store, 0, "dana", ["reviewer"], review_roles=[role])


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"aud": "another"}, (401, "SignInNeeded")),
        ({"iss": "https://evil.example"}, (401, "SignInNeeded")),
        ({"exp": 1}, (401, "SignInNeeded")),
        ({"exp": None}, (401, "SignInNeeded")),
        ({"nbf": 9e9}, (401, "SignInNeeded")),
        ({"email": None}, (401, "SignInNeeded")),
        ({"email": "with blanks in it"}, (401, "SignInNeeded")),
        ({"org": None}, (403, "RightMissing")),
        ({"org": ["acme"]}, (403, "RightMissing")),
        ({"kid": "unknown"}, (401, "SignInNeeded")),
        ({"key": "a secret that is long enough for its digest", "algorithm": "HS256"}, (401, "SignInNeeded")),
        ({"key": rsa.generate_private_key(public_exponent=65537, key_size=2048)}, (401, "SignInNeeded")),
    ],
)
async def test_a_providers_token_that_is_wrong_opens_nothing(
    issuer: Issuer, claims: dict[str, Any], expected: tuple[int, str]
) -> None:
    provider = Provider(settings(issuer), SystemClock())
    async with served(provider=provider) as desk, desk.client(issuer.token(**claims)) as dana:
        assert problem(await dana.get("/me")) == expected


async def test_a_key_that_was_changed_is_asked_for_and_an_unreachable_provider_is_told(
    issuer: Issuer,
) -> None:
    provider = Provider(settings(issuer), SystemClock())
    await provider.caller(issuer.token())
    issuer.key, issuer.kid = rsa.generate_private_key(public_exponent=65537, key_size=2048), "k2"
    with pytest.raises(SignInNeeded):
        await provider.caller(issuer.token())  # not asked again so soon
    provider._asked -= timedelta(minutes=1).total_seconds()
    caller, _ = await provider.caller(issuer.token())
    assert caller.who == "dana@example.com"
    away = Provider(settings(issuer).model_copy(update={"issuer": "http://127.0.0.1:9"}), SystemClock())
    async with served(provider=away) as desk, desk.client(issuer.token()) as dana:
        assert problem(await dana.get("/me")) == (503, "ServiceUnavailable")


async def test_a_provider_that_hangs_is_waited_for_once_and_asked_again_later(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)
        await reader.read()
        writer.close()

    asked: list[int] = []
    monkeypatch.setattr(oidc, "PATIENCE", 0.2)
    silent = await asyncio.start_server(hangs, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    provider = Provider(
        settings(issuer).model_copy(update={"jwks": f"http://127.0.0.1:{port}/keys"}), SystemClock()
    )
    said = await asyncio.gather(*(provider.caller(issuer.token()) for _ in range(8)), return_exceptions=True)
    assert [type(error) for error in said] == [ServiceUnavailable] * 8
    with pytest.raises(ServiceUnavailable):
        await provider.caller(issuer.token())
    assert len(asked) == 1
    silent.close()
    provider._settings = settings(issuer)  # it is well again
    provider._asked -= oidc.AGAIN
    assert (await provider.caller(issuer.token()))[0].who == "dana@example.com"
