"""Routes: what they choose, what they say about it, and what is refused before a run."""

import copy
import functools
import json
import pickle
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr, RootModel, computed_field

from turnout.core.expr import field
from turnout.core.function_route import FunctionRoute
from turnout.core.matrix import (
    Matrix,
    above,
    at_least,
    at_most,
    below,
    between,
    matching,
    matrix,
    missing,
    row,
)
from turnout.core.recording import recording
from turnout.core.routing import (
    END,
    Choice,
    Edge,
    End,
    Parallel,
    Route,
    Rule,
    RuleTable,
    parallel,
    rule,
    target_name,
)
from turnout.errors import RouteFailed


class Item(BaseModel):
    sku: str = "A-1"
    quantity: int = 1

    def is_large(self) -> bool:
        return self.quantity > 100


class Order(BaseModel):
    item: Item = Item()
    note: str | None = None


class Refund(BaseModel):
    amount: int = 0
    limit: int | None = None
    country: str = "DE"
    vip: bool = False
    order: Order = Order()
    other: Order | None = None
    tags: list[str] = ["new"]
    items: list[Item] = [Item()]
    rate: float = 0.5
    _secret: int = PrivateAttr(default=3)

    @property
    def is_small(self) -> bool:
        return self.amount <= 5_000 and not self.vip

    def needs_review(self) -> bool:
        return not self.is_small or self.order.item.is_large()

    @functools.cached_property
    def label(self) -> str:
        return f"{self.country}-{self.amount}"

    @computed_field
    @property
    def quantity(self) -> int:
        return self.order.item.quantity


def pay(state: Refund, ctx: object) -> dict[str, object]:
    return {}


def ask(state: Refund, ctx: object) -> dict[str, object]:
    return {}


def table(*rules: Rule, default: object = ask) -> RuleTable:
    return RuleTable(rules, default)


REFUNDS = table(
    rule("nothing", field("amount") <= 0, to=END),
    rule("small", (field("amount") <= 5_000) & ~field("vip"), to=pay),
    rule("foreign", ~field("country").is_in(["DE", "FR"]), to="abroad"),
)


def failure(route: Route, state: BaseModel) -> str:
    with pytest.raises(RouteFailed) as failed:
        route.choose(state)
    return str(failed.value)


# ---- END and parallel


def test_there_is_one_END():
    assert END.name == "END"
    assert repr(END) == "END"
    assert isinstance(END, End)
    assert copy.deepcopy([END])[0] is copy.copy(END) is pickle.loads(pickle.dumps(END)) is END


def test_the_name_END_means_END():
    assert rule("r", field("vip"), to="END").to is END
    assert Edge("END").target is END
    assert parallel("a", "END", join="END") == Parallel(("a", END), END)
    assert table(default="END").default is END


def test_a_target_is_named_as_a_person_would():
    class Sub:
        name = "subgraph"

    assert [target_name(ref) for ref in (END, "pay", pay, Sub())] == ["END", "pay", "pay", "subgraph"]
    assert target_name(parallel("a", pay, join=ask)) == "a + pay, then ask"
    assert target_name(parallel("a", "b")) == "a + b, then END"


# ---- edges


def test_an_edge_always_goes_to_its_target():
    choice = Edge(pay).choose(Refund())
    assert choice == Choice(pay, "edge", "always", {}, (), ())
    assert Edge(pay).targets() == (pay,)
    assert Edge(pay).labels() == [("", pay)]
    assert Edge(pay).problems(Refund) == []
    assert Edge(pay).text() == "always -> pay"


@pytest.mark.parametrize("target", [None, 5, "", ["pay"], field("vip")])
def test_what_is_no_node_is_a_problem(target: object):
    assert "is not a node" in Edge(target).problems(Refund)[0]
    assert "is not a node" in table(rule("r", field("vip"), to=target)).problems(Refund)[0]
    assert "is not a node" in Edge(parallel("a", target)).problems(Refund)[0]


def test_a_parallel_inside_a_parallel_is_a_problem():
    assert Edge(parallel("a", parallel("b", "c"))).problems(Refund) == [
        "the edge goes to a parallel(...) in a parallel(...); put a node in between"
    ]


