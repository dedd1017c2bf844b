"""Numbers as a JSON schema means them. JSON Schema takes 666.0 for an integer and 5 for a number; rules of policy know
whole numbers and decimals, and compare neither with the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

EXACT = 2**53
"""Up to here a whole number is the same as one with a point."""
_ALSO = ("allOf", "anyOf", "oneOf", "if", "then", "else", "$ref", "$dynamicRef", "$recursiveRef")
"""Keywords whose schemas are about the same value."""


def settled(schema: Any, data: Any) -> Any:
    """Data in which each number is written as its place in the schema says: with a point where that is a `number`, else
    without one if it is whole. What would not be exactly the same number is left as it is."""
    return _settled(_Place([schema], schema, {}), data)


def sent(data: Any) -> Any:
    """Data as it is sent: whole numbers have no point. For JSON it is the same, but a server whose schema says `number` and
    means whole ones takes a 5 and no 5.0."""
    return settled({}, data)


class _Place:
    """A place in the data: all that the schema says of it. There is one for all that it says the same of: a server makes
    up the schema, and a model the data, and one with the other is too much to look at for each item."""

    def __init__(self, schemas: Sequence[Any], root: Any, all_places: dict[tuple[int, ...], _Place]) -> None:
        self._schemas = list(_all(schemas, root, set()))
        self._root = root
        self._all_places = all_places
        self._within: dict[str | int, _Place] = {}
        self._first = max((len(_first_items(schema)) for schema in self._schemas), default=0)
        types = {name for schema in self._schemas for name in _types(schema)}
        self.point = "number" in types and "integer" not in types

    def of_name(self, name: str) -> _Place:
        return self._inner(name, _of_name)

    def of_item(self, at: int) -> _Place:
        return self._inner(min(at, self._first), _of_item)  # of all after the first it says the same

    def _inner(self, part: Any, find: Callable[[Sequence[Mapping[str, Any]], Any], Iterator[Any]]) -> _Place:
        if part not in self._within:
            schemas = list(find(self._schemas, part))
            same = tuple(map(id, schemas))  # they are parts of the root, and stay
            if same not in self._all_places:
                self._all_places[same] = _Place(schemas, self._root, self._all_places)
            self._within[part] = self._all_places[same]
        return self._within[part]


def _settled(place: _Place, data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _settled(place.of_name(name), item) for name, item in data.items()}
    if isinstance(data, list):
        return [_settled(place.of_item(at), item) for at, item in enumerate(data)]
    if isinstance(data, bool) or not isinstance(data, int | float) or not -EXACT <= data <= EXACT:
        return data
    if place.point:
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
        first, items = _first_items(schema), schema.get("items")
        if at < len(first):
            yield first[at]
        elif isinstance(items, list):
            yield schema.get("additionalItems")
        else:
            yield from (items, schema.get("unevaluatedItems"))


def _first_items(schema: Mapping[str, Any]) -> Sequence[Any]:
    """The schemas of the first items of a list, each with its own."""
    items = schema.get("items")
    first = items if isinstance(items, list) else schema.get("prefixItems")
    return first if isinstance(first, list) else ()


def _types(schema: Mapping[str, Any]) -> Sequence[str]:
    said = schema.get("type")
    return [name for name in (said if isinstance(said, list) else [said]) if isinstance(name, str)]
