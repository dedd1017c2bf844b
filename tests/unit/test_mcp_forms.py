"""The form of a tool with JSON schemas: what is sent, what is said of what doesn't fit, and which schemas can't be used."""

import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.rules import folder

from turnout.core import canon
from turnout.core.verdict import Caller, Question, Resource
from turnout.errors import InputInvalid, SettingsInvalid
from turnout.policy.cedar import open_policy
from turnout.tools.forms import SchemaForm
from turnout.tools.numbers import settled
from turnout.tools.pins import Pin


def form(schema: Any, output: Any = None) -> SchemaForm:
    return SchemaForm.of(Pin("pay", "", "", schema, output, {}))


def arguments(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


WHOLE, POINT = {"type": "integer"}, {"type": "number"}


@pytest.mark.parametrize(
    ("schema", "given", "meant"),
    [
        (WHOLE, 666.0, 666),
        (POINT, 5, 5.0),
        (POINT, 5.5, 5.5),
        (POINT, 2**60 + 1, 2**60 + 1),
        (POINT, True, None),
        ({"type": ["number", "null"]}, 5, 5.0),
        ({"type": ["integer", "number"]}, 5.0, 5),
        ({}, 666.0, 666),
        ({"enum": [666]}, 666.0, 666),
        ({"type": "array", "items": POINT}, [1, 2.5], [1.0, 2.5]),
        ({"type": "array", "prefixItems": [WHOLE], "items": POINT}, [1.0, 2], [1, 2.0]),
        ({"type": "array", "prefixItems": [WHOLE, POINT], "items": WHOLE}, [1.0, 2, 3.0, 4.0], [1, 2.0, 3, 4]),
        ({"$ref": "#/$defs/cents"}, 666.0, 666),
        ({"allOf": [{"$ref": "#/$defs/rate"}]}, 2, 2.0),
        ({"anyOf": [WHOLE, {"type": "string"}]}, 666.0, 666),
        ({"$ref": "#/$defs/tree"}, {"n": 1.0, "more": [{"n": 2.0, "rate": 3}]}, {"n": 1, "more": [{"n": 2, "rate": 3.0}]}),
        ({"type": "object", "additionalProperties": POINT}, {"a": 1}, {"a": 1.0}),
        ({"type": "object", "patternProperties": {"^n_": WHOLE}}, {"n_a": 1.0}, {"n_a": 1}),
    ],
)  # fmt: skip
def test_numbers_are_as_the_schema_means_them(schema: Any, given: Any, meant: Any) -> None:
    tree = arguments(n=WHOLE, rate=POINT, more={"type": "array", "items": {"$ref": "#/$defs/tree"}})
    whole = {**arguments(a=schema), "$defs": {"cents": WHOLE, "rate": POINT, "tree": tree}}
    if meant is None:
        with pytest.raises(InputInvalid):
            form(whole).check("pay", {"a": given})
    else:
        assert canon.encode(form(whole).check("pay", {"a": given})) == canon.encode({"a": meant})


@pytest.mark.parametrize(
    "given",
    [
        [{"v": 1} for _ in range(2_000)],
        {f"n{at}": [{"v": 1}] for at in range(2_000)},
        [[{"v": 1}] for _ in range(2_000)],
    ],
)
def test_many_numbers_under_many_alternatives_are_settled_at_once(given: Any) -> None:
    ways = {f"d{at}": arguments(v=POINT) for at in range(300)}
    one = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in ways]}
    many = {"anyOf": [one, {"type": "array", "items": one}]}
    schema = {"$defs": ways, "type": ["array", "object"], "items": many, "additionalProperties": many}
    begun = time.process_time()
    assert canon.encode(settled(schema, given)) == canon.encode(given).replace(b":1}", b":1.0}")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("schema", "given", "when"),
    [
        (WHOLE, 666.0, "context.args.amount == 666"),
        (POINT, 5, 'context.args.amount.lessThan(decimal("100.0"))'),
    ],
)
def test_a_rule_sees_a_number_as_the_schema_of_its_tool_says(
    tmp_path: Path, schema: Any, given: Any, when: str
) -> None:
    policy = open_policy(folder(tmp_path, f"permit(principal, action, resource) when {{ {when} }};"))
    args = form(arguments(amount=schema)).check("pay", {"amount": given})
    asked = Question(Caller("g", "n"), Resource("tool", "pay", "write"), args)
    assert (policy.decide(asked).decision, policy.decide(asked).errors) == ("allow", [])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (POINT, 'amount: doesn\'t fit {"type":"number"}'),
        ({"enum": ["a", "b"]}, 'amount: doesn\'t fit {"enum":["a","b"]}'),
        ({"anyOf": [WHOLE, {"const": "x"}]}, "amount: doesn't fit {"),
        ({"not": {"type": "string"}}, 'amount: doesn\'t fit {"not":{"type":"string"}}'),
        (False, "something is there that may not be"),
    ],
)
def test_what_does_not_fit_is_told_without_its_value(schema: Any, said: str) -> None:
    with pytest.raises(InputInvalid) as told:
        form(arguments(amount=schema)).check("pay", {"amount": "AKIAABCDEFGHIJKLMNOP"})
    assert said in str(told.value)
    assert "AKIA" not in str(told.value)
    with pytest.raises(InputInvalid) as told:
        form(arguments(), arguments(amount=schema)).dump("pay", {"amount": "AKIAABCDEFGHIJKLMNOP"})
    assert "AKIA" not in str(told.value)


