"""Every route, tried by every role, and with another tenant's ids. A route that isn't in the tables fails the test."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from tests.api.conftest import Served, served
from tests.postgres import fresh_database

from turnout.api.server import make
from turnout.core.amounts import NOTHING, Amount
from turnout.core.budgets import ChargeRow, Label
from turnout.core.notices import Rules, Terms
from turnout.service.access.caller import ROLES
from turnout.testing.contract import everything

RIGHTS: dict[tuple[str, str], str] = {
    ("POST", "/runs"): "operate",
    ("GET", "/threads/{thread}/runs/{run}"): "view",
    ("POST", "/threads/{thread}/cancel"): "operate",
    ("POST", "/threads/{thread}/signals"): "operate",
    ("PUT", "/threads/{thread}/aside"): "operate",
    ("DELETE", "/threads/{thread}/aside"): "operate",
    ("POST", "/threads/{thread}/forks"): "operate",
    ("GET", "/threads"): "view",
    ("GET", "/threads/{thread}"): "view",
    ("GET", "/threads/{thread}/runs"): "view",
    ("GET", "/threads/{thread}/entries"): "view",
    ("GET", "/threads/{thread}/entries/{seq}"): "view",
    ("GET", "/threads/{thread}/view"): "view",
    ("GET", "/threads/{thread}/state"): "view",
    ("GET", "/threads/{thread}/explain"): "view",
    ("GET", "/threads/{thread}/events"): "view",
    ("GET", "/events"): "view",
    ("GET", "/reviews"): "view",
    ("GET", "/reviews/{review}"): "view",
    ("POST", "/reviews/{review}/decisions"): "decide",
    ("POST", "/threads/{thread}/replay"): "view",
    ("POST", "/threads/{thread}/whatif"): "view",
    ("POST", "/threads/{thread}/verify"): "view",
    ("GET", "/threads/{thread}/head"): "view",
    ("POST", "/verify"): "administer",
    ("GET", "/head"): "administer",
    ("GET", "/in-flight"): "administer",
    ("GET", "/graphs"): "view",
    ("GET", "/graphs/{graph}"): "view",
    ("GET", "/workers"): "view",
    ("GET", "/limits"): "view",
    ("PUT", "/limits/{kind}/{name}"): "administer",
    ("DELETE", "/limits/{kind}/{name}"): "administer",
    ("GET", "/schedules"): "view",
    ("GET", "/schedules/{name}"): "view",
    ("PUT", "/schedules/{name}"): "operate",
    ("DELETE", "/schedules/{name}"): "operate",
    ("POST", "/schedules/{name}/pause"): "operate",
    ("POST", "/schedules/{name}/resume"): "operate",
    ("GET", "/outbox"): "view",
    ("POST", "/outbox/resend"): "operate",
    ("POST", "/outbox/{notice}/resend"): "operate",
    ("GET", "/costs"): "view",
    ("GET", "/budgets"): "view",
    ("PUT", "/budgets/{name}"): "administer",
    ("DELETE", "/budgets/{name}"): "administer",
    ("GET", "/policies"): "view",
    ("POST", "/policies/check"): "view",
    ("POST", "/policies/backtest"): "operate",
    ("GET", "/tools"): "view",
    ("POST", "/tools"): "operate",
    ("GET", "/guards"): "view",
    ("GET", "/me"): "known",
    ("POST", "/session"): "anybody",
    ("DELETE", "/session"): "known",
    ("GET", "/tokens"): "administer",
    ("POST", "/tokens"): "administer",
    ("DELETE", "/tokens/{token}"): "administer",
}
"""What each route takes. `known`: a token that holds; `anybody`: nothing."""

RULES = {"files": {"candidate.cedar": "permit (principal, action, resource);"}}
HOUSE = ("/budgets", "/tools", "/guards", "/limits/{kind}/{name}")
"""What is for all tenants: who belongs to one has no part in it."""
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/runs"): {"graph": "refunds", "input": {"order": "x"}, "thread": "{thread}"},
    ("POST", "/threads/{thread}/cancel"): {},
    ("POST", "/threads/{thread}/signals"): {"name": "go"},
    ("PUT", "/threads/{thread}/aside"): {"reason": "test"},
    ("POST", "/threads/{thread}/forks"): {},
    ("POST", "/reviews/{review}/decisions"): {"decision": "approve"},
    ("POST", "/verify"): None,
    ("POST", "/threads/{thread}/verify"): None,
    ("PUT", "/limits/{kind}/{name}"): {"at_once": 7},
    ("PUT", "/schedules/{name}"): {"graph": "refunds", "input": {"order": "x"}, "cron": "@daily"},
    ("POST", "/threads/{thread}/whatif"): RULES,
    ("PUT", "/budgets/{name}"): {"per": "all", "calls": 7},
    ("POST", "/policies/check"): RULES,
    ("POST", "/policies/backtest"): RULES,
    ("POST", "/session"): {"token": "tt_nothing_at-all"},
    ("POST", "/tokens"): {"who": "new", "roles": ["viewer"]},
}
SECRET = "SECRET-OF-ACME"
REFUSED = {"urn:turnout:error:RightMissing", "urn:turnout:error:SignInNeeded"}


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield "sqlite://"
        return
    with fresh_database(schema=True) as url:
        yield url


@pytest.fixture
async def desk(store: str) -> AsyncIterator[Served]:
    async with served(store) as found:
        yield found


async def furnish(desk: Served, tenant: str) -> dict[str, str]:
    """A thread with a review, its notice, a schedule and a token of a tenant's; their ids."""
    order = SECRET if tenant == "acme" else "plain"
    desk.app.store.notices = lambda: Rules((Terms("hook"),))
    run = await desk.app.start(
        "refunds", {"order": order, "amount": 5}, thread=f"{tenant}-1", tenant=tenant, idempotency_key="k"
    )
    await desk.app.wait(run)
    await desk.app.schedule(f"{tenant}-nightly", "refunds", {"order": order}, cron="@daily", tenant=tenant)
    [review] = await desk.app.reviews(thread=f"{tenant}-1")
    await desk.app.store.book([spent(f"{tenant}-1", tenant)])
    secret = await desk.token(f"{order}-person", "viewer", tenant=tenant)
    return {
        "thread": f"{tenant}-1", "run": "1", "seq": "1", "review": review.id, "graph": "refunds", "kind": "graph",
        "name": f"{tenant}-nightly", "token": secret.split("_")[1],
        "notice": (await desk.app.outbox(tenant=tenant))[0].id,
    }  # fmt: skip