# ---- rule tables


@pytest.mark.parametrize(
    ("state", "name", "target"),
    [
        (Refund(amount=-1), "nothing", END),
        (Refund(amount=10), "small", pay),
        (Refund(amount=10, vip=True), "default", ask),
        (Refund(amount=9_000, country="US"), "foreign", "abroad"),
        (Refund(amount=10, country="US"), "small", pay),
    ],
)
def test_the_first_rule_that_matches_wins(state: Refund, name: str, target: object):
    choice = REFUNDS.choose(state)
    assert (choice.rule, choice.target) == (name, target)


def test_a_choice_says_why_what_was_read_and_what_else_there_was():
    assert REFUNDS.choose(Refund(amount=10)) == Choice(
        target=pay,
        rule="small",
        text="(amount <= 5000 and not vip)",
        reads={"amount": 10, "vip": False},
        alternatives=(("nothing", "END"), ("foreign", "abroad"), ("default", "ask")),
        failed=(("nothing", "amount <= 0"),),
    )


def test_the_default_says_which_rules_did_not_match():
    choice = REFUNDS.choose(Refund(amount=10, vip=True))
    assert choice.text == "no rule matched"
    assert choice.reads == {"amount": 10, "vip": True, "country": "DE"}
    assert choice.alternatives == (("nothing", "END"), ("small", "pay"), ("foreign", "abroad"))
    assert [name for name, _ in choice.failed] == ["nothing", "small", "foreign"]


def test_what_was_read_is_plain_json_that_later_changes_cannot_reach():
    state = Refund(rate=float("nan"))
    route = table(
        rule("a", field("tags").contains("x"), to=pay),
        rule("b", field("items").contains(3), to=pay),
        rule("c", field("order").is_valid(int), to=pay),
        rule("d", field("rate") > 1, to=pay),
    )
    reads = route.choose(state).reads
    state.tags.append("later")
    assert json.loads(json.dumps(reads, allow_nan=False)) == {
        "tags": ["new"],
        "items": [{"sku": "A-1", "quantity": 1}],
        "order": {"item": {"sku": "A-1", "quantity": 1}, "note": None},
        "rate": "nan",
    }


def test_what_has_no_json_form_is_named_by_its_type():
    class Odd(BaseModel):
        anything: Any = None

    loop: list[Any] = []
    loop.append(loop)
    route = table(rule("a", field("anything") == 1, to=pay))
    assert route.choose(Odd(anything=loop)).reads == {"anything": "<list>"}
    assert route.choose(Odd(anything=b"\xff")).reads == {"anything": "<bytes>"}
    assert isinstance(route.choose(Odd(anything=object())).reads["anything"], str)


def test_a_rule_that_cannot_be_decided_fails_with_its_name():
    route = table(rule("over the limit", field("limit") > 3, to=pay))
    assert failure(route, Refund()).startswith(
        "rule 'over the limit': `limit > 3` can't be evaluated: `limit` is None"
    )


def test_a_rule_table_knows_its_targets_labels_and_text():
    both = parallel("a", "b", join=ask)
    route = table(rule("r", field("vip"), to=both), rule("s", field("amount") > 1, to=pay), default=pay)
    assert route.targets() == (both, pay)
    assert route.labels() == [("r", both), ("s", pay), ("default", pay)]
    assert route.text() == "r: vip -> a + b, then ask\ns: amount > 1 -> pay\ndefault -> pay"


