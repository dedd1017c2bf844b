"""State: reducers, checked updates, joins, and that no node can reach another's state."""

from datetime import date
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt, Len
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from turnout.core import canon
from turnout.core.reducers import Doc, add, append, apply_delta, merge, replace
from turnout.core.state import Hydration, StateSchema
from turnout.errors import GraphInvalid, InputInvalid, MergeConflict, StateInvalid, UpdateInvalid


class Line(BaseModel):
    sku: str
    count: int = 1
    tags: list[str] = []


class Stamp(BaseModel):
    model_config = ConfigDict(frozen=True)
    by: str
    below: "Stamp | None" = None


def highest(old: int | None, new: int) -> int:
    return max(old or 0, new)


def union(old: set[str] | None, new: set[str]) -> set[str]:
    return (old or set()) | new


def upsert(old: list[Line] | None, new: Line) -> list[Line]:
    return [line for line in old or [] if line.sku != new.sku] + [new]


def broken(old: Any, new: Any) -> Any:
    raise KeyError("no such thing")


class Order(BaseModel):
    id: str
    total: int = 0
    notes: Annotated[list[str], append] = []
    spent: Annotated[int, add] = 0
    about: Annotated[dict[str, Any], merge] = {}
    peak: Annotated[int, highest] = 0
    labels: Annotated[set[str], union] = set()
    lines: Annotated[list[Line], upsert] = []
    mood: Annotated[str | None, replace] = None
    due: date | None = None
    score: float = 0.0
    data: Any = None
    raw: bytes = b""
    bad: Annotated[int, broken] = 0


ORDER = StateSchema(Order)


def after(doc: Doc, *updates: dict[str, Any] | None, schema: StateSchema = ORDER) -> Doc:
    for update in updates:
        doc = apply_delta(doc, schema.delta(doc, update, "node 'n'"))
    return doc


def fresh(**given_fields: Any) -> Doc:
    return ORDER.first({"id": "A", **given_fields})


# --- reducers --------------------------------------------------------------------------------------------------


def test_each_reducer_combines_old_and_new() -> None:
    doc = after(
        fresh(),
        {"total": 3, "notes": ["a"], "spent": 2, "about": {"x": 1, "y": 1}, "peak": 5, "mood": "ok"},
        {"total": 4, "notes": ["b", "c"], "spent": -5, "about": {"y": 2}, "peak": 2, "mood": None},
    )
    assert (doc["total"], doc["notes"], doc["spent"]) == (4, ["a", "b", "c"], -3)
    assert (doc["about"], doc["peak"], doc["mood"]) == ({"x": 1, "y": 2}, 5, None)


def test_a_users_reducer_gets_the_fields_own_types() -> None:
    doc = after(fresh(), {"labels": {"b", "a"}}, {"labels": {"c", "a"}})
    assert doc["labels"] == ["a", "b", "c"]
    doc = after(doc, {"lines": Line(sku="1")}, {"lines": Line(sku="2")}, {"lines": {"sku": "1", "count": 3}})
    assert [(line["sku"], line["count"]) for line in doc["lines"]] == [("2", 1), ("1", 3)]


def test_what_a_users_reducer_does_to_the_old_value_does_not_reach_the_document() -> None:
    def careless(old: list[Any] | None, new: list[Any]) -> list[Any]:
        old = old or []
        old[0]["seen"] = True
        return [*old, *new]

    class Log(BaseModel):
        items: Annotated[list[Any], careless] = []

    schema = StateSchema(Log)
    doc = schema.first({"items": [{"a": 1}]})
    schema.delta(doc, {"items": [1]}, "node 'n'")
    assert doc == {"items": [{"a": 1}]}


def test_a_reducer_that_appends_is_stored_as_what_it_appended() -> None:
    def keep(old: list[int] | None, new: list[int]) -> list[int]:
        return [*(old or []), *new]

    class Log(BaseModel):
        items: Annotated[list[int], keep] = []

    schema = StateSchema(Log)
    doc = schema.first({"items": [1, 2]})
    assert schema.delta(doc, {"items": [3]}, "n") == {"extend": {"items": [3]}}


