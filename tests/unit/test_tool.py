"""Tools: what they declare, and how arguments and results become plain data and back."""

import os
import sqlite3
import subprocess
import sys
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from turnout import tool
from turnout.core import canon
from turnout.errors import InputInvalid


class Money(BaseModel):
    amount: Decimal
    currency: Literal["EUR", "USD"] = "EUR"


class Speed(Enum):
    FAST = "fast"


@tool(effect="read")
async def quote(
    order: str, when: date = date(2026, 1, 1), tags: frozenset[str] = frozenset(), price: Money | None = None,
    speed: Speed = Speed.FAST, count: Annotated[int, Field(ge=1)] = 1, more: Any = None,
) -> tuple[Money, list[date]]:  # fmt: skip
    """Ask for a quote."""
    return Money(amount=Decimal("1.10")), [when]


def test_a_tool_is_still_the_function_that_it_was() -> None:
    @tool(effect="pure")
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8
    assert double.name == "double"


def test_arguments_become_plain_with_defaults_and_come_back_typed() -> None:
    plain = quote.check({"order": "A", "tags": {"b", "a"}, "price": {"amount": "2.50"}, "count": "3"})
    assert plain == {
        "order": "A", "when": "2026-01-01", "tags": ["a", "b"], "price": {"amount": "2.50", "currency": "EUR"},
        "speed": "fast", "count": 3, "more": None,
    }  # fmt: skip
    typed = quote.typed(plain)
    assert (typed["when"], typed["tags"]) == (date(2026, 1, 1), frozenset("ab"))
    assert typed["price"] == Money(amount=Decimal("2.50"))
    assert typed["speed"] is Speed.FAST
    assert quote.check(typed) == plain


def test_equal_arguments_are_the_same_however_they_are_given() -> None:
    assert quote.check({"order": "A"}) == quote.check({"count": 1, "order": "A", "when": "2026-01-01"})
    assert quote.check({"order": "A", "price": Money(amount=Decimal(1))}) == quote.check(
        {"order": "A", "price": {"currency": "EUR", "amount": 1}}
    )


def test_results_become_plain_and_come_back_typed() -> None:
    value = (Money(amount=Decimal("1.10")), [date(2026, 1, 2)])
    plain = quote.dump(value)
    assert plain == [{"amount": "1.10", "currency": "EUR"}, ["2026-01-02"]]
    assert quote.load(plain) == value


@pytest.mark.parametrize(
    "given",
    [{}, {"order": 5}, {"ordr": "A"}, {"order": "A", "count": 0}, {"order": "A", "extra": 1}, {"order": "\ud800"},
     {"order": "A", "more": float("nan")}, {"order": "A", "more": [float("inf")]}, {"order": "A", "more": "\ud800"},
     {"order": "A", "more": b"\xff"}, {"order": "A", "more": object()}, {"order": "A", "when": "soon"}],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused_with_the_tools_name(given: dict[str, Any]) -> None:
    with pytest.raises(InputInvalid, match="tool quote"):
        quote.check(given)


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, "\ud800", b"\xff", object()])
def test_a_result_that_json_cannot_hold_is_refused_with_the_tools_name(value: Any) -> None:
    @tool(effect="read")
    async def anything() -> Any: ...

    with pytest.raises(InputInvalid, match="tool anything: the result"):
        anything.dump(value)


def test_a_result_of_another_type_is_refused() -> None:
    with pytest.raises(InputInvalid, match="tool quote returned something that isn't its declared type"):
        quote.dump("text")


def test_sets_in_arguments_are_the_same_in_every_process() -> None:
    program = (
        "from tests.unit.test_tool import quote, Nested;"
        "print(quote.check({'order': 'A', 'tags': set('abcdefg'), 'more': {'x': {'s', 't', 'u'}, 'm': Nested(names=set('xyz'))}}))"
    )
    seen = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seen.add(done.stdout)
    assert len(seen) == 1


class Nested(BaseModel):
    names: set[str]


def test_a_strict_result_is_read_back_from_json() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        when: date
        pair: tuple[int, int]

    @tool(effect="read")
    async def get() -> Strict: ...

    value = Strict(when=date(2026, 1, 2), pair=(1, 2))
    assert get.load(get.dump(value)) == value