def test_a_rule_table_without_problems_has_none():
    assert REFUNDS.problems(Refund) == []


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        (table(default=None), "there is no default; say where to go when no rule matches"),
        (table(rule("r", field("amuont") > 1, to=pay)), "rule 'r': `amuont`: Refund has no field 'amuont'; did you mean"),
        (table(rule("r", field("amount"), to=pay)), "rule 'r': `amount` is a number, not a bool; compare it"),
        (
            table(rule("r", field("vip"), to=pay), rule("r", field("amount") > 1, to=ask)),
            "two rules are named 'r'; give one of them another name",
        ),
        (table(rule("", field("vip"), to=pay)), "a rule can't be named ''"),
        (table(rule("default", field("vip"), to=pay)), "a rule can't be named 'default'"),
        (
            table(rule("r", field("vip"), to=pay), rule("s", field("vip"), to=ask)),
            "rule 's' can't be reached: 'r' before it matches whenever it does",
        ),
        (
            table(rule("r", field("vip"), to=pay), rule("s", (field("amount") > 1) & field("vip"), to=ask)),
            "rule 's' can't be reached: 'r' before it matches whenever it does",
        ),
        (
            table(rule("r", field("vip") | True, to=pay), rule("s", field("amount") > 1, to=ask)),
            "rule 'r' always matches, so 's' and the default can't be reached; make it the default",
        ),
        (
            table(rule("r", field("vip") | True, to=pay)),
            "rule 'r' always matches, so the default can't be reached; make it the default",
        ),
        (table(rule("r", field("vip") & False, to=pay)), "rule 'r' never matches; remove it"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rule_table_is_found_before_the_run(route: RuleTable, problem: str):
    problems = route.problems(Refund)
    assert len(problems) == 1
    assert problem in problems[0]


def test_all_problems_are_found_at_once():
    route = table(rule("r", field("x") > 1, to=5), rule("r", field("y") > 1, to=pay), default=None)
    assert len(route.problems(Refund)) == 5


@pytest.mark.parametrize("when", [True, "amount > 1", None, field("vip").is_none])
def test_a_rule_wants_an_expression(when: Any):
    with pytest.raises(TypeError, match="write an expression"):
        rule("r", when, to=pay)


def test_rules_are_compared_by_identity_although_their_conditions_cannot_be():
    one, same = rule("r", field("vip"), to=pay), rule("r", field("vip"), to=pay)
    assert one == one
    assert one != same
    assert one in {one: 1}
    with pytest.raises(AttributeError):
        one.name = "x"  # type: ignore[misc]


def test_the_code_of_a_table_changes_with_what_it_does_and_says():
    base = table(rule("r", field("vip"), to=pay))
    assert base.code() == table(rule("r", field("vip"), to=pay)).code()
    others = [
        table(rule("s", field("vip"), to=pay)),
        table(rule("r", ~field("vip"), to=pay)),
        table(rule("r", field("vip"), to=ask)),
        table(rule("r", field("vip"), to=pay), default=pay),
        table(rule("r", field("vip"), to=parallel("pay", "x"))),
        table(),
    ]
    assert len({route.code() for route in [base, *others]}) == 7


# ---- matrices


def policy(default: object = ask) -> Matrix:
    return matrix(
        {"amount": field("amount"), "land": field("country"), "limit": field("limit")},
        [
            row({"amount": at_most(100), "land": ["DE", "FR"]}, to=pay),
            row("no limit", {"amount": above(100), "limit": missing(), "land": ...}, to=END),
            row({"land": matching("^U"), "amount": between(200, 300)}, to="abroad"),
        ],
        default=default,
    )


@pytest.mark.parametrize(
    ("state", "name", "target"),
    [
        (Refund(amount=100), "amount <= 100, land in ['DE', 'FR']", pay),
        (Refund(amount=101), "no limit", END),
        (Refund(amount=200, limit=1, country="US"), "amount 200 to 300, land matches '^U'", "abroad"),
        (Refund(amount=300, limit=1, country="UK"), "amount 200 to 300, land matches '^U'", "abroad"),
        (Refund(amount=301, limit=1, country="US"), "default", ask),
    ],
)
def test_the_first_row_whose_cells_all_match_wins(state: Refund, name: str, target: object):
    choice = policy().choose(state)
    assert (choice.rule, choice.target) == (name, target)


def test_a_matrix_explains_its_choice_like_a_rule_table():
    choice = policy().choose(Refund(amount=250, limit=1, country="US"))
    assert choice.text == "(amount >= 200 and amount <= 300 and country matches '^U')"
    assert choice.reads == {"amount": 250, "limit": 1, "country": "US"}
    assert choice.alternatives == (
        ("amount <= 100, land in ['DE', 'FR']", "pay"),
        ("no limit", "END"),
        ("default", "ask"),
    )


@pytest.mark.parametrize(
    ("cell", "yes", "no"),
    [
        (5, [5], [4]), (at_most(5), [5, 4], [6]), (at_least(5), [5, 6], [4]), (below(5), [4], [5]), (above(5), [6], [5]),
        (between(3, 5), [3, 4, 5], [2, 6]), ([1, 2], [1, 2], [3]), ((1, 2), [1], [3]), ({1, 2}, [2], [3]),
        (field("rate") * 4, [2], [3]), (at_most(field("rate") * 4), [2], [3]),
    ],
)  # fmt: skip
def test_each_kind_of_cell_matches_what_it_says(cell: object, yes: list[int], no: list[int]):
    route = matrix([field("amount")], [row("hit", {"amount": cell}, to=pay)], default=ask)
    assert [route.choose(Refund(amount=amount)).rule for amount in yes] == ["hit"] * len(yes)
    assert [route.choose(Refund(amount=amount)).rule for amount in no] == ["default"] * len(no)


def test_none_and_missing_match_what_has_no_value():
    for cell in (None, missing()):
        route = matrix(
            {"note": field("other.note")}, [row("none", {"note": cell}, to=pay), row("x", {"note": "x"}, to=ask)], default=END
        )  # fmt: skip
        assert route.choose(Refund()).rule == "none"
        assert route.choose(Refund(other=Order())).rule == "none"
        assert route.choose(Refund(other=Order(note="x"))).rule == "x"


def test_a_cell_without_a_value_fails_with_the_name_of_its_row():
    route = matrix([field("limit")], [row("tight", {"limit": at_most(5)}, to=pay)], default=ask)
    assert failure(route, Refund()).startswith("row 'tight': `limit <= 5` can't be evaluated")


def test_columns_may_be_named_by_their_expressions():
    route = matrix(
        [field("amount") % 2, field("tags").length()], [row({"amount % 2": 1}, to=pay)], default=ask
    )
    assert route.problems(Refund) == []
    assert route.choose(Refund(amount=3)).rule == "amount % 2 = 1"


def test_a_matrix_is_shown_as_a_table():
    assert policy().text().splitlines() == [
        "                                     | amount     | land            | limit   | goes to",
        "amount <= 100, land in ['DE', 'FR']  | <= 100     | in ['DE', 'FR'] | any     | pay",
        "no limit                             | > 100      | any             | missing | END",
        "amount 200 to 300, land matches '^U' | 200 to 300 | matches '^U'    | any     | abroad",
        "default                              | any        | any             | any     | ask",
    ]


def test_a_matrix_has_targets_labels_and_no_problems():
    assert policy().problems(Refund) == []
    assert policy().targets() == (pay, END, "abroad", ask)
    assert [target for _, target in policy().labels()] == [pay, END, "abroad", ask]


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        (policy(default=None), "there is no default; say where to go when no row matches"),
        (matrix({}, [row({}, to=pay)], default=ask), "the matrix has no columns"),
        (matrix([field("amount")], [], default=ask), "the matrix has no rows"),
        (matrix([field("amount")], [row("r", {"amuont": 1}, to=pay)], default=ask), "row 'r' names 'amuont', which is not a column; did you mean 'amount'?"),
        (matrix([field("amount")], [row("r", {"x": 1}, to=pay)], default=ask), "there are 'amount'"),
        (matrix([field("amuont")], [row({"amuont": 1}, to=pay)], default=ask), "column `amuont`: Refund has no field 'amuont'; did you mean 'amount'?"),
        (matrix([field("amount")], [row("r", {"amount": matching("x")}, to=pay)], default=ask), "row 'r': `amount matches 'x'`"),
        (
            matrix([field("amount")], [row({"amount": 1}, to=pay), row({"amount": 1}, to=ask)], default=ask),
            "row 'amount = 1 (row 2)' can't be reached: 'amount = 1' before it matches whenever it does",
        ),
        (
            matrix([field("amount"), field("vip")], [row("a", {"amount": 1}, to=pay), row("b", {"vip": True, "amount": 1}, to=ask)], default=ask),
            "row 'b' can't be reached",
        ),
        (matrix([field("amount")], [row("all", {"amount": ...}, to=pay)], default=ask), "row 'all' always matches"),
        (
            matrix([field("amount")], [row("a", {"amount": 1}, to=pay), row("a", {"amount": 2}, to=ask)], default=ask),
            "two rows are named 'a'",
        ),
        (matrix([field("amount")], [row("a", {"amount": 1}, to=5)], default=ask), "row 'a' goes to 5, which is not a node"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_matrix_is_found_before_the_run(route: Matrix, problem: str):
    assert problem in "\n".join(route.problems(Refund))


def test_a_wrong_column_is_one_problem_however_many_rows_use_it():
    route = matrix([field("amuont")], [row({"amuont": 1}, to=pay), row({"amuont": 2}, to=ask)], default=ask)
    assert len(route.problems(Refund)) == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda: row(5, to=pay),
        lambda: row("name", to=pay),
        lambda: row({}, {}, to=pay),
        lambda: matrix({"amount": 5}, [], default=ask),
        lambda: matrix([5], [], default=ask),
        lambda: matrix([field("amount")], [{"amount": 5}], default=ask),
    ],
)
def test_a_matrix_put_together_wrongly_is_refused(build: Callable[[], object]):
    with pytest.raises(TypeError, match=r"row\(|write an expression"):
        build()


