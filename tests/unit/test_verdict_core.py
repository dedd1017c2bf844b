"""Verdicts: how rules add up."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from turnout.core.verdict import (
    ALLOW,
    DENY,
    REVIEW,
    Approval,
    Rule,
    Terms,
    because,
    combine,
    hour,
    merged,
    weekday,
)
from turnout.ports.clock import micros

plain, finance, legal = (
    Rule("plain", True),
    Rule("f", True, terms=Terms(["finance"])),
    Rule("l", True, terms=Terms(["legal"])),
)
forbid = Rule("no", False, "not at night")


def test_deny_beats_review_and_review_beats_allow() -> None:
    assert combine([plain], [], "d").decision == ALLOW
    assert combine([plain, finance], [], "d").decision == REVIEW
    said = combine([plain, finance, forbid], [], "d")
    assert (said.decision, said.policies, said.reason) == (DENY, ["no"], "not at night")


def test_what_no_rule_allows_is_denied() -> None:
    said = combine([], [], "d")
    assert (said.decision, said.policies, said.reason) == (DENY, [], "no rule allows it")


def test_an_evaluation_error_denies_and_is_shown_whatever_else_allows() -> None:
    said = combine([plain], ["`big`: there is no amount"], "d")
    assert said.decision == DENY
    assert "there is no amount" in because(said)


def test_reviews_of_one_circle_are_one_and_those_of_others_are_asked_one_after_the_other() -> None:
    demands = [
        Terms(["finance"], 1, "a", due=9, holds=5),
        Terms(["legal"]),
        Terms(["finance"], 2, "b", holds=7, separate=True),
    ]
    assert merged(demands) == [Terms(["finance"], 2, "a; b", due=9, holds=5, separate=True), Terms(["legal"])]
    assert [t.roles for t in combine([finance, legal], [], "d").reviews] == [["finance"], ["legal"]]


def test_a_yes_of_a_smaller_circle_counts_for_a_wider_one_and_never_the_other_way() -> None:
    yes = Approval("r", {}, "d", 0, by=["dana"], roles=["finance"])
    assert yes.meets(Terms(["finance", "legal"]), "")
    assert yes.meets(Terms([]), "")
    assert not yes.meets(Terms(["legal"]), "")
    assert not yes.meets(Terms(["finance"], 2), "")
    assert not yes.meets(Terms(["finance"], separate=True), "dana")
    assert not Approval("r", {}, "d", 0, by=["dana"]).meets(Terms(["finance"]), "")


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_hour_and_weekday_are_those_of_the_calendar(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    assert (hour(micros(moment)), weekday(micros(moment))) == (moment.hour, moment.isoweekday())


terms = st.builds(Terms, st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True), st.integers(1, 3))
rules = st.builds(Rule, st.text("xyz", min_size=1), st.booleans(), terms=st.none() | terms)


@given(st.lists(rules), st.lists(rules))
def test_more_rules_that_apply_never_turn_a_no_into_a_yes_nor_drop_a_review(
    some: list[Rule], more: list[Rule]
) -> None:
    before, after = combine(some, [], "d"), combine([*some, *more], [], "d")
    if any(not rule.permit for rule in some):
        assert after.decision == DENY
    if before.decision == REVIEW and after.decision == REVIEW:
        for wanted in before.reviews:
            assert any(t.roles == wanted.roles and t.quorum >= wanted.quorum for t in after.reviews)
    assert (after.decision == ALLOW) <= all(rule.permit and rule.terms is None for rule in [*some, *more])
