"""What is said of rules without a call."""

import json
import time
from pathlib import Path
from typing import Any, Literal

import cedarpy
import pytest
from pydantic import BaseModel
from tests.unit.rules import PAY, folder

from turnout import END, Graph, Tool, tool
from turnout.core.verdict import ACTIONS, Caller, Resource
from turnout.policy import schema
from turnout.policy.cedar import TYPES, entities
from turnout.service.policies import check
from turnout.tools.forms import SchemaForm
from turnout.tools.pins import Pin


class State(BaseModel):
    n: int = 0


class Iban(BaseModel):
    iban: str
    note: str | None = None


@tool(effect="write")
async def pay(
    amount: int, to: Iban, how: Literal["fast", "slow"] = "slow", tags: list[str] | None = None,
    rate: float = 1.0, more: dict[str, int] | None = None,
) -> str:  # fmt: skip
    return ""


@tool(effect="read")
async def look(order: str) -> str:
    return ""


@tool(effect="write")
async def post(letter: str) -> str:
    return ""


def desk(*more: Any) -> Graph:
    graph = Graph("desk", state=State, tools=[pay, look, post, *more])

    @graph.node
    async def work(state: State, ctx: object) -> dict[str, int]:
        return {}

    graph.start(work)
    graph.edge(work, END)
    return graph.build()


def found(tmp_path: Path, rules: str, known: bool = True) -> tuple[list[str], list[str]]:
    said = check(folder(tmp_path, rules), {"desk": desk()} if known else {})
    return [str(x) for x in said.problems], [str(x) for x in said.warnings]


def test_good_rules_have_neither_problem_nor_warning(tmp_path: Path) -> None:
    assert found(tmp_path, PAY) == ([], [])
    assert found(tmp_path, PAY, known=False) == ([], [])


@pytest.mark.parametrize(
    "condition",
    [
        "context.args.amount > 5", 'context.args.to.iban like "DE*"', 'context.args.how == "fast"',
        'context.args has tags && context.args.tags.contains("a")', 'context.args.rate.lessThan(decimal("2.0"))',
        'context.args.to has note && context.args.to.note == "x"', 'context.taint.contains("web")',
        "context.spent.micros < 100 && context.hour < 18 && context.weekday <= 5 && context.now > 0",
        'principal.tenant == "a" && principal.by == "b" && principal.graph == "desk" && principal.node == "work"',
        'resource.effect == "write" && resource.pin == "" && !resource.untrusted && resource.server == ""',
    ],
)  # fmt: skip
def test_a_rule_about_one_tool_may_read_what_that_tool_takes(tmp_path: Path, condition: str) -> None:
    rule = f'permit(principal, action == Action::"call", resource == Tool::"pay") when {{ {condition} }};'
    assert found(tmp_path, rule)[0] == []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            'permit(principal, action, resource == Tool::"pay") when { context.args.amonut > 5 };',
            "args.amonut",
        ),
        (
            'permit(principal, action, resource == Tool::"pay") when { context.args.amount == "5" };',
            "not compatible",
        ),
        (
            'permit(principal, action, resource == Tool::"pay") when { context.args.tags.contains("a") };',
            "tags",
        ),
        (
            'permit(principal, action == Action::"call", resource) when { context.args.amount > 5 };',
            "for tool look",
        ),
        ('permit(principal, action == Action::"cal", resource);', "unrecognized action"),
        ("permit(principal, action, resource is Toool);", "unrecognized entity type"),
        (
            'permit(principal, action == Action::"model", resource is Model) when { context.args.text == "" };',
            "args.text",
        ),
    ],
)
def test_a_rule_that_does_not_fit_the_schema_is_a_problem_with_its_line(
    tmp_path: Path, rule: str, said: str
) -> None:
    problems, _ = found(tmp_path, f"// first\n{rule}")
    assert problems
    assert all(problem.startswith("rules.cedar:2: ") for problem in problems)
    assert any(said in problem for problem in problems), problems


class Tree(BaseModel):
    name: str
    left: "Tree | None" = None
    kids: "list[Tree]" = []


PLANT = 'permit(principal, action, resource == Tool::"plant") when '


def told(condition: str, plant: Any) -> list[str]:
    rules = {"a.cedar": f"{PLANT}{{ {condition} }};"}
    return [str(problem) for problem in check(rules, {"desk": desk(plant)}).problems]


ENDLESS = {name: {"type": "object", "properties": {to: {"$ref": f"#/$defs/{to}"} for to in "abcdefghij"}} for name in "abcdefghij"}  # fmt: skip


def test_an_argument_whose_type_holds_itself_has_the_type_of_its_first_levels() -> None:
    @tool(effect="write")
    async def plant(tree: Tree) -> str:
        return ""

    assert told('context.args.tree has left && context.args.tree.left.name == "oak"', plant) == []
    [problem] = told("context.args.tree has left && context.args.tree.left.name == 5", plant)
    assert "not compatible" in problem


@pytest.mark.parametrize(
    "schema",
    [
        True, {"anyOf": [True]}, {"type": "array", "items": True}, {"type": "array", "prefixItems": [{"type": "string"}]},
        {"$ref": "#/properties/a"}, {"$ref": "#/$defs/a"}, {"type": ["string", "null"]}, {"enum": [1, None]},
    ],
)  # fmt: skip
def test_any_schema_that_a_server_may_have_can_be_checked(schema: Any) -> None:
    form = SchemaForm.of(
        Pin("plant", "", "", {"type": "object", "properties": {"a": schema, "tree": {"type": "string"}}, "$defs": ENDLESS}, None, {})
    )  # fmt: skip
    plant: Any = Tool(
        fn=lambda: None, name="plant", effect="write", description="", form=form, takes_key=False
    )
    begun = time.perf_counter()
    assert told('context.args has tree && context.args.tree == "oak"', plant) == []
    assert time.perf_counter() - begun < 10