def test_cells_that_hold_nothing_are_refused_when_they_are_written():
    with pytest.raises(ValueError, match="holds nothing"):
        between(5, 3)
    with pytest.raises(ValueError, match="not a regular expression"):
        matching("(")
    with pytest.raises(TypeError, match="plain values"):
        at_most(object())


def test_the_code_of_a_matrix_is_stable_and_tells_changes():
    assert policy().code() == policy().code()
    assert policy().code() != policy(default=pay).code()
    renamed = matrix({"x": field("amount")}, [row("r", {"x": 1}, to=pay)], default=ask)
    assert renamed.code() != matrix([field("amount")], [row("r", {"amount": 1}, to=pay)], default=ask).code()


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 3), st.none() | st.sampled_from("ab")), max_size=5),
    st.integers(0, 3),
    st.sampled_from("abc"),
)
def test_a_matrix_goes_where_a_loop_over_its_rows_would(
    cells: list[tuple[int | None, str | None]], amount: int, country: str
):
    rows = [
        row({"amount": ... if a is None else a, "country": ... if c is None else c}, to=f"n{at}")
        for at, (a, c) in enumerate(cells)
    ]
    route = matrix([field("amount"), field("country")], rows, default="other")
    expected = "other"
    for at, (a, c) in enumerate(cells):
        if a in (None, amount) and c in (None, country):
            expected = f"n{at}"
            break
    assert route.choose(Refund(amount=amount, country=country)).target == expected


