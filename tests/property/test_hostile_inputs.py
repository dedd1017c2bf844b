"""Whatever text or value is handed to the service: it is kept and read back as it was given, or an error of the tree says
no, and nothing has changed. On both stores."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.api.desk import GRAPHS
from tests.postgres import fresh_database
from tests.property.hostile import contents, is_json, numbers, texts, values

from turnout import App, Budget, Paused
from turnout.core.reviews import Judgement
from turnout.errors import InputInvalid, JournalDamaged, StoreError, TurnoutError
from turnout.service.access import tokens
from turnout.service.access.door import Door
from turnout.settings import Settings
from turnout.testing import open_test_app

INPUT = {"order": "x"}
FUZZ = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
Do = Callable[[App, str, Any], Awaitable[Any]]
"""Hands the value in; the name in the middle is one that nothing has yet. What comes back is what is read back."""
NOTHING = object()
"""There is nothing to read back."""


@dataclass
class Bench:
    """An app that lives as long as the module's tests, on a loop of its own."""

    runner: asyncio.Runner
    app: App
    names: Iterator[int]

    def attempt(self, do: Do, value: Any) -> None:
        """Hand it in, and see."""
        self.runner.run(self._attempt(do, value))

    async def _attempt(self, do: Do, value: Any) -> None:
        name, before = f"n{next(self.names)}", contents(self.app.store)
        got, refused = NOTHING, None
        try:
            got = await do(self.app, name, value)
        except (StoreError, JournalDamaged):
            raise
        except TurnoutError as error:
            refused = error
        assert refused is None or contents(self.app.store) == before, refused
        if got is not NOTHING and (isinstance(value, str) or is_json(value)):
            assert got == value or (got != got and value != value)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        url = "sqlite://" if request.param == "sqlite" else stack.enter_context(fresh_database(schema=True))
        runner = stack.enter_context(asyncio.Runner())
        app = open_test_app(url, graphs=GRAPHS, settings=Settings(signing_key="17" * 32), work=False)
        runner.run(app.__aenter__())
        stack.callback(lambda: runner.run(app.close()))
        runner.run(app.start("waits", {}, thread="base"))
        runner.run(app.head("base"))  # the key of the heads is known from here on
        yield Bench(runner, app, count())
        assert runner.run(app.verify()).problems == []


async def first(app: App, thread: str) -> Any:
    return (await app.entries(thread))[0].body


async def last(app: App, thread: str) -> Any:
    return (await app.entries(thread))[-1].body


async def thread_name(app: App, name: str, value: Any) -> Any:
    run = await app.start("refunds", INPUT, thread=value)
    row = await app.store.thread(run.thread)
    assert row is not None
    return row.thread


async def tenant(app: App, name: str, value: Any) -> Any:
    await app.start("refunds", INPUT, thread=name, tenant=value)
    row = await app.store.thread(name)
    assert row is not None
    if value:
        assert name in [found.thread for found in await app.within(value).threads(limit=1_000)]
    return row.tenant


async def key(app: App, name: str, value: Any) -> Any:
    run = await app.start("refunds", {"order": name}, thread=name, idempotency_key=value)
    again = await app.start("refunds", {"order": name}, thread=name, idempotency_key=value)
    assert (again.thread, again.number, again.new) == (run.thread, run.number, False)
    return (await first(app, name)).key


async def graph(app: App, name: str, value: Any) -> Any:
    await app.start(value, INPUT, thread=name)
    return (await first(app, name)).graph


async def started_by(app: App, name: str, value: Any) -> Any:
    await app.start("refunds", INPUT, thread=name, by=value)
    return (await first(app, name)).by


async def traceparent(app: App, name: str, value: Any) -> Any:
    await app.start("refunds", INPUT, thread=name, traceparent=value)
    assert (await first(app, name)).traceparent in ("", value)
    return NOTHING


async def signal_name(app: App, name: str, value: Any) -> Any:
    await app.signal("base", value)
    return (await last(app, "base")).name


async def signal_by(app: App, name: str, value: Any) -> Any:
    await app.signal("base", name, by=value)
    return (await last(app, "base")).by


async def signal_key(app: App, name: str, value: Any) -> Any:
    await app.signal("base", "go", idempotency_key=value)
    assert await app.signal("base", "go", idempotency_key=value) is (value is None)
    return NOTHING


async def cancel_reason(app: App, name: str, value: Any) -> Any:
    await app.cancel("base", reason=value, by=value)
    return NOTHING  # a second request to cancel changes nothing