def test_a_rule_about_many_tools_has_to_ask_whether_an_argument_is_there(tmp_path: Path) -> None:
    rule = 'permit(principal, action == Action::"call", resource) when { context.args has amount && context.args.amount > 5 };'
    assert found(tmp_path, rule)[0] == []


def test_of_a_tool_that_is_not_known_the_name_is_told_and_not_its_arguments(tmp_path: Path) -> None:
    problems, warnings = found(
        tmp_path, 'permit(principal, action, resource == Tool::"pya") when { context.args.amount > 5 };'
    )
    assert problems == []
    assert len(warnings) == 1
    assert "did you mean 'pay'?" in warnings[0]


def test_a_model_that_nobody_has_is_told(tmp_path: Path) -> None:
    place = folder(tmp_path, 'permit(principal, action == Action::"model", resource == Model::"mian");')
    assert "did you mean 'main'?" in str(check(place, {}, ["main"]).warnings[0])
    assert check(place, {}).warnings == ()


def test_without_graphs_arguments_are_not_checked_and_all_else_is(tmp_path: Path) -> None:
    rules = """permit(principal, action == Action::"call", resource) when { context.args.whatever.it > 5 };
               permit(principal, action == Action::"call", resource) when { context.tiant == "x" };"""
    problems, _ = found(tmp_path, rules, known=False)
    assert len(problems) == 1
    assert "tiant" in problems[0]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('permit(principal, action, resource == Tool::"pya");', "did you mean 'pay'?"),
        ('permit(principal in Graph::"dsek", action, resource);', "did you mean 'desk'?"),
        ('permit(principal == Node::"desk.wrk", action, resource);', "did you mean 'desk.work'?"),
        ('permit(principal, action, resource) unless { principal == Node::"desk.zzz" };', "there is: desk.work"),
        ("permit(principal, action, resource) when { false };", "never applies"),
        ("forbid(principal, action, resource) unless { true };", "never applies"),
        ('permit(principal, action, resource == Tool::"pay"); forbid(principal, action, resource);', "rules.cedar:1.2 denies all"),
        ('permit(principal, action, resource == Tool::"pay"); forbid(principal, action, resource is Tool) when { true };', "denies all"),
        ('permit(principal, action, resource) when { principal.by == "x" };\nforbid(principal, action, resource) when { principal.by == "x" };', "contradicts the rule at rules.cedar:1"),
        ('permit(principal, action, resource == Tool::"pay");\n@review permit(principal, action, resource == Tool::"pay");', "the review counts"),
        ('permit(principal, action, resource == Tool::"pay");\npermit(principal, action, resource == Tool::"pay");', "says the same"),
    ],
)  # fmt: skip
def test_what_is_likely_not_meant_is_a_warning(tmp_path: Path, rules: str, said: str) -> None:
    problems, warnings = found(tmp_path, rules)
    assert problems == []
    assert any(said in warning for warning in warnings), warnings


def test_a_forbid_with_a_condition_shadows_nothing(tmp_path: Path) -> None:
    rules = 'permit(principal, action, resource == Tool::"pay"); forbid(principal, action, resource) when { principal.by == "x" };'
    assert found(tmp_path, rules)[1] == []


@pytest.mark.parametrize(
    "rules",
    [
        'permit(principal, action, resource); forbid(principal, action, resource == Tool::"post");',
        'permit(principal, action, resource) when { resource.effect == "read" || resource.name != "post" };',
        'permit(principal, action, resource) unless { !(resource.name != "post") && true };',
        'permit(principal, action, resource == Tool::"pay"); permit(principal in Graph::"other", action, resource);',
    ],
)
def test_a_write_that_the_rules_can_never_allow_is_named_however_they_say_so(
    tmp_path: Path, rules: str
) -> None:
    said = check(folder(tmp_path, rules), {"desk": desk()})
    assert [line.split(":")[0] for line in said.unruled] == ["write post of graph desk"]


def test_a_write_that_may_be_allowed_is_not_named(tmp_path: Path) -> None:
    rules = """permit(principal, action, resource) when { resource.effect == "write" && principal.by == "dana" };
               forbid(principal, action, resource) when { resource.effect == "write" && context.hour > 20 };"""
    assert check(folder(tmp_path, rules), {"desk": desk()}).unruled == ()


def test_writes_that_no_rule_allows_are_named(tmp_path: Path) -> None:
    said = check(folder(tmp_path, PAY), {"desk": desk()})
    assert len(said.unruled) == 1
    assert "write post of graph desk" in said.unruled[0]


def test_the_published_schema_is_one_and_questions_fit_it() -> None:
    known = cedarpy.Schema.from_str(schema.text())
    for kind in ACTIONS:
        made = entities(
            Caller("desk", "work", "acme", "eve"),
            Resource(kind, "x", "write", "bank" if kind == "tool" else ""),
        )
        cedarpy.Entities.from_json_str(json.dumps(made), known)  # raises when an attribute is another
    assert set(TYPES) == set(ACTIONS)
    cedarpy.Schema.from_str(schema.with_tools([pay, look]))
    assert "amount: Long" in schema.with_tools([pay])