# ---- functions

Way = Literal["pay", "ask"]
T = TypeVar("T")


def by_size(state: Refund) -> Literal["pay", "ask", "END"]:
    if state.amount <= 0:
        return "END"
    return "ask" if state.needs_review() else "pay"


def test_a_function_route_knows_its_targets():
    route = FunctionRoute(by_size)
    assert route.targets() == ("pay", "ask", END)
    assert route.labels() == [("pay", "pay"), ("ask", "ask"), ("END", END)]
    assert route.problems(Refund) == []
    assert route.text() == "by_size() -> pay, ask, END"


def test_a_function_route_records_what_the_function_read():
    choice = FunctionRoute(by_size).choose(Refund(amount=10))
    assert choice == Choice(
        target="pay",
        rule="by_size",
        text="by_size returned 'pay'",
        reads={"amount": 10, "vip": False, "order.item.quantity": 1},
        alternatives=(("by_size", "ask"), ("by_size", "END")),
    )
    assert FunctionRoute(by_size).choose(Refund()).target is END


def union(state: Refund) -> Literal["a"] | Literal["b", "END"]: ...  # type: ignore[empty-body]
def optional_style(state: Refund) -> Annotated[Literal["a", "b"], "x"]: ...  # type: ignore[empty-body]
def alias(state: Refund) -> Way: ...  # type: ignore[empty-body]
def with_end(state: Refund) -> Literal["a"] | End: ...  # type: ignore[empty-body]
def quoted(state: "Nowhere") -> "Literal['a', 'b']": ...  # type: ignore[name-defined, empty-body]  # noqa: F821