def spent(thread: str, tenant: str) -> ChargeRow:
    """A call of that tenant's in the ledger."""
    label = Label(
        thread=thread, run=1, step="ask.1", node=SECRET if tenant == "acme" else "ask", branch="", graph="refunds",
        tenant=tenant, root=f"{thread}/1", kind="model", name="m", model="m", deployment="", retry=False, at=1,
    )  # fmt: skip
    return ChargeRow(thread, 1, label, "settled", NOTHING, Amount(micros=7, calls=1), ())


async def ask(client: httpx.AsyncClient, route: tuple[str, str], ids: dict[str, str]) -> httpx.Response:
    body = BODIES.get(route)
    filled = json.loads(json.dumps(body).replace("{thread}", ids["thread"]))
    headers = {"If-Match": "*"} if "decisions" in route[1] else {}
    return await client.request(route[0], route[1].format(**ids), json=filled, headers=headers)


def test_every_route_is_in_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    document = make(None, None, None, None).openapi()  # type: ignore[arg-type]
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert routes == RIGHTS.keys()
    with_body = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
        if "requestBody" in said
    }
    assert with_body == BODIES.keys()


@pytest.mark.parametrize("role", [*ROLES, "nobody"])
async def test_every_route_is_open_to_the_roles_that_have_its_right_and_to_no_other(
    desk: Served, role: str
) -> None:
    ids = await furnish(desk, "acme")
    secret = await desk.token("person", role, review_roles=("finance",)) if role in ROLES else ""
    desk.site.live.close()  # streams end at once
    async with desk.client(secret) as client:
        for route, right in RIGHTS.items():
            said = await ask(client, route, ids)
            problem = (
                said.json().get("type")
                if said.headers.get("content-type") == "application/problem+json"
                else ""
            )
            able = right == "anybody" or (role in ROLES and (right == "known" or right in ROLES[role]))
            if right == "anybody":
                assert problem == "urn:turnout:error:SignInNeeded", route  # that token is nobody's
            elif able:
                assert problem not in REFUSED, (route, said.text)
                assert said.status_code < 500, (route, said.text)
            else:
                assert said.status_code == (403 if role in ROLES else 401), (route, said.text)
                assert problem in REFUSED, route


async def test_another_tenants_ids_lead_nowhere_and_change_nothing(desk: Served) -> None:
    theirs, own = await furnish(desk, "acme"), await furnish(desk, "bolt")
    secret = await desk.token("bolt-admin", "admin", review_roles=("finance",), tenant="bolt")
    desk.site.live.close()
    before = await acme(desk)
    async with desk.client(secret) as client:
        for route in RIGHTS:
            said = await ask(client, route, theirs)
            assert SECRET not in said.text, (route, said.text)
            assert said.status_code < 500, (route, said.text)
            if route == ("GET", "/policies") or route[1].startswith(HOUSE):
                assert said.status_code == 403, (route, said.text)
            elif "{" in route[1] and "{graph}" not in route[1]:
                taken = route == ("PUT", "/schedules/{name}")
                assert said.status_code == (422 if taken else 404), (route, said.status_code, said.text)
            if route == ("POST", "/runs"):
                assert said.status_code == 422, said.text
        assert await acme(desk) == before
        own_thread = await client.get(f"/threads/{own['thread']}")
        assert own_thread.json()["tenant"] == "bolt"
        assert [item["thread"] for item in (await client.get("/threads")).json()["items"]] == ["bolt-1"]
        assert (await client.get("/threads", params={"tenant": "acme"})).json()["items"] == []
        assert [one["what"] for one in (await client.get("/costs?by=thread")).json()] == ["bolt-1"]
        assert (await client.get("/costs?by=thread&tenant=acme")).json() == []


async def acme(desk: Served) -> Any:
    """All that is acme's."""
    within = desk.app.store.within("acme")
    found = await everything(within)
    charges = [await within.charges(row.thread) for row in await within.threads()]
    return found | {
        "charges": charges,
        "costs": await within.costs("thread"),
        "schedules": await within.schedules(),
        "tokens": await within.tokens(),
        "outbox": await within.outbox(),
    }