def test_an_optional_field_may_have_a_reducer() -> None:
    class Maybe(BaseModel):
        notes: Annotated[list[str] | None, append] = None
        n: Annotated[int | None, add] = None
        m: Annotated[dict[str, int] | None, merge] = None

    schema = StateSchema(Maybe)
    doc = schema.first({})
    assert doc == {"notes": None, "n": None, "m": None}
    doc = after(
        doc, {"notes": ["a"], "n": 2, "m": {"k": 1}}, {"notes": None, "n": None, "m": None}, schema=schema
    )
    assert doc == {"notes": ["a"], "n": 2, "m": {"k": 1}}


def test_a_reducer_and_a_constraint_hold_together() -> None:
    class Bounded(BaseModel):
        notes: Annotated[list[str], append, Len(0, 2)] = []
        count: Annotated[int, add, Field(le=3)] = 0
        price: Annotated[int, Gt(0)] = 1

    schema = StateSchema(Bounded)
    doc = after(schema.first({}), {"notes": ["a", "b"], "count": 3}, schema=schema)
    with pytest.raises(UpdateInvalid, match=r"node 'n'.*'notes'"):
        schema.delta(doc, {"notes": ["c"]}, "node 'n'")
    with pytest.raises(UpdateInvalid, match=r"node 'n'.*'count'"):
        schema.delta(doc, {"count": 1}, "node 'n'")
    with pytest.raises(UpdateInvalid, match=r"node 'n'.*'price'"):
        schema.delta(doc, {"price": 0}, "node 'n'")


def test_a_reducer_on_the_wrong_type_and_two_reducers_are_listed_together() -> None:
    class Wrong(BaseModel):
        a: Annotated[int, append] = 0
        b: Annotated[list[int], merge] = []
        c: Annotated[str, add] = ""
        d: Annotated[list[int], append, merge] = []

    with pytest.raises(GraphInvalid) as caught:
        StateSchema(Wrong)
    assert [problem.split("'")[1] for problem in caught.value.problems] == ["a", "b", "c", "d"]


# --- what an update may not be -----------------------------------------------------------------------------------


def test_an_unknown_field_is_refused_with_the_name_that_was_meant() -> None:
    with pytest.raises(UpdateInvalid, match=r"node 'n' has the field 'totl'.*did you mean 'total'\?"):
        ORDER.delta(fresh(), {"totl": 1}, "node 'n'")
    with pytest.raises(UpdateInvalid, match=r"Order has id, total"):
        ORDER.delta(fresh(), {"zzzzzz": 1}, "node 'n'")
    with pytest.raises(UpdateInvalid, match="the field 3"):
        ORDER.delta(fresh(), {3: 1}, "node 'n'")  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("total", "many"),
        ("notes", "abc"),
        ("notes", [1]),
        ("about", [1]),
        ("spent", []),
        ("due", "soon"),
        ("lines", [{}]),
    ],
)
def test_a_wrong_type_names_node_and_field(field: str, value: Any) -> None:
    doc = fresh()
    before = canon.encode(doc)
    with pytest.raises(UpdateInvalid, match=rf"node 'n'.*{field!r}"):
        ORDER.delta(doc, {"total": 1, field: value}, "node 'n'")
    assert canon.encode(doc) == before


@pytest.mark.parametrize("update", [Line(sku="x"), [("total", 1)], "total", 5, {"total"}, Order(id="x")])
def test_an_update_that_is_not_a_dict_is_refused(update: Any) -> None:
    with pytest.raises(UpdateInvalid, match=r"node 'n' gave \w+ instead of a dict"):
        ORDER.delta(fresh(), update, "node 'n'")


def test_no_update_changes_nothing() -> None:
    assert ORDER.delta(fresh(), None, "n") == {}
    assert ORDER.delta(fresh(), {}, "n") == {}


def test_a_reducer_that_raises_is_named() -> None:
    with pytest.raises(UpdateInvalid, match=r"node 'n'.*'bad'.*'broken'.*KeyError"):
        ORDER.delta(fresh(), {"bad": 1}, "node 'n'")


