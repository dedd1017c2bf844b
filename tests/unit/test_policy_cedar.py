"""Rules in Cedar: what they say of a question."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.rules import PAY, folder

from turnout.core.verdict import Caller, Question, Resource, Spent, Verdict
from turnout.errors import PolicyInvalid, SettingsInvalid
from turnout.policy.cedar import CedarPolicy, _Some, open_policy
from turnout.policy.rules import load
from turnout.policy.text import statements
from turnout.policy.values import record

ASKED = Question(Caller("desk", "work", "acme", "eve", "t"), Resource("tool", "pay", "write"), {"amount": 50})


def say(tmp_path: Path, text: str, asked: Question = ASKED, **changes: object) -> Verdict:
    return open_policy(folder(tmp_path, text)).decide(msgspec.structs.replace(asked, **changes))


def test_the_rules_that_determine_a_verdict_are_named(tmp_path: Path) -> None:
    policy = open_policy(folder(tmp_path))
    said = {n: policy.decide(msgspec.structs.replace(ASKED, args={"amount": n})) for n in (50, 500, 5000)}
    assert [(v.decision, v.policies) for v in said.values()] == [
        ("allow", ["small"]), ("review", ["big"]), ("deny", ["never"])
    ]  # fmt: skip
    assert said[500].reviews[0].roles == ["finance"]
    assert {v.digest for v in said.values()} == {policy.digest}


def test_an_evaluation_error_denies_with_the_error_shown(tmp_path: Path) -> None:
    said = say(tmp_path, PAY, args={})
    assert said.decision == "deny"
    assert all("amount" in error for error in said.errors)
    assert any("policy `never`" in error for error in said.errors)


def test_a_question_that_cannot_be_asked_is_denied_with_the_error_shown(tmp_path: Path) -> None:
    said = say(tmp_path, "permit(principal, action, resource);", args={"x": object()})
    assert said.decision == "deny"
    assert "no JSON value" in said.errors[0]


@pytest.mark.parametrize(
    "condition",
    [
        'principal in Graph::"desk"', 'principal == Node::"desk.work"', 'principal.tenant == "acme"',
        'principal.by == "eve"', 'context.thread == "t"', 'resource.effect == "write"', 'context.taint.contains("web")',
        "context.spent.micros == 7", "context.hour == 5", "context.weekday == 4", "context.now > 0",
        'context.findings.contains("secret")', 'resource in Server::"bank"', 'resource.pin == "abc"', "resource.untrusted",
        'context.args.price.lessThan(decimal("1.6"))', 'context.args.to.iban like "DE*"', "!(context.args has nothing)",
        'context.args.tags.contains("b")', "context.args.huge == 9223372036854775807",
    ],
)  # fmt: skip
def test_rules_can_read_all_that_is_asked(tmp_path: Path, condition: str) -> None:
    asked = Question(
        ASKED.caller, Resource("tool", "pay", "write", "bank", "abc", untrusted=True),
        {"price": 1.5, "to": {"iban": "DE1"}, "nothing": None, "tags": ["a", "b"], "huge": 2**70},
        taint=["web"], findings=["secret"], spent=Spent(7), now=1_795_672_346_343_438,
    )  # fmt: skip
    assert (
        say(tmp_path, f"permit(principal, action, resource) when {{ {condition} }};", asked).decision
        == "allow"
    )


def test_data_cannot_pass_for_an_entity_or_an_extension_value(tmp_path: Path) -> None:
    rule = 'permit(principal, action, resource); forbid(principal, action, resource) when { context.args.to == Graph::"desk" };'
    for spoofed in ({"__entity": {"type": "Graph", "id": "desk"}}, {"__extn": {"fn": "ip", "arg": "x"}}):
        assert say(tmp_path, rule, args={"to": spoofed}).decision == "allow"


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(["__extn", "__entity", "__expr"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(), json, max_size=4))
def test_any_arguments_can_be_asked_about(every: CedarPolicy, args: dict[str, object]) -> None:
    said = every.decide(msgspec.structs.replace(ASKED, args=args))
    assert said.decision == "allow", said.errors


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> CedarPolicy:
    return open_policy(folder(tmp_path_factory.mktemp("p"), "permit(principal, action, resource);"))


SCOPES = [
    "principal", 'principal == Node::"desk.work"', 'principal == Node::"desk.other"', 'principal in Graph::"desk"',
    'principal in Graph::"other"', "principal is Node", 'principal is Node in Graph::"desk"', 'principal in Node::"desk.work"',
]  # fmt: skip
ACTIONS = [
    "action",
    'action == Action::"call"',
    'action == Action::"model"',
    'action in [Action::"model", Action::"call"]',
]
RESOURCES = [
    "resource", 'resource == Tool::"pay"', 'resource == Tool::"look"', "resource is Tool", "resource is Model",
    'resource in Server::"bank"', 'resource is Tool in Server::"bank"', 'resource is Tool in Server::"other"',
]  # fmt: skip
questions = st.builds(
    Question,
    st.builds(Caller, st.sampled_from(["desk", "other"]), st.sampled_from(["work", "other"])),
    st.builds(Resource, st.just("tool"), st.sampled_from(["pay", "look"]), server=st.sampled_from(["", "bank"]))
    | st.just(Resource("model", "pay")) | st.just(Resource("retrieve", "pay")),
)  # fmt: skip


@given(
    st.sampled_from(["permit", "forbid"]), st.sampled_from(SCOPES), st.sampled_from(ACTIONS), st.sampled_from(RESOURCES),
    questions,
)  # fmt: skip
def test_a_rule_that_is_sorted_out_beforehand_could_not_have_applied(
    whole: Path, effect: str, principal: str, action: str, resource: str, asked: Question
) -> None:
    """Cedar is asked with every rule, and with those that the scope leaves: it says the same."""
    text = f'{effect}({principal}, {action}, {resource}); @id("rest") permit(principal, action, resource) when {{ true }};'
    (whole / "rules.cedar").write_text(text)
    sorted_out = open_policy(whole)
    with_all = open_policy(whole)
    key = (
        asked.caller.graph,
        asked.caller.node,
        asked.resource.kind,
        asked.resource.name,
        asked.resource.server,
    )
    with_all._sets[key] = _Some.of(with_all._library, with_all.rules)
    said, expected = sorted_out.decide(asked), with_all.decide(asked)
    assert (said.decision, sorted(said.policies)) == (expected.decision, sorted(expected.policies))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("w"), "")


def test_the_digest_is_of_what_the_rules_say_and_not_of_how_they_are_written(tmp_path: Path) -> None:
    first = load(folder(tmp_path, PAY, "a")).digest
    assert load(folder(tmp_path, "// of the bank\n" + PAY.replace("\n", "\n\n"), "b")).digest == first
    assert load(folder(tmp_path, PAY.replace("<= 100", "<= 101"), "c")).digest != first
    assert load(folder(tmp_path, PAY.replace('@review("finance")', '@review("legal")'), "d")).digest != first


def test_a_file_is_cut_at_semicolons_that_are_in_no_string_and_no_comment() -> None:
    text = '// a; b\npermit(principal, action, resource)\nwhen { "x;\\";//" == "y" }; // c;\n\nforbid(principal, action, resource);'
    assert [(one.line, one.text[:6]) for one in statements("f", text)] == [(2, "permit"), (5, "forbid")]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("permit(principal, action, resource) when { 1 > };", "unexpected token"),
        ('@reviw("x") permit(principal, action, resource);', "did you mean @review?"),
        ('@review("x") forbid(principal, action, resource);', "a forbid can't ask for a review"),
        ("permit(principal == ?principal, action, resource);", "a slot"),
        ('@review("x") @quorum("many") permit(principal, action, resource);', "1 or more"),
        ('@quorum("2") permit(principal, action, resource);', "add @review"),
        ('@review("x") @due("soon") permit(principal, action, resource);', "30m, 24h or 7d"),
        ('@id("a b") permit(principal, action, resource);', "no name"),
    ],
)
def test_a_rule_with_a_mistake_is_told_with_file_and_line(tmp_path: Path, rule: str, said: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"rules\.cedar:3: ") as refused:
        open_policy(folder(tmp_path, f"permit(principal, action, resource);\n\n{rule}"))
    assert said in str(refused.value)


def test_two_rules_of_one_name_and_a_folder_without_rules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"is taken by the rule at rules\.cedar:1"):
        open_policy(
            folder(
                tmp_path,
                '@id("a") permit(principal, action, resource);\n@id("a") forbid(principal, action, resource);',
            )
        )
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsInvalid, match="no file"):
        open_policy(tmp_path / "empty")


def test_two_rules_on_one_line_both_count(tmp_path: Path) -> None:
    policy = open_policy(
        folder(tmp_path, "forbid(principal, action, resource); permit(principal, action, resource);")
    )
    assert [one.rule.id for one in policy.rules] == ["rules.cedar:1", "rules.cedar:1.2"]
    assert policy.decide(ASKED).decision == "deny"


def test_a_number_that_cedar_cannot_hold_is_the_largest_that_it_can() -> None:
    found = record({"a": 10**40, "b": -(10**40), "c": 1e30})
    assert found["a"] == 2**63 - 1
    assert found["b"] == -(2**63)
    assert found["c"] == {"__extn": {"fn": "decimal", "arg": "922337203685477.0000"}}


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0.00004, "0.0001"), (-0.00001, "-0.0001"), (0.1, "0.1000"), (1.00001, "1.0001"), (2.5, "2.5000"),
        (0.0, "0.0000"), (100.00004, "100.0001"), (-1e300, "-922337203685477.0000"), (1e-300, "0.0001"),
    ],
)  # fmt: skip
def test_a_number_between_two_that_cedar_has_is_the_one_further_from_zero(number: float, shown: str) -> None:
    assert record({"a": number})["a"] == {"__extn": {"fn": "decimal", "arg": shown}}
    cap = 'forbid(principal, action, resource) when { context.args.a.greaterThan(decimal("0.0")) };'
    said = open_policy({"a.cedar": f"permit(principal, action, resource); {cap}"}).decide(
        msgspec.structs.replace(ASKED, args={"a": number})
    )
    assert said.decision == ("deny" if number > 0 else "allow")


WHEN = "permit(principal, action, resource) when { "
CHAINS = {
    "parentheses": lambda n: WHEN + "(" * n + "true" + ")" * n + " };",
    "and": lambda n: WHEN + "true && " * n + "true };",
    "or": lambda n: WHEN + "false || " * n + "true };",
    "attributes": lambda n: WHEN + "context" + ".a" * n + " == 1 };",
    "indexes": lambda n: WHEN + "context" + '["a"]' * n + " == 1 };",
    "conditions": lambda n: WHEN + "if true then " * n + "true" + " else false" * n + " };",
    "sets": lambda n: WHEN + "[" * n + "]" * n + " == [] };",
    "records": lambda n: WHEN + "{a: " * n + "1" + "}" * n + " == 1 };",
    "sums": lambda n: WHEN + "1 + " * n + "1 == 2 };",
    "differences": lambda n: WHEN + "1 - " * n + "1 == 2 };",
    "products": lambda n: WHEN + "1 * " * n + "1 == 2 };",
    "calls": lambda n: WHEN + "context.a" + ".contains(1)" * n + " };",
    "nested calls": lambda n: WHEN + "[1].contains(" * n + "1" + ")" * n + " };",
    "has": lambda n: WHEN + "context has a" + ".a" * n + " };",
}


@pytest.mark.parametrize("form", CHAINS)
def test_a_rule_that_would_overrun_the_parser_is_a_mistake_in_its_line(form: str) -> None:
    """Cedar's parser follows brackets and operators with its stack: this would end the process."""
    with pytest.raises(PolicyInvalid, match=r"^deep\.cedar:2: .* write several rules instead$"):
        open_policy({"deep.cedar": "\n" + CHAINS[form](200_000)})
    for n in (10, 35, 199):  # up to the bounds it is for Cedar to say
        said = [str(problem) for problem in load({"deep.cedar": CHAINS[form](n)}).problems]
        assert all(problem.startswith("deep.cedar:1: ") for problem in said)


@pytest.mark.parametrize("form", ["and", "or", "sums", "products"])
def test_a_rule_that_is_taken_can_be_asked(form: str) -> None:
    """Cedar reads no more than some sixty links from its own JSON."""
    rules = '@id("b") permit(principal, action, resource == Tool::"pay");' + CHAINS[form](390)
    assert load({"a.cedar": rules}).problems == []
    said = open_policy({"a.cedar": rules}).decide(ASKED)
    assert (said.decision, said.errors) == ("allow", [])
    assert sorted(said.policies) == (["a.cedar:1.2", "b"] if form in ("and", "or") else ["b"])


def test_brackets_and_operators_in_strings_count_for_nothing() -> None:
    text = "(" * 500 + " && " * 500
    assert open_policy({"a.cedar": f'{WHEN}context.thread == "{text}" }};'}).rules


def test_a_long_list_of_names_is_no_deep_rule() -> None:
    names = ", ".join(f'Tool::"tool{n}"' for n in range(5_000))
    assert open_policy({"a.cedar": f"{WHEN}resource == resource && [{names}].contains(resource) }};"}).rules