async def aside(app: App, name: str, value: Any) -> Any:
    await app.set_aside("base", value)
    row = await app.store.thread("base")
    assert row is not None
    await app.take_back("base")
    return row.aside


async def fork_name(app: App, name: str, value: Any) -> Any:
    made = await app.fork("base", name=value, by=name)
    return made.thread if value else NOTHING


async def fork_by(app: App, name: str, value: Any) -> Any:
    await app.fork("base", name=name, by=value)
    return (await last(app, name)).by


async def fork_key(app: App, name: str, value: Any) -> Any:
    made = await app.fork("base", at=1, idempotency_key=value)
    assert (await app.fork("base", at=1, idempotency_key=value)).thread == made.thread
    return NOTHING


async def schedule_name(app: App, name: str, value: Any) -> Any:
    made = await app.schedule(value, "refunds", INPUT, cron="@daily")
    assert made in await app.schedules()
    await app.drop_schedule(value)
    return made.name


async def schedule_by(app: App, name: str, value: Any) -> Any:
    await app.schedule(name, "refunds", INPUT, cron="@daily", by=value)
    return (await app.store.schedules(name=name))[0].by


async def schedule_tenant(app: App, name: str, value: Any) -> Any:
    await app.schedule(name, "refunds", INPUT, cron="@daily", tenant=value)
    return (await app.store.schedules(name=name))[0].tenant


async def cron(app: App, name: str, value: Any) -> Any:
    await app.schedule(name, "refunds", INPUT, cron=value)
    return NOTHING  # it is kept in its own form


async def timezone(app: App, name: str, value: Any) -> Any:
    await app.schedule(name, "refunds", INPUT, cron="@daily", timezone=value)
    return (await app.store.schedules(name=name))[0].zone


async def rules(app: App, name: str, value: Any) -> Any:
    await app.schedule(name, "refunds", INPUT, cron="@daily", missed=value, overlap=value)
    return (await app.store.schedules(name=name))[0].overlap


async def limit_name(app: App, name: str, value: Any) -> Any:
    await app.limit("tenant", value, 5)
    return next(row.name for row in await app.limits() if row.name == value)


async def limit_kind(app: App, name: str, value: Any) -> Any:
    await app.limit(value, name, 5)
    return next(row.kind for row in await app.limits() if row.name == name)


def budget(field: str) -> Do:
    async def put(app: App, name: str, value: Any) -> Any:
        said: dict[str, Any] = {"name": name, "per": "all", "calls": 3, "at_cap": "review", field: value}
        if field == "roles":
            said["roles"] = (value,)
        await app.put_budget(Budget(**said))
        found = {one.name: one for one in await app.store.budgets()}
        report = await app.budgets(said["name"])
        assert [one.name for one in report] == [said["name"]]
        got = getattr(found[said["name"]], field)
        assert await app.drop_budget(said["name"])
        return got[0] if field == "roles" else got

    return put


def token(field: str) -> Do:
    async def make(app: App, name: str, value: Any) -> Any:
        said: dict[str, Any] = {"who": name, "roles": ["viewer"], field: value}
        if field in ("roles", "review_roles"):
            said[field] = [value]
        made = await tokens.create(app.store, app.clock.now(), said.pop("who"), said.pop("roles"), **said)
        got = getattr(next(one for one in await tokens.listed(app.store) if one.id == made.token.id), field)
        return got[0] if field in ("roles", "review_roles") else got

    return make


TEXTS: dict[str, Do] = {
    "a thread's name": thread_name, "a tenant": tenant, "an idempotency key": key, "a graph's name": graph,
    "who starts": started_by, "a traceparent": traceparent, "a signal's name": signal_name, "who signals": signal_by,
    "a signal's key": signal_key, "why it is cancelled": cancel_reason, "why it is set aside": aside,
    "a fork's name": fork_name, "who forks": fork_by, "a fork's key": fork_key, "a schedule's name": schedule_name,
    "who schedules": schedule_by, "a schedule's tenant": schedule_tenant, "a cron": cron, "a time zone": timezone,
    "a schedule's rules": rules, "a limit's name": limit_name, "what a limit is of": limit_kind,
    **{f"a budget's {field}": budget(field) for field in ("name", "graph", "tenant", "per", "at_cap", "roles")},
    **{f"a token's {field}": token(field) for field in ("who", "roles", "review_roles", "tenant", "by")},
}  # fmt: skip


@pytest.mark.parametrize("what", TEXTS)
@FUZZ
@given(value=texts)
def test_a_text_is_kept_as_it_is_or_refused(bench: Bench, what: str, value: str) -> None:
    bench.attempt(TEXTS[what], value)