@pytest.mark.parametrize(
    ("field", "value"),
    [("score", float("nan")), ("score", float("inf")), ("data", float("nan")), ("data", "\ud800"), ("data", object()),
     ("data", b"\xff"), ("about", {"k": "\ud800"}), ("peak", "\ud800")],
)  # fmt: skip
def test_what_json_cannot_hold_is_refused_and_changes_nothing(field: str, value: Any) -> None:
    doc = fresh()
    before = canon.encode(doc)
    with pytest.raises((InputInvalid, UpdateInvalid), match=rf"node 'n'.*{field!r}"):
        ORDER.delta(doc, {field: value}, "node 'n'")
    with pytest.raises(InputInvalid):
        ORDER.first({"id": "A", field: value})
    assert canon.encode(doc) == before


def test_bytes_that_are_not_text_and_half_surrogates_are_refused() -> None:
    for update in ({"raw": b"\xff"}, {"id": "\ud800"}):
        with pytest.raises(InputInvalid, match="node 'n': field"):
            ORDER.delta(fresh(), update, "node 'n'")
        with pytest.raises(InputInvalid):
            ORDER.first({"id": "A", **update})


def test_big_numbers_and_any_text_survive() -> None:
    doc = after(fresh(id="漢\x00🙂"), {"total": 2**200, "data": [2**64, "\u2028"]})
    again = canon.decode(canon.encode(doc))
    assert again == doc
    assert ORDER.hydrate(again, Hydration()).total == 2**200


# --- validators, aliases, strict and frozen models ---------------------------------------------------------------


class Span(BaseModel):
    low: int = 0
    high: int = 10
    name: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> "Span":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        return {"odd": "even"}[value] if value.startswith("o") else value


def test_a_model_validator_sees_the_state_after_the_update() -> None:
    schema = StateSchema(Span)
    doc = schema.first({"low": 3})
    with pytest.raises(
        UpdateInvalid, match=r"node 'n': the state after this update is invalid: .*low is above high"
    ):
        schema.delta(doc, {"low": 11}, "node 'n'")
    assert schema.delta(doc, {"low": 11, "high": 12}, "node 'n'") == {"set": {"low": 11, "high": 12}}
    with pytest.raises(InputInvalid, match="low is above high"):
        schema.first({"low": 11})


def test_a_validator_that_breaks_is_the_updates_fault_not_turnouts() -> None:
    schema = StateSchema(Span)
    with pytest.raises(UpdateInvalid, match=r"node 'n'.*KeyError"):
        schema.delta(schema.first({}), {"name": "oops"}, "node 'n'")
    with pytest.raises(InputInvalid, match="KeyError"):
        schema.first({"name": "oops"})


def test_a_field_with_an_alias_is_known_by_its_name() -> None:
    class Aliased(BaseModel):
        order_id: str = Field(alias="orderId")
        notes: Annotated[list[str], append] = Field(default=[], alias="remarks")

    schema = StateSchema(Aliased)
    doc = schema.first({"order_id": "A"})
    doc = after(doc, {"order_id": "B", "notes": ["x"]}, {"notes": ["y"]}, schema=schema)
    assert doc == {"order_id": "B", "notes": ["x", "y"]}
    model: Any = schema.hydrate(doc, Hydration())
    assert (model.order_id, model.notes) == ("B", ["x", "y"])
    assert schema.carried(doc) == doc
    assert schema.dump(schema.load(doc)) == doc


def test_a_strict_model_reads_back_what_json_made_of_it() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        when: date | None = None
        pair: tuple[int, int] = (0, 0)
        seen: frozenset[str] = frozenset()
        mode: Literal["a", "b"] = "a"
        n: Annotated[int, highest] = 0

    schema = StateSchema(Strict)
    doc = schema.first({})
    doc = after(doc, {"when": date(2026, 1, 2), "pair": (1, 2), "seen": {"b", "a"}, "n": 3}, schema=schema)
    assert doc == {"when": "2026-01-02", "pair": [1, 2], "seen": ["a", "b"], "mode": "a", "n": 3}
    model: Any = schema.hydrate(canon.decode(canon.encode(doc)), Hydration())
    assert (model.when, model.pair, model.seen) == (date(2026, 1, 2), (1, 2), frozenset("ab"))
    assert schema.carried(doc) == doc