@pytest.mark.parametrize(
    ("fn", "targets"),
    [
        (union, ("a", "b", END)),
        (optional_style, ("a", "b")),
        (alias, ("pay", "ask")),
        (with_end, ("a", END)),
        (quoted, ("a", "b")),
    ],
)
def test_targets_are_found_in_unions_aliases_and_quotes(fn: Any, targets: tuple[object, ...]):
    assert FunctionRoute(fn).targets() == targets
    assert FunctionRoute(fn).problems(Refund) == []


def test_targets_are_found_through_names_of_an_enclosing_function():
    Local = Literal["here", "there"]

    def route(state: Refund) -> "Local":
        return Local and "here"

    assert FunctionRoute(route).targets() == ("here", "there")


def test_decorated_functions_and_callable_objects_are_routes_too():
    class ByClass:
        def __call__(self, state: Refund) -> Way:
            return "ask"

    @functools.wraps(by_size)
    def wrapped(state: Refund) -> Any:
        return by_size(state)

    assert FunctionRoute(ByClass()).choose(Refund()).rule == "ByClass"
    assert FunctionRoute(ByClass()).problems(Refund) == []
    assert FunctionRoute(wrapped).choose(Refund()).target is END


class Color(StrEnum):
    RED = "red"


async def waits(state: Refund) -> Literal["a"]:
    return "a"


def open_end(state: Refund) -> str:
    return "a"


def unannotated(state):  # type: ignore[no-untyped-def]
    return "a"


def maybe(state: Refund) -> Optional[Literal["a"]]:  # noqa: UP045
    return None


def half_open(state: Refund) -> Literal["a"] | str:
    return "a"


def counts(state: Refund) -> Literal["a", 1]:
    return "a"


def colored(state: Refund) -> Literal["a", Color.RED]:
    return "a"


def unknown_name(state: Refund) -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821
    return "a"


def two_arguments(state: Refund, ctx: object) -> Literal["a"]:
    return "a"


def one_argument_too_few() -> Literal["a"]:
    return "a"


@pytest.mark.parametrize(
    ("fn", "problem"),
    [
        (waits, "'waits' is async"),
        (open_end, "the targets of the function 'open_end' aren't known"),
        (unannotated, "aren't known; annotate what it returns"),
        (lambda state: "a", "aren't known"),
        (maybe, "'maybe' may return <class 'NoneType'>; only texts name a target"),
        (half_open, "may return <class 'str'>"),
        (counts, "may return 1"),
        (colored, "may return <Color.RED"),
        (
            unknown_name,
            "the return annotation of 'unknown_name' can't be read: name 'Nowhere' is not defined",
        ),
        (two_arguments, "must take the state and nothing else"),
        (one_argument_too_few, "must take the state and nothing else"),
    ],
)
def test_what_is_wrong_with_a_route_function_is_found_before_the_run(fn: Any, problem: str):
    problems = FunctionRoute(fn).problems(Refund)
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize("value", ["elsewhere", None, 5, ["pay"], Color.RED])
def test_a_value_outside_of_the_literal_fails_with_function_value_and_what_is_allowed(value: object):
    def lies(state: Refund) -> Literal["pay", "red?", "END"]:
        return value  # type: ignore[return-value]

    message = failure(FunctionRoute(lies), Refund())
    assert "'lies' returned" in message
    assert repr(value) in message
    assert "it may return 'pay', 'red?', 'END'" in message


def test_END_itself_may_be_returned_where_it_is_declared():
    def ends(state: Refund) -> Any:
        return END

    ends.__annotations__["return"] = Literal["END"]
    assert FunctionRoute(ends).choose(Refund()).target is END
    ends.__annotations__["return"] = Literal["pay"]
    assert "returned 'END'" in failure(FunctionRoute(ends), Refund())


