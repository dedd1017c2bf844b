"""The form of a tool with JSON schemas: what is sent, what is said of what doesn't fit, and which schemas can't be used."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.rules import folder

from turnout.core import canon
from turnout.core.verdict import Caller, Question, Resource
from turnout.errors import InputInvalid
from turnout.policy.cedar import open_policy
from turnout.tools.forms import SchemaForm
from turnout.tools.pins import Pin


def form(schema: Any, output: Any = None) -> SchemaForm:
    return SchemaForm.of(Pin("pay", "", "", schema, output, {}))


def arguments(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


WHOLE, POINT = {"type": "integer"}, {"type": "number"}


@pytest.mark.parametrize(
    ("schema", "given", "sent"),
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
        ({"$ref": "#/$defs/cents"}, 666.0, 666),
        ({"allOf": [{"$ref": "#/$defs/rate"}]}, 2, 2.0),
        ({"anyOf": [WHOLE, {"type": "string"}]}, 666.0, 666),
        ({"$ref": "#/$defs/tree"}, {"n": 1.0, "more": [{"n": 2.0, "rate": 3}]}, {"n": 1, "more": [{"n": 2, "rate": 3.0}]}),
        ({"type": "object", "additionalProperties": POINT}, {"a": 1}, {"a": 1.0}),
        ({"type": "object", "patternProperties": {"^n_": WHOLE}}, {"n_a": 1.0}, {"n_a": 1}),
    ],
)  # fmt: skip
def test_numbers_are_sent_as_the_schema_means_them(schema: Any, given: Any, sent: Any) -> None:
    tree = arguments(n=WHOLE, rate=POINT, more={"type": "array", "items": {"$ref": "#/$defs/tree"}})
    whole = {**arguments(a=schema), "$defs": {"cents": WHOLE, "rate": POINT, "tree": tree}}
    if sent is None:
        with pytest.raises(InputInvalid):
            form(whole).check("pay", {"a": given})
    else:
        assert canon.encode(form(whole).check("pay", {"a": given})) == canon.encode({"a": sent})


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
