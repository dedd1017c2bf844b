"""The outbox as the caller of a tenant has it: its own notices alone, on every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.stores import ENGINES, Stores, clock_for
from tests.notify.desk import QUICK, refunds, toml
from tests.notify.receivers import SECRET

from turnout import approve
from turnout.errors import StoreUnavailable, UnknownNotice
from turnout.testing import open_test_app


@pytest.fixture(params=ENGINES)
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    made = Stores(request.param)
    yield made
    made.close()


async def test_a_tenant_sees_and_resends_its_own_notices_and_its_decisions_are_told(
    tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    path = toml(
        tmp_path,
        '[notify.hook]\nwebhook = "http://127.0.0.1:1/"\nsecret_env = "HOOK_SECRET"\n'
        'events = ["review.requested", "review.closed", "thread.set_aside"]\nattempts = 1\n',
    )
    url = stores.fresh(tmp_path)
    async with open_test_app(
        url, graphs=[refunds()], settings=QUICK, config=path, clock=clock_for(url)
    ) as app:
        await app.run("refunds", {"order": "1"}, thread="a", tenant="acme")
        await app.run("refunds", {"order": "2"}, thread="b", tenant="bell")
        acme = app.within("acme")
        assert {row.thread for row in await acme.outbox()} == {"a"}
        [review] = await acme.reviews()
        await acme.resolve(review, approve(by="dana"))
        await acme.set_aside("a", "it rings")
        assert {row.event for row in await acme.outbox()} == {
            "review.requested",
            "review.closed",
            "thread.set_aside",
        }
        others = await app.outbox(tenant="bell")
        with pytest.raises(UnknownNotice):
            await acme.resend(others[0].id)
        await acme.resend()
        with pytest.raises(StoreUnavailable):
            await acme.store.claim_outbox("w", "hook", 0, 1, 1)
        with pytest.raises(StoreUnavailable):
            await acme.store.forget_outbox(0)
