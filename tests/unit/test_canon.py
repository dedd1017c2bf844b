"""Canonical JSON: one form for everything that is stored, hashed or compared."""

import dataclasses
import enum
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from turnout.core import canon
from turnout.errors import InputInvalid

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


class Colour(enum.Enum):
    RED = "red"


class Tags(BaseModel):
    names: set[str]
    inner: dict[str, frozenset[str]] = {}


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any


@given(JSON)
def test_plain_data_is_what_reading_its_canonical_bytes_gives(value: Any) -> None:
    plain = canon.plain(value)
    again = canon.decode(canon.encode(plain))
    assert json.dumps(again) == json.dumps(plain)  # also the order of keys, and 1 is not True
    assert plain == value


def test_the_same_content_has_the_same_bytes_in_whatever_order_it_was_made() -> None:
    assert canon.encode({"b": 1, "a": {"d": 1, "c": 2}}) == canon.encode({"a": {"c": 2, "d": 1}, "b": 1})
    assert canon.digest({"b": 1, "a": 2}) == canon.digest({"a": 2, "b": 1})
    assert canon.digest([1]) != canon.digest([True])


def test_plain_data_shares_nothing_with_what_it_was_made_from() -> None:
    given_value = {"a": [1, {"b": [2]}]}
    plain = canon.plain(given_value)
    given_value["a"].append(3)
    given_value["a"][1]["b"].append(4)
    assert plain == {"a": [1, {"b": [2]}]}
    copied = canon.copy(plain)
    copied["a"][1]["b"].append(5)
    assert plain == {"a": [1, {"b": [2]}]}


def test_models_dataclasses_enums_dates_and_decimals_become_plain() -> None:
    value = {"m": Tags(names={"x"}), "p": Pair(1, (2, 3)), "c": Colour.RED, "d": Decimal("1.10"),
             "t": datetime(2026, 1, 2, tzinfo=UTC)}  # fmt: skip
    assert canon.plain(value) == {
        "m": {"names": ["x"], "inner": {}},
        "p": {"left": 1, "right": [2, 3]},
        "c": "red",
        "d": "1.10",
        "t": "2026-01-02T00:00:00Z",
    }


@pytest.mark.parametrize(
    "value", [float("nan"), [float("inf")], {"a": {"b": [-float("inf")]}}, Pair(float("nan"), 1)]
)
def test_nan_and_infinity_are_refused_by_name(value: Any) -> None:
    with pytest.raises(InputInvalid, match=r"the score holds NaN or an infinite number"):
        canon.plain(value, "the score")


@pytest.mark.parametrize(
    "value", ["\ud800", ["a", "\udfff"], {"k": {"\ud800": 1}}, {"\ud800": 1}, Pair("\udc00", 1)]
)
def test_half_a_surrogate_pair_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InputInvalid, match=r"the note holds a string that is not valid Unicode"):
        canon.plain(value, "the note")
    with pytest.raises(InputInvalid, match="not valid Unicode"):
        canon.encode("\ud800")


@pytest.mark.parametrize("value", [b"\xff\xfe", {"f": object()}, open, [lambda: 1]])
def test_what_has_no_json_form_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InputInvalid, match="the thing can't be stored as JSON"):
        canon.plain(value, "the thing")


def test_a_loop_and_a_bottomless_value_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"a": deep}
    for value in (loop, deep):
        with pytest.raises(InputInvalid, match="can't be stored as JSON"):
            canon.plain(value)


@pytest.mark.parametrize(
    "value", [2**53 + 1, 2**64, -(2**200), 10**400, "ß漢字🙂\x00\u2028", 1e308, 5e-324, -0.0]
)
def test_big_numbers_and_any_text_keep_their_value(value: Any) -> None:
    for form in (value, [value], {"a": value}):
        assert canon.decode(canon.encode(canon.plain(form))) == form


def test_a_set_is_a_sorted_list_in_every_process() -> None:
    program = (
        "from turnout.core import canon; from tests.unit.test_canon import Tags, Pair;"
        "s = {'a','b','c','d','e'};"
        "print(canon.encode(canon.plain({'s': s, 'm': Tags(names=s, inner={'x': frozenset(s)}), 'p': Pair(s, [s])})))"
    )
    seen = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seen.add(done.stdout)
    assert len(seen) == 1


def test_text_of_an_error_can_always_be_stored() -> None:
    assert canon.text("plain") == "plain"
    assert canon.text("größe") == "größe"
    assert canon.text("file \udcff") == "file \\udcff"