def test_nested_and_self_referring_frozen_models_can_be_state() -> None:
    class Signed(BaseModel):
        model_config = ConfigDict(frozen=True)
        stamp: Stamp | None = None
        line: Line = Line(sku="x")

    schema = StateSchema(Signed)
    doc = schema.first({"stamp": {"by": "a", "below": {"by": "b"}}})
    model: Any = schema.hydrate(doc, Hydration())
    assert model.stamp.below == Stamp(by="b")
    assert after(doc, {"line": Line(sku="y", count=2)}, schema=schema)["line"]["count"] == 2


# --- carried state -------------------------------------------------------------------------------------------------


def test_carried_state_loses_old_fields_and_gets_new_defaults() -> None:
    class Later(BaseModel):
        id: str
        fresh: int = 7
        total: float = 0.0

    later = StateSchema(Later)
    assert later.carried({"id": "A", "total": 3, "gone": [1]}) == {"id": "A", "fresh": 7, "total": 3.0}


def test_carried_state_that_does_not_fit_says_so() -> None:
    class Later(BaseModel):
        id: int
        needed: str

    with pytest.raises(StateInvalid, match=r"carried state doesn't fit Later.*(id|needed)"):
        StateSchema(Later).carried({"id": "A"})


def test_a_stored_value_that_does_not_fit_its_type_is_named() -> None:
    with pytest.raises(StateInvalid, match="field 'total'"):
        ORDER.hydrate({**fresh(), "total": "many"}, Hydration())
    with pytest.raises(StateInvalid, match="doesn't fit Order"):
        ORDER.load({"total": 1})


# --- join ----------------------------------------------------------------------------------------------------------


def branch_deltas(doc: Doc, *branches: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    parts = []
    for i, updates in enumerate(branches):
        own, deltas = doc, []
        for update in updates:
            delta = ORDER.delta(own, update, f"branch {i}", alone=False)
            own = apply_delta(own, delta)
            deltas.append(delta)
        parts.append((f"branch {i}", deltas))
    return parts


def test_parallel_branches_are_joined_in_branch_order() -> None:
    doc = fresh(notes=["start"], spent=10, about={"k": 0}, peak=4, labels={"z"})
    parts = branch_deltas(
        doc,
        [{"notes": ["a1"], "spent": 1, "about": {"k": 1}}, {"notes": ["a2"], "peak": 9, "labels": {"a"}}],
        [{"notes": ["b1"], "spent": 2, "about": {"k": 2, "l": 2}, "peak": 6, "labels": {"b"}, "total": 5}],
        [{"lines": Line(sku="1")}, {"lines": Line(sku="1", count=2)}, {"labels": {"c"}}],
    )
    joined = apply_delta(doc, ORDER.join(doc, parts))
    assert joined["notes"] == ["start", "a1", "a2", "b1"]
    assert (joined["spent"], joined["about"], joined["peak"], joined["total"]) == (13, {"k": 2, "l": 2}, 9, 5)
    assert joined["labels"] == ["a", "b", "c", "z"]
    assert [line["count"] for line in joined["lines"]] == [2]


def test_two_branches_that_write_one_replaced_field_are_named() -> None:
    doc = fresh()
    parts = branch_deltas(doc, [{"total": 1}], [{"mood": "x"}], [{"total": 1}])
    with pytest.raises(MergeConflict, match=r"branch 0 and branch 2 .*'total'"):
        ORDER.join(doc, parts)


def test_one_branch_may_write_a_replaced_field_many_times() -> None:
    doc = fresh()
    parts = branch_deltas(doc, [{"total": 1}, {"total": 2}], [{"notes": ["x"]}])
    assert apply_delta(doc, ORDER.join(doc, parts))["total"] == 2


@given(st.lists(st.lists(st.integers(-5, 5), max_size=4), min_size=1, max_size=4))
def test_joining_is_the_same_as_one_after_the_other_for_reducers_that_merge(
    branches: list[list[int]],
) -> None:
    doc = fresh()
    updates = [[{"spent": n, "notes": [str(n)], "peak": n, "labels": {str(n)}} for n in b] for b in branches]
    joined = apply_delta(doc, ORDER.join(doc, branch_deltas(doc, *updates)))
    in_turn = after(doc, *(update for branch in updates for update in branch))
    assert joined == in_turn


# --- isolation -----------------------------------------------------------------------------------------------------

TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Any, st.recursive(st.integers(), lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(max_size=2), i, max_size=3), max_leaves=6)),
    (dict, st.dictionaries(st.text(max_size=2), st.lists(st.integers(), max_size=2), max_size=2)),
    (list, st.lists(st.lists(st.integers(), max_size=2), max_size=2)),
    (list[str], st.lists(st.text(max_size=2), max_size=3)),
    (list[dict[str, Any]], st.lists(st.dictionaries(st.text(max_size=2), st.lists(st.integers(), max_size=2), max_size=2), max_size=2)),
    (dict[str, list[int]], st.dictionaries(st.text(max_size=2), st.lists(st.integers(), max_size=2), max_size=2)),
    (set[int], st.sets(st.integers(), max_size=3)),
    (tuple[list[int], ...], st.lists(st.lists(st.integers(), max_size=2), max_size=2).map(tuple)),
    (Line, st.builds(Line, sku=st.text(max_size=2), tags=st.lists(st.text(max_size=2), max_size=2))),
    (list[Line] | None, st.none() | st.lists(st.builds(Line, sku=st.text(max_size=2)), max_size=2)),
    (Annotated[list[Any], append], st.lists(st.lists(st.integers(), max_size=2), max_size=2)),
]  # fmt: skip


