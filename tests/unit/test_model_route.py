"""Which deployment is asked next: decided from the attempts on record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.core.attempts import Attempt
from turnout.models.route import CAUSES, Blocked, Hold, Send, Stop, next_move, not_before
from turnout.models.schema import Alias, Fallbacks

SECOND = 1_000_000
NOW = 1_000 * SECOND
LATE = NOW + 300 * SECOND


def alias(*names: str, **more) -> Alias:
    return Alias.model_validate({"deployments": list(names), **more})


def failed(
    deployment: str, error: str, *, again_in: float | None = 0.5, name: str = "main", why: str = "first"
) -> Attempt:
    again_at = None if again_in is None else NOW + int(again_in * SECOND)
    return Attempt(
        alias=name, deployment=deployment, why=why, at=NOW - SECOND, error=error, again_at=again_at
    )


def move(aliases, past=(), blocked=None, now=NOW, until=LATE, dice=0.0):
    return next_move(aliases, "main", past, blocked or {}, now, until, dice)


def test_the_first_deployment_that_is_free_is_asked():
    aliases = {"main": alias("a", "b")}
    assert move(aliases) == Send("main", "a", "first")
    assert move(aliases, blocked={"a": Blocked(LATE, "error")}) == Send("main", "b", "first")


def test_after_a_failure_another_deployment_is_asked_at_once_and_the_same_when_its_wait_is_over():
    aliases = {"main": alias("a", "b")}
    once = [failed("a", "ModelUnavailable")]
    assert move(aliases, once) == Send("main", "b", "next")
    twice = [*once, failed("b", "ModelUnavailable", again_in=0.7)]
    assert move(aliases, twice) == Hold(NOW + SECOND // 2)
    assert move(aliases, twice, now=NOW + SECOND // 2) == Send("main", "a", "again")


@pytest.mark.parametrize(
    ("fallbacks", "then"),
    [([], Stop()), (["spare"], Send("spare", "c", "fallback"))],
    ids=["none", "another"],
)
def test_of_an_alias_that_is_declared_no_more_nothing_is_left_to_ask(fallbacks, then):
    aliases = {"main": alias("a", fallbacks=Fallbacks(error=fallbacks)), "spare": alias("c")}
    past = [
        failed("a", "ModelUnavailable"),
        failed("b", "ModelUnavailable", name="old", why="fallback"),
    ]
    assert move(aliases, past) == then


def test_a_retry_after_is_waited_for_when_there_is_nothing_else():
    past = [failed("a", "ModelRateLimited", again_in=7)]
    assert move({"main": alias("a")}, past) == Hold(NOW + 7 * SECOND)
    assert move({"main": alias("a", longest_wait=5)}, past) == Stop(NOW + 7 * SECOND)
    assert move({"main": alias("a")}, past, until=NOW + 6 * SECOND) == Stop(NOW + 7 * SECOND)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("ModelUnavailable", "error"),
        ("ModelTimeout", "error"),
        ("AnswerBroken", "error"),
        ("CredentialsRefused", "error"),
        ("ModelNotFound", "error"),
        ("ModelRateLimited", "rate_limit"),
        ("ContextWindowExceeded", "context_window"),
        ("ContentFiltered", "content_filter"),
    ],
)
def test_each_kind_of_failure_has_its_fallback(error, cause):
    aliases = {
        "main": alias("a", retries=0, fallbacks={cause: ["spare"]}),
        "spare": alias("z"),
    }
    assert move(aliases, [failed("a", error)]) == Send("spare", "z", "fallback")
    other = next(name for name in Fallbacks.model_fields if name != cause)
    aliases["main"] = alias("a", retries=0, fallbacks={other: ["spare"]})
    assert isinstance(move(aliases, [failed("a", error)]), Stop)


def test_a_prompt_that_is_too_long_is_not_sent_to_the_same_alias_again():
    aliases = {"main": alias("a", "b", fallbacks={"context_window": ["long"]}), "long": alias("z")}
    assert move(aliases, [failed("a", "ContextWindowExceeded", again_in=None)]) == Send(
        "long", "z", "fallback"
    )


@pytest.mark.parametrize("error", ["ModelRequestRefused", "ModelFailed", "SettingsInvalid", "OutputInvalid"])
def test_a_wrong_request_is_given_up_at_once(error):
    aliases = {"main": alias("a", "b", fallbacks={"error": ["spare"]}), "spare": alias("z")}
    assert move(aliases, [failed("a", error)]) == Stop()


def test_a_deployment_that_refused_the_key_is_not_asked_again():
    past = [failed("a", "CredentialsRefused", again_in=None)]
    assert isinstance(move({"main": alias("a")}, past), Stop)
    assert move({"main": alias("a", "b")}, past) == Send("main", "b", "next")


def test_fallbacks_of_a_fallback_come_before_the_rest_of_the_first_ones():
    aliases = {
        "main": alias("a", retries=0, fallbacks={"error": ["one", "two"]}),
        "one": alias("b", retries=0, fallbacks={"error": ["deep", "main"]}),
        "two": alias("c", retries=0),
        "deep": alias("d", retries=0),
    }
    past = [failed("a", "ModelUnavailable")]
    seen = []
    while isinstance(found := move(aliases, past), Send):
        seen.append(found.alias)
        past.append(failed(found.deployment, "ModelUnavailable", name=found.alias))
    assert seen == ["one", "deep", "two"]


def test_what_cools_down_is_not_waited_for_when_a_fallback_is_free():
    aliases = {"main": alias("a", fallbacks={"error": ["spare"]}), "spare": alias("z")}
    cools = {"a": Blocked(NOW + 5 * SECOND, "error")}
    assert move(aliases, blocked=cools) == Send("spare", "z", "fallback")
    assert move({"main": alias("a")}, blocked=cools) == Hold(NOW + 5 * SECOND)
    full = {"a": Blocked(NOW + 5 * SECOND, "rate_limit")}
    assert move(aliases, blocked=full) == Hold(NOW + 5 * SECOND)
    assert move(aliases, blocked={"a": Blocked(NOW + 99 * SECOND, "rate_limit")}) == Stop(NOW + 99 * SECOND)


def test_weights_are_kept_over_many_throws():
    weighted = {
        "main": Alias.model_validate(
            {"deployments": [{"name": "a", "weight": 3}, {"name": "b", "weight": 1}]}
        )
    }
    thrown = [move(weighted, dice=n / 1000).deployment for n in range(1000)]
    assert (thrown.count("a"), thrown.count("b")) == (750, 250)


ERRORS = st.sampled_from([*(name for name in CAUSES if name), "ModelRequestRefused"])


@st.composite
def setups(draw):
    names = ["main", "two", "three"]
    aliases = {}
    for name in names:
        deployments = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
        weighted = draw(st.booleans())
        others = [other for other in names if other != name]
        aliases[name] = Alias.model_validate(
            {
                "deployments": [{"name": d, "weight": draw(st.integers(1, 5))} if weighted else d for d in deployments],
                "retries": draw(st.integers(0, 3)),
                "first_wait": draw(st.floats(0, 5)),
                "longest_wait": draw(st.floats(0, 20)),
                "fallbacks": {cause: draw(st.lists(st.sampled_from(others), unique=True)) for cause in Fallbacks.model_fields},
            }
        )  # fmt: skip
    return aliases


@given(setups(), st.data())
def test_whatever_fails_a_call_ends_keeps_every_wait_and_asks_no_more_often_than_declared(aliases, data):
    past: list[Attempt] = []
    now, until = NOW, NOW + 60 * SECOND
    limited: dict[str, Blocked] = {}
    for _ in range(500):
        found = next_move(aliases, "main", past, limited, now, until, data.draw(st.floats(0, 0.999)))
        if isinstance(found, Stop):
            break
        if isinstance(found, Hold):
            assert now < found.until < until
            assert found.until - now <= max(a.longest_wait for a in aliases.values()) * SECOND
            now = found.until
            continue
        assert found.deployment in [share.name for share in aliases[found.alias].deployments]
        assert (
            found.deployment not in limited or limited[found.deployment].until <= now
        )  # every Retry-After is kept
        mine = [a for a in past if a.alias == found.alias and a.deployment == found.deployment]
        assert not mine or (mine[-1].again_at is not None and mine[-1].again_at <= now)
        error = data.draw(ERRORS)
        after = data.draw(st.one_of(st.none(), st.floats(0, 30))) if error == "ModelRateLimited" else None
        attempt = Attempt(
            alias=found.alias,
            deployment=found.deployment,
            why=found.why,
            at=now,
            ms=data.draw(st.integers(0, 900)),
            error=error,
        )
        again_at = not_before(aliases[found.alias], attempt, past, after, data.draw(st.floats(0, 0.999)))
        past.append(
            Attempt(
                alias=found.alias,
                deployment=found.deployment,
                why=found.why,
                at=now,
                ms=attempt.ms,
                error=error,
                again_at=again_at,
            )
        )
        now += attempt.ms * 1_000
        if after is not None:
            assert again_at >= now + int(after * SECOND)
            limited[found.deployment] = Blocked(again_at, "rate_limit")
    else:
        pytest.fail("the call never ended")
    for name, terms in aliases.items():
        assert sum(a.alias == name for a in past) <= terms.retries + 1
    assert not [a for a in past[:-1] if a.error == "ModelRequestRefused"]