def test_a_coroutine_is_refused_without_a_warning():
    def hidden(state: Refund) -> Literal["a"]:
        return waits(state)  # type: ignore[return-value]

    assert "coroutine" in failure(FunctionRoute(hidden), Refund())


def test_a_route_function_that_raises_fails_the_run_with_its_name():
    def breaks(state: Refund) -> Literal["a"]:
        raise KeyError(state.country)

    assert "the route function 'breaks' raised KeyError: 'DE'" in failure(FunctionRoute(breaks), Refund())


def test_a_route_function_cannot_change_the_state():
    def changes(state: Refund) -> Literal["a"]:
        state.amount = 99
        return "a"

    def deletes(state: Refund) -> Literal["a"]:
        del state.amount
        return "a"

    state = Refund(amount=1)
    for fn in (changes, deletes):
        assert "a route can't change the state ('amount')" in failure(FunctionRoute(fn), state)
    assert state.amount == 1


def test_the_code_of_a_function_route_is_its_code():
    def make(limit: int) -> Any:
        def fn(state: Refund) -> Literal["a"]:
            assert state.amount > limit
            return "a"

        return fn

    assert FunctionRoute(make(1)).code() == FunctionRoute(make(1)).code()
    assert FunctionRoute(make(1)).code() != FunctionRoute(make(2)).code()


@pytest.mark.parametrize("route", [Edge(pay), REFUNDS, policy(), FunctionRoute(by_size)])
def test_every_kind_is_a_route(route: object):
    assert isinstance(route, Route)


# ---- recording


def reads_of(look: Callable[[Refund], object], state: Refund | None = None) -> dict[str, object]:
    view, reads = recording(state or Refund())
    assert isinstance(view, Refund)
    look(view)
    return reads


WHOLE = {
    "amount": 0, "limit": None, "country": "DE", "vip": False, "order": Order(), "other": None, "tags": ["new"],
    "items": [Item()], "rate": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("look", "reads"),
    [
        (lambda state: state.amount, {"amount": 0}),
        (lambda state: state.is_small, {"amount": 0, "vip": False}),
        (lambda state: state.needs_review(), {"amount": 0, "vip": False, "order.item.quantity": 1}),
        (lambda state: state.label, {"country": "DE", "amount": 0}),
        (lambda state: state.quantity, {"order.item.quantity": 1}),
        (lambda state: state.order.item.sku, {"order.item.sku": "A-1"}),
        (lambda state: state.order.note, {"order.note": None}),
        (lambda state: (state.order, state.order.note, state.order), {"order.note": None}),
        (lambda state: state.order, {"order": Order()}),
        (lambda state: state.order.item, {"order.item": Item()}),
        (lambda state: state.other is None, {"other": None}),
        (lambda state: state.items[0].sku, {"items": [Item()]}),
        (lambda state: state.tags, {"tags": ["new"]}),
        (lambda state: getattr(state, "nothing", None), {}),
        (lambda state: getattr(state, "country"), {"country": "DE"}),  # noqa: B009
        (lambda state: isinstance(state, Refund) and state.__class__, {}),
        (lambda state: type(state).model_fields, {}),
        (lambda state: state._secret, {}),
        (lambda state: state.order == Order(), {"order.item": Item(), "order.note": None}),
        (lambda state: state.order.model_dump(), {"order.item": Item(), "order.note": None}),
        (lambda state: dict(state), WHOLE),
        (lambda state: list(state), WHOLE),
        (lambda state: vars(state), WHOLE),
        (lambda state: state == Refund(), WHOLE),
        (lambda state: state.model_copy(), WHOLE),
        (lambda state: copy.deepcopy(state), WHOLE),
        (lambda state: pickle.dumps(state), WHOLE),
        (lambda state: state.model_dump(), WHOLE | {"order.item.quantity": 1}),
        (lambda state: state.model_dump_json(), WHOLE | {"order.item.quantity": 1}),
        (lambda state: (state.model_dump(), state.order.note)[1], WHOLE | {"order.item.quantity": 1, "order.note": None}),
    ],
)  # fmt: skip
def test_what_is_read_is_recorded_under_its_path(look: Callable[[Refund], object], reads: dict[str, object]):
    assert reads_of(look) == reads


