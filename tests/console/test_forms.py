"""Forms from schemas: every value comes back as it was when nothing is changed, and a change keeps its type."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from turnout.console import forms
from turnout.service.pages import schemas

NAMES = st.text(min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def sent(form: tuple[forms.Field, ...]) -> dict[str, str]:
    """What a browser sends when nothing is touched: it ends lines with CR LF, also in names, has none at all in fields of
    one line, puts something else for a zero character, leaves out boxes that aren't ticked, and has the first option of
    those of which none is chosen."""
    found: dict[str, str] = {}
    for field in form:
        if field.kind == "group":
            found |= sent(field.inner)
        elif field.kind != "boolean" or field.shown:
            options = ("", *field.choices) if field.nullable else field.choices
            chosen = field.kind != "choice" or field.shown in options
            text = (
                (field.shown if chosen else options[0])
                .replace("\r\n", "\n")
                .replace("\r", "\n")
                .replace("\0", "\ufffd")
            )
            if field.kind not in ("long", "lines", "json", "choice"):
                text = text.replace("\n", "")
            name = field.name.replace("\r", "\n").replace("\n", "\r\n").replace("\0", "\ufffd")
            assert name not in found
            found[name] = text.replace("\n", "\r\n")
    return found


@example({"note": "one\rtwo", "zero": "\0"})
@example({"a.b": 1, "a": {"b": 2}, "a%2Eb": 3})
@example({"one\ntwo": True, "": False})
@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_a_form_that_nobody_touched_says_what_it_said(value: dict[str, Any]) -> None:
    form = forms.fields(schemas.of_value(value), value)
    seen, back = forms.read(form, sent(form))
    assert forms.problems(seen) == []
    assert back == value
    assert [type(x) for x in back.values()] == [type(x) for x in value.values()]


@given(VALUES.filter(lambda value: not isinstance(value, dict)))
def test_so_does_the_form_of_a_value_that_is_no_object(value: Any) -> None:
    form = forms.fields(schemas.of_value(value), value)
    _, back = forms.read(form, sent(form))
    assert back == value


@pytest.mark.parametrize("was", ["c", "", None, 3, ["a"]])
@pytest.mark.parametrize(
    "schema", [{"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}, {"const": "a"}]
)
def test_a_value_that_is_none_of_the_choices_stays_when_nobody_touches_it(schema: Any, was: Any) -> None:
    form = forms.fields({"type": "object", "properties": {"mode": schema}}, {"mode": was})
    seen, back = forms.read(form, sent(form))
    assert forms.problems(seen) == []
    assert back == {"mode": was}
    if isinstance(was, str | None):
        assert forms.read(form, {"value.mode": "a"})[1] == {"mode": "a"}


def test_of_a_form_that_did_not_come_back_everything_stays_as_it_was() -> None:
    """Boxes too: a script sends a decision alone. One whose only box was unticked came back all the same."""
    value = {"urgent": True, "parts": {"paid": True}}
    form = forms.fields(schemas.of_value(value), value)
    assert forms.read(form, {"decision": "approve"}) == (form, value)
    unticked = {"urgent": False, "parts": {"paid": False}}
    assert forms.read(form, {forms.CAME: "yes"})[1] == unticked
    assert forms.read(form, {"value.urgent": "yes"})[1] == unticked | {"urgent": True}


def test_a_change_changes_its_field_and_no_other() -> None:
    value = {
        "a.b": 1,
        "a": {"b": 2, "c.d": 3},
        "a\nb": 4,
        "r": "x\ry",
        "items": [" one", "two"],
        "note": "  ",
    }
    form = forms.fields(schemas.of_value(value), value)
    by_key = {field.key: field.name for field in (*form, *form[1].inner)}
    assert forms.read(form, sent(form) | {by_key["a.b"]: "9"})[1] == value | {"a.b": 9}
    assert forms.read(form, sent(form) | {by_key["b"]: "9"})[1] == value | {"a": {"b": 9, "c.d": 3}}
    assert forms.read(form, sent(form) | {by_key["a\nb"]: "9"})[1] == value | {"a\nb": 9}
    changed = sent(form)[by_key["items"]].replace("two", "three")
    assert forms.read(form, sent(form) | {by_key["items"]: changed})[1] == value | {
        "items": [" one", "three"]
    }


class Part(BaseModel):
    net: int = 3
    names: list[str] = ["a"]


class State(BaseModel):
    amount: int = 5
    rate: float | None = None
    tone: Literal["kind", "plain"] | None = "kind"
    note: str = ""
    part: Part = Part()
    other: Part | None = None
    flags: dict[str, bool] = {}


@pytest.mark.parametrize(
    ("typed", "changed"),
    [
        ({"amount": "12"}, {"amount": 12}),
        ({"rate": "2.5"}, {"rate": 2.5}),
        ({"rate": "1e400"}, "too large"),
        ({"amount": "2.5"}, "whole number"),
        ({"amount": "Infinity"}, "must be a whole number, like 1200"),
        ({"amount": ""}, "must be a whole number, like 1200"),
        ({"rate": "many"}, "must be a number, like 1200 or 12.50"),
        ({"tone": "plain"}, {"tone": "plain"}),
        ({"tone": ""}, {"tone": None}),
        ({"tone": "rude"}, "one of kind, plain"),
        ({"note": "two\r\nlines"}, {"note": "two\nlines"}),
        ({"part.net": "9", "part.names": "x\r\n\r\n y "}, {"part": {"net": 9, "names": ["x", "y"]}}),
        ({"flags": '{"a": true}'}, {"flags": {"a": True}}),
        ({"flags": "{"}, "not JSON"),
        ({"flags": "[" * 100_000}, "nested too deeply"),
        ({"other": '{"net": 1}'}, {"other": {"net": 1}}),
    ],
)
def test_a_change_has_the_type_that_the_schema_says(typed: dict[str, str], changed: Any) -> None:
    state = State().model_dump(mode="json")
    form = forms.fields(State.model_json_schema(), state)
    seen, back = forms.read(form, sent(form) | {f"value.{name}": text for name, text in typed.items()})
    if isinstance(changed, str):
        assert changed in " ".join(forms.problems(seen))
        assert back == state  # as it was
    else:
        assert forms.problems(seen) == []
        assert back == state | changed


def test_a_field_that_was_nothing_takes_a_number_or_a_text() -> None:
    form = forms.fields(schemas.of_value({"euros": None}), {"euros": None})
    assert forms.read(form, {"value.euros": "200"})[1] == {"euros": 200}
    assert forms.read(form, {"value.euros": "12.5"})[1] == {"euros": 12.5}
    assert forms.read(form, {"value.euros": "some"})[1] == {"euros": "some"}
    assert forms.read(form, {"value.euros": ""})[1] == {"euros": None}