@pytest.mark.parametrize(
    "name", ["schema", "json", "copy", "dict", "validate", "model_dump", "construct", "_private"]
)
def test_a_parameter_may_have_any_name(name: str) -> None:
    """Names that Pydantic has a use for are common in APIs: schema, json, copy."""
    space: dict[str, Any] = {}
    exec(f"async def call({name}: str, n: int = 1) -> str:\n    return {name}", space)
    called = tool(effect="read")(space["call"])
    assert called.check({name: "x"}) == {name: "x", "n": 1}
    assert called.typed({name: "x", "n": 2}) == {name: "x", "n": 2}
    assert set(called.schema()["parameters"]["properties"]) == {name, "n"}
    with pytest.raises(InputInvalid, match=name):
        called.check({"n": 1})


def test_the_idempotency_key_is_not_an_argument() -> None:
    @tool
    async def send(to: str, idempotency_key: str) -> None: ...

    assert (send.effect, send.takes_key) == ("write", True)
    assert list(send.schema()["parameters"]["properties"]) == ["to"]
    with pytest.raises(InputInvalid, match="idempotency_key"):
        send.check({"to": "x", "idempotency_key": "mine"})


def test_declarations_that_make_no_sense_are_refused() -> None:
    def rest(*args: int) -> None: ...
    def keywords(**kwargs: int) -> None: ...
    def positional(a: int, /) -> None: ...
    def plain(a: int) -> None: ...

    for fn in (rest, keywords, positional):
        with pytest.raises(InputInvalid, match="give every argument a name"):
            tool(effect="read")(fn)
    with pytest.raises(InputInvalid, match="isn't one of 'pure', 'read', 'write'"):
        tool(effect="maybe")(plain)  # type: ignore[call-overload]
    with pytest.raises(InputInvalid, match="for effect='write'"):
        tool(effect="read", reconcile=plain)(plain)


def test_the_code_of_a_tool_is_what_it_declares() -> None:
    def one(x: int) -> int:
        return 1

    def two(x: int) -> int:
        return 2

    def three(x: str) -> int:
        return 3

    first, second, third = (tool(effect="read", name="t")(fn) for fn in (one, two, three))
    assert first.code() == second.code() != third.code()
    assert first.code() != tool(effect="pure", name="t")(one).code()


def test_the_transaction_of_a_transactional_tool_is_not_an_argument() -> None:
    @tool(effect="write", transactional=True)
    async def book(order: str, transaction: sqlite3.Connection, idempotency_key: str) -> None: ...

    assert (book.transactional, book.takes_key) == (True, True)
    assert list(book.schema()["parameters"]["properties"]) == ["order"]
    assert book.check({"order": "A"}) == {"order": "A"}
    with pytest.raises(InputInvalid, match="transaction"):
        book.check({"order": "A", "transaction": "mine"})


def test_declaring_a_tool_transactional_changes_its_code_and_nobody_elses() -> None:
    def plain(x: int) -> int:
        return x

    def booked(x: int, transaction: Any) -> int:
        return x

    usual = tool(effect="write", name="t")(plain)
    assert usual.code() != tool(effect="write", name="t", transactional=True)(booked).code()
    assert usual.code() == '["t","write",false,false,' + canon.encode(usual.schema()).decode() + "]"


def test_transactional_declarations_that_make_no_sense_are_refused() -> None:
    def plain(a: int) -> None: ...
    def booked(a: int, transaction: Any) -> None: ...
    def look(a: int) -> None: ...

    for wrong, fn, says in (
        ({"effect": "read", "transactional": True}, booked, "transactional=True is for effect='write'"),
        ({"effect": "pure", "transactional": True}, booked, "transactional=True is for effect='write'"),
        ({"transactional": True}, plain, "add the parameter"),
        ({"effect": "write"}, booked, "rename it, or declare the tool transactional"),
        ({"effect": "read"}, booked, "rename it, or declare the tool transactional"),
        ({"transactional": True, "reconcile": look}, booked, "nothing to say of a transactional write"),
        ({"transactional": True, "did_not_happen": (KeyError,)}, booked, "any error undoes it; leave them out"),
    ):  # fmt: skip
        with pytest.raises(InputInvalid, match=says):
            tool(**wrong)(fn)  # type: ignore[call-overload]