SLOW = r"^(\w+\s?)*$"


@pytest.mark.parametrize("kind", [{}, {"$schema": "https://json-schema.org/draft/2020-12/schema"}])
def test_an_expression_that_may_take_for_ever_is_not_tried(kind: dict[str, str]) -> None:
    text = {"type": "string", "pattern": SLOW}
    output = {**arguments(r=text, more={"type": "array", "items": {"$ref": "#"}}), **kind}
    begun = time.perf_counter()
    assert form(arguments(), output).dump("pay", {"r": "a" * 40 + "!", "more": [{"r": "a" * 40 + "!"}]})
    assert form(arguments(r=text)).check("pay", {"r": "a" * 40 + "!"})
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("expression", ["^[a-z]{2,40}$", r"^[^@]+@[^@]+\.[a-z]+$", "^a*$"])
def test_an_expression_that_comes_to_an_end_is_tried(expression: str) -> None:
    checked = form(arguments(r={"type": "array", "items": {"type": "string", "pattern": expression}}))
    with pytest.raises(InputInvalid, match="pattern"):
        checked.check("pay", {"r": ["B"]})
    with pytest.raises(InputInvalid, match="pattern"):
        checked.check("pay", {"r": ["B"]})


def test_expressions_that_are_slow_together_are_not_tried_to_the_end() -> None:
    quick = form(arguments(), arguments(r={"type": "array", "items": {"pattern": "^a*a*b$"}}))
    begun = time.perf_counter()
    with pytest.raises(InputInvalid, match="pattern"):  # by the first that were tried
        quick.dump("pay", {"r": ["a" * 3_000] * 200 + ["a" * 200_000]})
    assert time.perf_counter() - begun < 10


@pytest.mark.parametrize(
    "expression", [r"(?m)^[\s\S]*[\s\S]*x", r"(?m:^[\s\S]*)[\s\S]*x", r"(?m:^)[\s\S]*[\s\S]*x"]
)
def test_an_expression_that_begins_at_every_line_is_not_tried_when_there_are_many(expression: str) -> None:
    begun = time.process_time()
    assert form(arguments(r={"pattern": expression})).check("pay", {"r": "\n" * 2_500})
    assert time.process_time() - begun < 2


def test_an_expression_for_names_that_may_take_for_ever_can_not_be_used() -> None:
    with pytest.raises(SettingsInvalid, match="may take very long"):
        form({"type": "object", "patternProperties": {SLOW: WHOLE}})
    quick = form(arguments(), {"type": "object", "patternProperties": {"^a*a*b": WHOLE}})
    with pytest.raises(InputInvalid, match="too long"):
        quick.dump("pay", {"a" * 100_000: 1})


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "("},
        {"patternProperties": {"(": {}}},
        {"pattern": "a{99999999999999999999}"},
        {"$schema": 5},
        {"$schema": "http://["},
        {"x-more": {"patternProperties": {"(": {}}}},
    ],
)
def test_an_expression_or_a_kind_that_is_none_can_not_be_used(schema: Any) -> None:
    with pytest.raises(SettingsInvalid, match="its schema is none"):
        form(arguments(r=schema))
    with pytest.raises(SettingsInvalid, match="its schema is none"):
        form({"type": "object", **schema})


