"""Packing: whatever JSON a body holds comes back as it was, and repeated values are stored once."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.core import canon, pack
from turnout.errors import JournalDamaged

KEYS = st.sampled_from(["$ref", "$list", "$lit", "$packed", "items", "prefix", "a"]) | st.text(max_size=3)
TEXT = st.text(max_size=5) | st.sampled_from(["x" * 600, "y" * 513, "z" * 512, "ü" * 300, "$ref"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.builds(lambda item, n: [item] * n, inner, st.integers(0, 60))
        | st.builds(lambda key, item: {key: item}, st.sampled_from(["$ref", "$list", "$lit"]), inner)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(["args", "delta", "input", "name", "result"]), JSON, min_size=1)


def addressed(stored: bytes, values: dict[str, bytes]) -> set[str]:
    """Every address that is needed to read `stored`."""
    seen: set[str] = set()
    todo = pack.wanted(stored)
    while todo:
        seen |= todo
        todo = {a for address in todo for a in pack.addresses(values[address])} - seen
    return seen


@settings(max_examples=300, deadline=None)
@given(st.lists(BODIES, min_size=1, max_size=4))
def test_any_json_comes_back_as_it_was(bodies: list[dict[str, Any]]) -> None:
    known: set[str] = set()
    store: dict[str, bytes] = {}
    packed = []
    for body in bodies:
        data = canon.encode(body)
        stored, values = pack.pack(data, known)
        assert not values.keys() & store.keys(), "stored twice"
        store |= values
        packed.append((data, stored))
    for data, stored in packed:
        needed = addressed(stored, store)  # what a reader fetches must be enough
        assert pack.unpack(stored, {a: store[a] for a in needed}.__getitem__) == data
        for address in needed:
            pack.check(address, store[address], store.__getitem__)


def test_users_data_that_looks_like_ours_is_left_alone() -> None:
    for value in (
        {"$ref": "#/$defs/X"},
        {"items": ["i" * 600], "prefix": "p"},
        {"$lit": {"$list": "x" * 600}},
    ):
        for body in ({"args": value}, {"args": [value, "pad" * 400]}):
            store: dict[str, bytes] = {}
            stored, store = pack.pack(canon.encode(body), set())
            assert pack.unpack(stored, store.__getitem__) == canon.encode(body)
            assert addressed(stored, store) == store.keys()
            for address, data in store.items():
                pack.check(address, data, store.__getitem__)


def messages(n: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"{i} " + "word " * 40} for i in range(n)]


def test_a_history_that_grows_is_stored_as_what_it_grew_by() -> None:
    known: set[str] = set()
    store: dict[str, bytes] = {}
    sizes, rows = [], []
    for n in range(2, 202, 2):
        data = canon.encode({"args": {"messages": messages(n), "model": "m"}})
        stored, values = pack.pack(data, known)
        store |= values
        sizes.append(len(stored) + sum(map(len, values.values())))
        rows.append((data, stored))
    assert max(sizes[1:]) < 3 * min(sizes[1:])
    for data, stored in rows:
        assert pack.unpack(stored, store.__getitem__) == data


def test_a_history_with_a_changed_start_is_not_taken_for_the_old_one() -> None:
    known: set[str] = set()
    store: dict[str, bytes] = {}
    rows = []
    for first in ("a", "b", "a"):
        data = canon.encode({"args": [{"role": first}, *messages(20)]})
        stored, values = pack.pack(data, known)
        store |= values
        rows.append((data, stored))
    assert [pack.unpack(stored, store.__getitem__) for _, stored in rows] == [data for data, _ in rows]


def test_numbers_that_are_equal_but_not_the_same_stay_apart() -> None:
    known: set[str] = set()
    store: dict[str, bytes] = {}
    for value in ([1] * 600, [1.0] * 600, [True] * 600):
        data = canon.encode({"args": value})
        stored, values = pack.pack(data, known)
        store |= values
        assert pack.unpack(stored, store.__getitem__) == data


def test_fields_can_be_left_packed() -> None:
    data = canon.encode({"args": messages(20), "result": "x" * 2000})
    stored, values = pack.pack(data, set())
    half = canon.decode(pack.unpack(stored, values.__getitem__, leave=["args"]))
    assert half["result"] == "x" * 2000
    assert set(half["args"]) == {"$list"}


@pytest.mark.parametrize("kind", ["list", "text", "object"])
def test_an_altered_or_missing_value_is_found(kind: str) -> None:
    value: Any = {
        "list": messages(20),
        "text": "x" * 2000,
        "object": {str(i): "word " * 20 for i in range(30)},
    }[kind]
    stored, values = pack.pack(canon.encode({"args": value}), set())
    for address in values:
        fewer = {a: v for a, v in values.items() if a != address}
        with pytest.raises(JournalDamaged, match="missing"):
            pack.unpack(stored, fewer.__getitem__)
    altered = {a: v.replace(b"w", b"W").replace(b"x", b"X") for a, v in values.items()}
    changed = next(address for address, data in values.items() if altered[address] != data)
    with pytest.raises(JournalDamaged, match="altered"):
        pack.check(changed, altered[changed], altered.__getitem__)


def test_a_list_that_grew_a_thousand_times_is_read_without_recursion() -> None:
    known: set[str] = set()
    store: dict[str, bytes] = {}
    history: list[int] = list(range(300))
    stored = b""
    for n in range(1500):  # more than the interpreter's recursion limit
        history = [*history, n]
        stored, values = pack.pack(canon.encode({"args": history}), known)
        store |= values
    assert canon.decode(pack.unpack(stored, store.__getitem__))["args"] == history