async def input_value(app: App, name: str, value: Any) -> Any:
    await app.start("refunds", {"order": value}, thread=name)
    return (await first(app, name)).input["order"]


async def input_names(app: App, name: str, value: Any) -> Any:
    more = value if isinstance(value, dict) else {value if isinstance(value, str) else "more": value}
    await app.start("refunds", {"order": "x", **more}, thread=name)
    return NOTHING


async def payload(app: App, name: str, value: Any) -> Any:
    await app.signal("base", "go", value)
    return (await last(app, "base")).payload


async def fork_update(app: App, name: str, value: Any) -> Any:
    await app.fork("base", name=name, update={"got": value})
    return NOTHING


async def schedule_input(app: App, name: str, value: Any) -> Any:
    return (await app.schedule(name, "refunds", {"order": value}, cron="@daily")).input["order"]


DATA: dict[str, Do] = {
    "an input": input_value, "an input's fields": input_names, "a signal's payload": payload, "a fork's update": fork_update,
    "a schedule's input": schedule_input,
}  # fmt: skip


@pytest.mark.parametrize("what", DATA)
@FUZZ
@given(value=values)
def test_data_are_kept_as_they_are_or_refused(bench: Bench, what: str, value: Any) -> None:
    bench.attempt(DATA[what], value)


def reads(app: App) -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """What looks for a text."""
    door = Door(app.store, app.clock, loopback=True)
    return {
        "search": lambda text: app.threads(search=text), "graph": lambda text: app.threads(graph=text),
        "status": lambda text: app.threads(status=text), "tenant": lambda text: app.threads(tenant=text),
        "after": lambda text: app.threads(after=text), "within": lambda text: app.within(text).threads(),
        "view": app.view, "explain": app.explain, "entries": app.entries, "replay": app.replay, "whatif": app.whatif,
        "wait": app.wait, "standing": app.standing, "head": lambda text: app.head(f"{text}-"), "verify": lambda text: app.verify(f"{text}-"),
        "reviews of": lambda text: app.reviews(thread=text), "reviews like": lambda text: app.reviews(status=text),
        "reviews for": lambda text: app.reviews(role=text), "reviews after": lambda text: app.reviews(after=text),
        "review": app.review, "schedules": app.schedules, "pause": app.pause_schedule, "drop": app.drop_schedule,
        "budgets": app.budgets, "drop budget": app.drop_budget, "rebuild": lambda text: app.rebuild_ledger(f"{text}-"),
        "costs by": app.costs, "costs of graph": lambda text: app.costs(graph=text),
        "costs of tenant": lambda text: app.costs(tenant=text), "costs of thread": lambda text: app.costs(thread=text),
        "outbox": lambda text: app.outbox(status=text), "outbox of": lambda text: app.outbox(tenant=text),
        "resend": lambda text: app.resend(f"{text}-"), "resend of": lambda text: app.resend(tenant=text),
        "signed by": lambda text: app.verify("base", signed_by=text), "head of": lambda text: app.verify(against={text: text}),
        "token": lambda text: door.sign_in(text), "token named": lambda text: door.sign_in(f"tt_{text}_{text}"),
        "session": door.session, "revoke": lambda text: tokens.revoke(app.store, app.clock.now(), text),
        "rules": lambda text: app.policy_check({"a.cedar": text}), "file": lambda text: app.policy_check({text: ""}),
        "whatif policy": lambda text: app.whatif("base", policy={"a.cedar": text}),
    }  # fmt: skip


@pytest.mark.parametrize("what", reads(open_test_app()))
@FUZZ
@given(value=texts)
def test_what_is_looked_for_changes_nothing_whatever_it_is(bench: Bench, what: str, value: str) -> None:
    if (what, value) == ("wait", "base/1"):
        return

    async def look(app: App, name: str, value: Any) -> Any:
        before = contents(app.store)
        await reads(app)[what](value)
        if (what, value) != ("drop", "base"):
            assert contents(app.store) == before
        return NOTHING

    bench.attempt(look, value)


def counted(app: App) -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """What takes a number and writes nothing."""
    return {
        "view": lambda n: app.view("base", at=n), "explain": lambda n: app.explain("base", at=n),
        "after": lambda n: app.entries("base", after=n), "upto": lambda n: app.entries("base", upto=n),
        "run": lambda n: app.standing(f"base/{n}"), "cancel": lambda n: app.cancel("base", run=n if n != 1 else 2),
        "outbox": lambda n: app.outbox(limit=n), "threads": lambda n: app.threads(limit=n),
        "fork": lambda n: app.fork("base", at=n if n > 10**6 else 0),
    }  # fmt: skip


