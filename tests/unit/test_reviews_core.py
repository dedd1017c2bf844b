"""Reviews: who may decide what, and when a review is closed. No clock, no store."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from turnout import approve, did_not_happen, edit, landed, reject, respond
from turnout.core.reviews import Judgement, digest_of, edited, judge, overdue
from turnout.core.view import Opinion, ReviewView
from turnout.errors import DecisionNotAllowed, InputInvalid, ReviewStale


def review(**changes: Any) -> ReviewView:
    base = ReviewView(
        id="rev-1", run=1, step="ask.1", slot="k.0", name="Pay?", purpose="ask", payload={"amount": 5, "to": "A", "note": None},
        allowed=["approve", "edit", "reject", "respond"], roles=[], quorum=1, separate=False, requester="req", shown="d1",
        asked_at=10, seq=3,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def test_each_decision_closes_the_review_with_its_own_word() -> None:
    for judgement, outcome in ((approve(by="a"), "approve"), (reject(by="a"), "reject"), (respond("why?", by="a"), "respond"),
                             (edit({"amount": 4}, by="a"), "edit")):  # fmt: skip
        assert judge(review(), judgement).outcome == outcome
    for judgement, outcome in (
        (landed({"id": 1}, by="a"), "landed"),
        (did_not_happen(by="a"), "did_not_happen"),
    ):
        decided = judge(review(allowed=["landed", "did_not_happen"], purpose="outcome"), judgement)
        assert decided.outcome == outcome
    assert judge(review(allowed=["landed"]), landed({"id": 1}, by="a")).payload == {"id": 1}


def test_a_decision_needs_a_name_and_must_be_among_the_allowed() -> None:
    for name in ("", "  "):
        with pytest.raises(InputInvalid, match="needs a name"):
            judge(review(), approve(by=name))
    with pytest.raises(DecisionNotAllowed, match="allowed: approve"):
        judge(review(allowed=["approve"]), reject(by="a"))
    with pytest.raises(DecisionNotAllowed):
        judge(review(), landed(by="a"))


def test_a_decision_on_what_is_no_longer_shown_is_stale() -> None:
    assert judge(review(), approve(by="a", shown="d1")).shown == "d1"
    with pytest.raises(ReviewStale, match=r"d0.*d1"):
        judge(review(), approve(by="a", shown="d0"))


def test_roles_are_checked_when_they_are_stated() -> None:
    asked = review(roles=["finance", "legal"])
    judge(asked, approve(by="a", roles=["legal", "x"]))
    judge(asked, approve(by="a"))  # the calling program vouches
    for roles in ([], ["sales"]):
        with pytest.raises(DecisionNotAllowed, match="is for finance or legal"):
            judge(asked, approve(by="a", roles=roles))


def test_who_asked_cannot_decide_when_that_is_to_be_separate() -> None:
    with pytest.raises(DecisionNotAllowed, match="can't decide on it"):
        judge(review(separate=True), approve(by="req"))
    with pytest.raises(DecisionNotAllowed, match="made the request"):  # nobody is another with a space
        judge(review(separate=True, requester="req "), approve(by=" req"))
    judge(review(separate=True), approve(by="other"))
    judge(review(separate=False), approve(by="req"))


def test_a_quorum_wants_different_people_and_one_no_is_enough() -> None:
    asked = review(quorum=3)
    assert judge(asked, approve(by="a")).outcome == ""
    asked.opinions.append(Opinion("a", "approve"))
    with pytest.raises(DecisionNotAllowed, match="2 more of 3"):
        judge(asked, approve(by="a"))
    assert judge(asked, approve(by="b")).outcome == ""
    assert judge(asked, reject(by="b")).outcome == "reject"
    asked.opinions.append(Opinion("b", "approve"))
    assert judge(asked, approve(by="c")).outcome == "approve"


def test_an_edit_starts_the_count_again() -> None:
    asked = review(quorum=2, opinions=[Opinion("a", "approve")])
    decided = judge(asked, edit({"amount": 4}, by="b"))
    assert decided.outcome == ""
    assert decided.shown != asked.shown
    alone = judge(review(quorum=1), edit({"amount": 4}, by="b"))
    assert alone.payload == {"amount": 4, "to": "A", "note": None}


@pytest.mark.parametrize(
    ("change", "words"),
    [({"amnt": 4}, "'amnt' is not in the payload"), ({"amount": "4"}, "is a number, the edit is text"), (5, "must be an object"),
     ({"amount": True}, "is a number, the edit is true/false"), ({"amount": float("nan")}, "NaN"), ({"to": "\ud800"}, "Unicode")],
)  # fmt: skip
def test_an_edit_that_does_not_fit_the_payload_is_refused(change: Any, words: str) -> None:
    with pytest.raises(InputInvalid, match=words):
        edited(review(), change)


def test_an_edit_may_fill_or_empty_a_field_and_change_plain_values() -> None:
    assert edited(review(), {"note": "x", "to": None, "amount": 1.5}) == {
        "amount": 1.5,
        "to": None,
        "note": "x",
    }
    assert edited(review(payload=None), {"any": 1}) == {"any": 1}
    assert edited(review(payload="old"), "new") == "new"
    assert edited(review(payload=5), 5.5) == 5.5
    with pytest.raises(InputInvalid, match="the payload is text, the edit is a number"):
        edited(review(payload="old"), 5)


def test_the_digest_is_of_everything_that_is_shown() -> None:
    base = ("Pay?", {"a": 1, "b": 2}, "ask", "k.0")
    assert digest_of(*base) == digest_of("Pay?", {"b": 2, "a": 1}, "ask", "k.0")
    others = [("Pay!", base[1], "ask", "k.0"), ("Pay?", {"a": 1}, "ask", "k.0"), ("Pay?", base[1], "outcome", "k.0"),
              ("Pay?", base[1], "ask", "k.1")]  # fmt: skip
    assert digest_of(*base) not in {digest_of(*other) for other in others}


def test_a_review_is_overdue_from_its_due_time_on() -> None:
    assert not overdue(review(), 10**18)
    assert [overdue(review(due_at=100), now) for now in (99, 100, 101)] == [False, True, True]


def test_a_verdict_can_be_repeated_with_what_was_shown() -> None:
    judgement = approve(by="a", roles=["x"], comment="fine")
    assert judgement == Judgement("approve", "a", ("x",), None, "fine", None)
    assert replace(judgement, shown="d").shown == "d"
