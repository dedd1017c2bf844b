"""Hostile texts and values, and what a store holds, to see whether anything has changed."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
from hypothesis import strategies as st

from turnout.ports.store import Store

PICKED = [
    "", "\0", "a\0b", "\ud800", "x\udfff", "x" * 199, "x" * 200, "x" * 201, "x" * 70_000, "\u202e\u200bx", "\x7f\x1b[2J", "\r\n",
    "'; DROP TABLE threads; --", '"', "%", "_%", "\\", "a/b", "../..", "a:b", "a,b", "*", "é", "e\u0301", "\U0001f642", "ﬀ",
    "\ufeff", "\uffff", " ", "null", "{}", "NaN", "1e999", "9" * 30, "$packed", "-", "@daily", "UTC", "graph", "open", "refunds",
]  # fmt: skip
texts = st.one_of(st.sampled_from(PICKED), st.text(st.characters(codec=None), max_size=30))
"""Any text that Python can have, halves of surrogate pairs among them."""
numbers = st.one_of(
    st.integers(), st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400])
)


def nested(depth: int, kind: str) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


values = st.one_of(
    texts, numbers, st.floats(), st.none(), st.booleans(), st.builds(nested, st.sampled_from([1, 100, 400, 3_000]), st.sampled_from(["list", "dict"])),
    st.sampled_from([b"\xff", object(), {"$packed": 1}, {"$ref": "x"}, {1: 2}, {"\0": 1}, {"\ud800": 1}, {"": ""}]),
    st.dictionaries(texts, st.one_of(texts, numbers, st.floats()), max_size=4),
    st.lists(st.one_of(texts, st.floats()), max_size=4),
)  # fmt: skip
"""What a program may hand in as data: also what has no JSON form."""


def is_json(value: Any) -> bool:
    """Plain JSON data, whose like is read back exactly."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_json(item) for name, item in value.items())
    if isinstance(value, list):
        return all(map(is_json, value))
    return value is None or isinstance(value, str | int | float | bool)


def contents(store: Store) -> str:
    """A digest of all rows that the store holds."""
    whole: Any = store
    found = hashlib.sha256()
    if whole.url.startswith("sqlite"):
        for line in whole._writer.db.iterdump():
            found.update(line.encode("utf-8", "surrogatepass"))
        return found.hexdigest()
    with psycopg.connect(whole._conninfo, autocommit=True) as db:
        tables = db.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'turnout' AND tablename NOT LIKE 'pgq%' ORDER BY 1"
        ).fetchall()  # PgQueuer's own tables change by themselves
        rows = " UNION ALL ".join(
            f"SELECT '{table}', count(*), sum(hashtextextended(t::text, 0)) FROM turnout.{table} t"
            for (table,) in tables
        )
        found.update(repr(sorted(db.execute(rows).fetchall())).encode())  # type: ignore[call-overload]
    return found.hexdigest()