OLDER, NEWEST = "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"


def test_a_schema_of_another_kind_within_a_schema_can_not_be_used() -> None:
    inner = {"$schema": OLDER, "type": "string", "pattern": SLOW}
    with pytest.raises(SettingsInvalid, match="another kind"):
        form(arguments(r=inner))
    assert form(arguments(**{"$schema": {"type": "string"}})).names() == {"$schema"}


@pytest.mark.parametrize(
    ("outer", "inner"),
    [({"$schema": OLDER}, OLDER), ({"$schema": NEWEST}, NEWEST), ({}, NEWEST), ({}, "x:y")],
)
def test_a_schema_of_the_same_kind_within_a_schema_is_a_part_of_it(outer: dict[str, str], inner: str) -> None:
    text = {"$schema": inner, "type": "string", "pattern": SLOW}
    begun = time.process_time()
    of_both = form(
        {**outer, **arguments(r=text)}, {**outer, **arguments(r=text, more={"enum": [{"$schema": "x"}]})}
    )
    assert of_both.check("pay", {"r": "a" * 40 + "!"})
    assert of_both.dump("pay", {"r": "a" * 40 + "!", "more": {"$schema": "x"}})
    assert time.process_time() - begun < 5
    with pytest.raises(InputInvalid, match="type"):
        of_both.check("pay", {"r": 1})


def test_an_argument_may_be_named_like_a_keyword() -> None:
    needs = {**arguments(**{"$schema": {}, "enum": POINT}), "dependentRequired": {"$schema": ["r"]}}
    with pytest.raises(InputInvalid, match="dependency"):
        form(needs).check("pay", {"$schema": "x"})
    with pytest.raises(InputInvalid, match="number"):
        form(needs).check("pay", {"enum": "x"})


def test_arguments_are_checked_by_the_kind_that_their_schema_names() -> None:
    pair = {"type": "array", "items": [WHOLE, {"type": "string"}]}  # what newer kinds call prefixItems
    older = form({"$schema": OLDER, **arguments(r=pair)})
    assert older.check("pay", {"r": [1.0, "a"]}) == {"r": [1, "a"]}
    with pytest.raises(InputInvalid, match="doesn't fit"):
        older.check("pay", {"r": ["a", 1]})
    assert "$schema" not in older.parameters()


@pytest.mark.parametrize("keyword", ["default", "examples", "enum", "const"])
def test_data_in_a_schema_may_look_like_a_schema(keyword: str) -> None:
    data = {"$schema": OLDER, "$ref": "http://elsewhere", "patternProperties": {"(": {}}}
    said = [data] if keyword in ("examples", "enum") else data
    assert form(arguments(r={keyword: said})).check("pay", {"r": data}) == {"r": data}
    with pytest.raises(SettingsInvalid, match="none"):
        form(arguments(**{keyword: data | {"$ref": "#"}}))  # a property of that name


@pytest.mark.parametrize(
    "ref", ["#/$defs/a/default", "#/$defs/a/d%65fault/x", "#/$defs/a/enum/0", "#/properties"]
)
def test_a_reference_to_what_is_no_schema_can_not_be_used(ref: str) -> None:
    with pytest.raises(SettingsInvalid, match="where no schema stands"):
        form({**arguments(r={"$ref": ref}), "$defs": {"a": {"default": {"patternProperties": {SLOW: {}}}}}})
    named = arguments(default={"$ref": "#/$defs/enum"}, x={"$ref": "#/properties/default"})
    assert form({**named, "$defs": {"enum": WHOLE}}).check("pay", {"x": 1.0}) == {"x": 1}


def test_an_expression_that_is_none_where_no_keyword_leads_is_told_when_it_is_met() -> None:
    with pytest.raises(InputInvalid, match="can't be followed"):
        form({**arguments(r={"$ref": "#/x"}), "x": {"pattern": "("}}).check("pay", {"r": "a"})