@pytest.mark.parametrize("what", counted(open_test_app()))
@FUZZ
@given(value=numbers)
def test_a_number_that_leads_nowhere_changes_nothing(bench: Bench, what: str, value: int) -> None:
    async def look(app: App, name: str, value: Any) -> Any:
        before = contents(app.store)
        await counted(app)[what](value)
        assert contents(app.store) == before
        return NOTHING

    bench.attempt(look, value if what != "run" else abs(value) % 10**40)


async def priority(app: App, name: str, value: Any) -> Any:
    await app.start("refunds", INPUT, thread=name, priority=value)
    return (await first(app, name)).priority


async def at_once(app: App, name: str, value: Any) -> Any:
    await app.limit("graph", name, value)
    return next(row.at_once for row in await app.limits() if row.name == name)


NUMBERS: dict[str, Do] = {
    "a priority": priority, "a limit": at_once,
    **{f"a budget's {field}": budget(field) for field in ("micros", "tokens", "calls", "ms")},
}  # fmt: skip


@pytest.mark.parametrize("what", NUMBERS)
@FUZZ
@given(value=numbers)
def test_a_number_is_kept_as_it_is_or_refused(bench: Bench, what: str, value: int) -> None:
    bench.attempt(NUMBERS[what], value)


@pytest.mark.parametrize("wrong", [None, 5, b"x", ["x"], 1.5])
@pytest.mark.parametrize(
    "what",
    ["who starts", "a signal's name", "who signals", "why it is set aside", "who forks", "who schedules", "a token's by",
     *(f"a budget's {field}" for field in ("name", "graph", "tenant", "per", "at_cap", "roles"))],
)  # fmt: skip
def test_what_is_no_text_is_refused_where_it_would_be_written(bench: Bench, what: str, wrong: Any) -> None:
    async def put(app: App, name: str, value: Any) -> Any:
        with pytest.raises(InputInvalid):
            await TEXTS[what](app, name, value)
        raise InputInvalid("as it should be")

    bench.attempt(put, wrong)


async def of_thread(app: App, name: str) -> Any:
    """What there is of a thread; a worker may have it."""
    return await app.store.read(name), await app.store.reviews(thread=name), await app.store.keys(name)


@st.composite
def judgements(draw: st.DrawFn) -> Judgement:
    decision = draw(
        st.sampled_from(["approve", "edit", "reject", "respond", "landed", "did_not_happen", "no"]) | texts
    )
    payload = draw(
        values
        | st.fixed_dictionaries({"amount": values})
        | st.fixed_dictionaries({"amount": st.integers(0, 9)})
    )
    roles = draw(st.none() | st.just(("finance",)) | st.tuples(texts))
    shown = draw(st.none() | texts)
    by = draw(st.just("dana") | texts)
    return Judgement(decision, by, roles, payload, draw(texts), shown, draw(texts))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_decision_is_recorded_as_it_was_given_or_refused(kind: str) -> None:
    with contextlib.ExitStack() as stack:
        url = "sqlite://" if kind == "sqlite" else stack.enter_context(fresh_database(schema=True))
        runner = stack.enter_context(asyncio.Runner())
        app = open_test_app(url, graphs=GRAPHS)
        runner.run(app.__aenter__())
        stack.callback(lambda: runner.run(app.close()))
        names = count()

        async def decide(judgement: Judgement, key: str | None) -> None:
            name = f"r{next(names)}"
            outcome = await app.run("refunds", {"order": "x", "amount": 5}, thread=name)
            assert isinstance(outcome, Paused)
            before, refused = await of_thread(app, name), None
            try:
                found = await app.resolve(outcome.reviews[0].id, judgement, idempotency_key=key)
            except (StoreError, JournalDamaged):
                raise
            except TurnoutError as error:
                refused = error
            if refused is not None:
                assert await of_thread(app, name) == before, refused
                return
            body = next(one.body for one in await app.entries(name) if one.kind == "review.decided")
            assert (body.by, body.comment) == (judgement.by.strip(), judgement.comment)
            assert found.status == judgement.decision
            await app.wait(f"{name}/1")
            assert (await app.verify(name)).problems == []

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(judgement=judgements(), key=st.none() | texts)
        def decided(judgement: Judgement, key: str | None) -> None:
            runner.run(decide(judgement, key))

        decided()
