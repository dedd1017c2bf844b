"""Data held against a JSON schema that a server has made up: nothing is fetched, and nothing takes for ever."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from turnout.core import canon
from turnout.core.regexes import ways_to_search
from turnout.errors import SettingsInvalid

LONGEST = 300
"""Characters of a schema's complaint."""
MOST = 20_000_000
"""In so many ways, at the most, the expressions of a schema are tried in one check: less than a second. What could take
more isn't tried: few expressions are as slow as they could be, so a schema isn't refused for it."""
NAME = 100
"""Characters of a name, as far as expressions for names (`patternProperties`) have to be quick: these decide which
schema holds, and must be tried."""
_NAMES = ("required", "additionalProperties", "unevaluatedProperties", "dependentRequired", "dependencies")
"""Keywords whose complaints hold names and no values."""
_DATA = ("const", "default", "enum", "examples")
"""Keywords that hold data, which may look like schemas."""
_NAMED = (
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "dependentRequired",
    "dependencies",
)
"""Keywords that hold a schema, or a list of names, for each of some names."""


class SchemaCheck:
    """A schema, ready to check by."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        jsonschema = _library()
        extended = jsonschema.validators.extend(_kind(schema), {"pattern": self._pattern})
        bare = _without_kind(schema)  # else it is the plain kind again
        self._validator = extended(bare, registry=importlib.import_module("referencing").Registry())
        self._misfit = jsonschema.exceptions.ValidationError
        self._best = jsonschema.exceptions.best_match
        self._for_names = sorted(_for_names(schema))
        self._left = MOST

    def problem(self, data: Any) -> str:
        """What is wrong with data; empty when nothing is."""
        unresolvable = importlib.import_module("referencing.exceptions").Unresolvable
        self._left = MOST
        if self._for_names and not all(
            self._affords(one, name) for name in _names(data) for one in self._for_names
        ):
            return "its names are too long, or too many, to be held against its schema"
        try:
            error = self._best(self._validator.iter_errors(data))
        except (unresolvable, re.error, OverflowError, RecursionError) as problem:
            return f"its schema can't be followed: {type(problem).__name__}"
        if error is None:
            return ""
        said = _complaint(error)
        return said if error.json_path == "$" else f"{error.json_path.removeprefix('$.')}: {said}"

    def _affords(self, expression: str, text: str) -> bool:
        """May the expression be tried on a text? What it could take is taken off what is left of this check."""
        self._left -= min(ways_to_search(expression, len(text), MOST), self._left + 1)
        return self._left >= 0

    def _pattern(self, validator: Any, expression: str, text: Any, schema: Any) -> Iterator[Any]:
        if validator.is_type(text, "string"):
            before = self._left
            if not self._affords(expression, text):
                self._left = before
            elif not re.search(expression, text):
                yield self._misfit("it doesn't match")


def _complaint(error: Any) -> str:
    """What a schema doesn't like, without the values (they may be secret)."""
    if error.validator in _NAMES:
        said = error.message
    elif error.validator is None:
        said = "something is there that may not be"
    else:
        said = f"doesn't fit {canon.encode({error.validator: error.validator_value}).decode()}"
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 3]}..."


def schema_problem(schema: Mapping[str, Any]) -> str:
    """Why a schema can't be used; empty when it can."""
    misfit = _library().exceptions.SchemaError
    try:
        return _problem(schema)
    except misfit as error:
        return f"its schema is none: {error.message[:LONGEST]}"
    except (re.error, OverflowError, RecursionError, ValueError) as error:  # ValueError: of an address
        return f"its schema is none: {str(error)[:LONGEST]}"


def _problem(schema: Mapping[str, Any]) -> str:
    kind = _kind(schema)
    for ref in _references(schema):
        if not ref.startswith("#"):
            return f"its schema refers to {ref!r}; nothing is fetched for a schema"
        if not _leads_to_schema(ref):
            return f"its schema refers to {ref!r}, where no schema stands"
    kind.check_schema(schema)
    if any(_kind(inner, kind) is not kind for inner in _within(schema)):
        return "there is a schema of another kind in its schema ($schema)"
    slow = next((one for one in sorted(_for_names(schema)) if ways_to_search(one, NAME, MOST) > MOST), None)
    if slow is not None:
        return f"the expression {slow!r} for names (patternProperties) may take very long; give its repeats bounds"
    return ""


def _kind(schema: Mapping[str, Any], otherwise: Any = None) -> Any:
    """The kind that a schema names; JSON Schema 2020-12 unless it names one that is known."""
    validators = _library().validators
    otherwise = otherwise or validators.Draft202012Validator
    named = isinstance(schema.get("$schema"), str)
    return validators.validator_for(schema, default=otherwise) if named else otherwise


def _library() -> Any:
    """The library that checks. Raises `SettingsInvalid` when it isn't installed."""
    try:
        return importlib.import_module("jsonschema")
    except ImportError:
        raise SettingsInvalid("MCP tools need jsonschema; run `pip install 'turnout[mcp]'`") from None


def _references(schema: Any) -> Iterator[str]:
    for inner in _within(schema):
        for name in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(inner.get(name), str):
                yield inner[name]


def _for_names(schema: Any) -> set[str]:
    """The expressions that names are held against."""
    found = (inner.get("patternProperties") for inner in _within(schema))
    return {one for said in found if isinstance(said, Mapping) for one in said}


def _leads_to_schema(ref: str) -> bool:
    """Does a reference lead to where schemas are looked for? Data would be a schema that nobody has looked at."""
    named = False
    for part in unquote(ref).split("/")[1:]:
        if not named and part in _DATA:
            return False
        named = not named and part in _NAMED
    return not named


def _within(schema: Any, *, named: bool = False) -> Iterator[Mapping[str, Any]]:
    """All schemas in a schema, from the outermost. With `named` it is one for each name."""
    if isinstance(schema, list):
        for inner in schema:
            yield from _within(inner)
    elif isinstance(schema, Mapping):
        if not named:
            yield schema
        for name, inner in schema.items():
            if named or name not in _DATA:
                yield from _within(inner, named=not named and name in _NAMED)


def _without_kind(schema: Any, *, named: bool = False) -> Any:
    """The same without the kinds that the schemas in it name."""
    if isinstance(schema, list):
        return [_without_kind(inner) for inner in schema]
    if not isinstance(schema, Mapping):
        return schema
    bare = {}
    for name, inner in schema.items():
        if not named and name in _DATA:
            bare[name] = inner
        elif named or name != "$schema":
            bare[name] = _without_kind(inner, named=not named and name in _NAMED)
    return bare


def _names(data: Any) -> Iterator[str]:
    """All names of objects in JSON data."""
    if isinstance(data, Mapping):
        yield from data
    for inner in data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ():
        yield from _names(inner)
