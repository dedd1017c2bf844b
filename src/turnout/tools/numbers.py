"""Numbers as a JSON schema means them. JSON Schema takes 666.0 for an integer and 5 for a number; rules of policy know
whole numbers and decimals, and compare neither with the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

EXACT = 2**53
"""Up to here a whole number is the same as one with a point."""
_ALSO = ("allOf", "anyOf", "oneOf", "if", "then", "else", "$ref", "$dynamicRef", "$recursiveRef")
"""Keywords whose schemas are about the same value."""


def settled(schema: Any, data: Any) -> Any:
    """Data in which each number is written as its place in the schema says: with a point where that is a `number`, else
    without one if it is whole. What would not be exactly the same number is left as it is."""
    return _settled([schema], data, schema)


def _settled(schemas: Sequence[Any], data: Any, root: Any) -> Any:
    known = list(_all(schemas, root, set()))
    if isinstance(data, dict):
        return {name: _settled(list(_of_name(known, name)), item, root) for name, item in data.items()}
    if isinstance(data, list):
        return [_settled(list(_of_item(known, at)), item, root) for at, item in enumerate(data)]
    if isinstance(data, bool) or not isinstance(data, int | float) or not -EXACT <= data <= EXACT:
        return data
    types = {name for schema in known for name in _types(schema)}
    if "number" in types and "integer" not in types:
        return float(data)
    return int(data) if data == int(data) else data


def _all(schemas: Sequence[Any], root: Any, met: set[int]) -> Iterator[Mapping[str, Any]]:
    """These schemas and all that say something of the same value, of whatever alternatives there are."""
    for schema in schemas:
        if not isinstance(schema, Mapping) or id(schema) in met:
            continue
        met.add(id(schema))
        yield schema
        for keyword in _ALSO:
            said = schema.get(keyword)
            if isinstance(said, str):
                said = _at(root, said)
            yield from _all(said if isinstance(said, list) else [said], root, met)


def _at(root: Any, ref: str) -> Any:
    """What a reference within the schema is to; None for what can't be followed here."""
    found = root
    for escaped in unquote(ref).removeprefix("#").split("/")[1:]:
        part = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            found = found.get(part) if isinstance(found, Mapping) else None
    return found if ref == "#" or ref.startswith("#/") else None


def _of_name(schemas: Sequence[Mapping[str, Any]], name: str) -> Iterator[Any]:
    for schema in schemas:
        here = schema.get("properties")
        named = [here[name]] if isinstance(here, Mapping) and name in here else []
        patterns = schema.get("patternProperties")
        if isinstance(patterns, Mapping):
            named += [inner for pattern, inner in patterns.items() if re.search(pattern, name)]
        yield from named or (schema.get("additionalProperties"), schema.get("unevaluatedProperties"))


def _of_item(schemas: Sequence[Mapping[str, Any]], at: int) -> Iterator[Any]:
    for schema in schemas:
        items = schema.get("items")
        first = items if isinstance(items, list) else schema.get("prefixItems")
        if isinstance(first, list) and at < len(first):
            yield first[at]
        elif isinstance(items, list):
            yield schema.get("additionalItems")
        else:
            yield from (items, schema.get("unevaluatedItems"))


def _types(schema: Mapping[str, Any]) -> Sequence[str]:
    said = schema.get("type", ())
    return [said] if isinstance(said, str) else said