def test_a_view_behaves_like_the_state():
    state = Refund(amount=7, tags=["a"])
    view, _ = recording(state)
    assert view == state
    assert state == view
    assert view.__class__ is Refund
    assert type(view).__name__ == "Refund"
    assert view.model_dump() == state.model_dump()
    assert view.model_dump_json() == state.model_dump_json()
    assert repr(view) == repr(state)
    assert dict(view) == dict(state)
    assert view.model_copy(update={"amount": 8}) == Refund(amount=8, tags=["a"])
    assert type(view.model_copy()) is type(copy.copy(view)) is type(copy.deepcopy(view)) is Refund
    assert pickle.loads(pickle.dumps(view)) == state
    assert Refund.model_validate(view) == state
    assert view.model_fields_set == {"amount", "tags"}
    assert view.order is view.order  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="'Refund' object has no attribute 'nothing'"):
        view.nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(TypeError, match="unhashable"):
        hash(view)


def test_a_cached_property_is_recorded_whoever_asked_before():
    state = Refund()
    assert state.label == "DE-0"
    assert reads_of(lambda view: view.label, state) == {"country": "DE", "amount": 0}
    assert reads_of(lambda view: (view.label, view.label), state) == {"country": "DE", "amount": 0}
    assert "label" not in reads_of(lambda view: vars(view), state)


def test_extra_fields_are_recorded():
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        a: int = 1

    for look in (lambda view: view.b, lambda view: view.model_extra):
        view, reads = recording(Open(b=2))  # type: ignore[call-arg]
        look(view)
        assert reads == {"b": 2}
    view, reads = recording(Open(b=2))  # type: ignore[call-arg]
    assert dict(view) == {"a": 1, "b": 2}
    assert reads == {"a": 1, "b": 2}


def test_models_of_every_make_can_be_recorded():
    class Frozen(BaseModel):
        model_config = ConfigDict(frozen=True)
        a: int = 1

    class Words(RootModel[list[str]]):
        pass

    class Holder(BaseModel):
        words: Words = Words(["x"])

    class Box(BaseModel, Generic[T]):
        inside: T

    class Twisted(BaseModel):
        a: int = 1

        def __getattribute__(self, name: str) -> Any:
            return super().__getattribute__(name)

    frozen, reads = recording(Frozen())
    assert hash(frozen) == hash(Frozen())
    assert reads == {"a": 1}
    holder, reads = recording(Holder())
    assert holder.words.root == ["x"]  # type: ignore[attr-defined]
    assert reads == {"words.root": ["x"]}
    box, reads = recording(Box[int](inside=3))
    assert box.inside == 3  # type: ignore[attr-defined]
    assert isinstance(box, Box[int])
    assert reads == {"inside": 3}
    twisted, reads = recording(Twisted())
    assert twisted.a == 1  # type: ignore[attr-defined]
    assert reads == {"a": 1}


def test_the_view_class_is_made_once_and_calls_no_hooks_of_the_model():
    called: list[type] = []

    class Watched(BaseModel):
        a: int = 1

        def __init_subclass__(cls, **settings: Any) -> None:
            called.append(cls)

        @classmethod
        def __pydantic_init_subclass__(cls, **settings: Any) -> None:
            called.append(cls)

        def model_post_init(self, context: Any) -> None:
            called.append(type(self))

    state = Watched()
    called.clear()
    assert type(recording(state)[0]) is type(recording(state)[0])
    assert called == []


def test_an_inherited_method_and_super_work_on_a_view():
    class Special(Refund):
        @property
        def is_small(self) -> bool:
            return super().is_small and self.country == "DE"

    view, reads = recording(Special())
    assert isinstance(view, Special)
    assert view.is_small is True
    assert reads == {"amount": 0, "vip": False, "country": "DE"}


def test_a_change_to_a_view_never_reaches_the_state():
    state = Refund()
    view, _ = recording(state)
    with pytest.raises(TypeError, match="can't change the state"):
        view.amount = 5  # type: ignore[attr-defined]
    vars(view)["amount"] = 5
    assert state.amount == 0