def spoil(value: Any) -> None:
    """Change everything in `value` that can be changed."""
    if isinstance(value, BaseModel):
        value = value.__dict__
    if isinstance(value, dict):
        for item in list(value.values()):
            spoil(item)
        value["spoiled"] = True
    elif isinstance(value, list | tuple):
        for item in value:
            spoil(item)
        if isinstance(value, list):
            value.append("spoiled")
    elif isinstance(value, set):
        value.add(987654321)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_node_that_spoils_its_state_reaches_neither_the_record_nor_another_node(
    data: st.DataObject,
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
    namespace = {"__annotations__": {f"f{i}": t for i, (t, _) in enumerate(chosen)}, "__module__": __name__}
    schema = StateSchema(type("Drawn", (BaseModel,), namespace))
    doc = schema.first({f"f{i}": data.draw(strategy) for i, (_, strategy) in enumerate(chosen)})
    memory, before = Hydration(), canon.encode(doc)
    for _ in range(3):
        model = schema.hydrate(doc, memory)
        assert canon.encode(schema.dump(model)) == before
        spoil(model)
        assert canon.encode(doc) == before


def test_a_long_list_is_not_read_again_every_step() -> None:
    seen: list[str] = []

    def look(value: str) -> str:
        seen.append(value)
        return value

    class Log(BaseModel):
        items: Annotated[list[Annotated[str, AfterValidator(look)]], append] = []

    schema = StateSchema(Log)
    doc, memory = schema.first({"items": ["a"] * 50}), Hydration()
    schema.hydrate(doc, memory)
    seen.clear()
    for _ in range(10):
        doc = apply_delta(doc, {"extend": {"items": ["b"]}})
        schema.hydrate(doc, memory)
    assert seen == ["b"] * 10


def test_a_sum_that_leaves_the_numbers_is_refused() -> None:
    class Sum(BaseModel):
        x: Annotated[float, add] = 1e308

    schema = StateSchema(Sum)
    with pytest.raises(InputInvalid, match="field 'x' holds NaN or an infinite number"):
        schema.delta(schema.first({}), {"x": 1e308}, "node 'n'")
