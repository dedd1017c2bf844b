"""How long a thing is, and whether it has the form that it should have."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from turnout.core.redaction import Hit, texts
from turnout.errors import SettingsInvalid
from turnout.ports.guard import Answer

LENGTH, SCHEMA = "too-long", "schema"
MOST = 20
"""Problems with a schema that are told."""


def length(longest: int) -> Callable[[Any], list[Hit]]:
    """The check that all texts together have no more than `longest` characters."""

    def check(value: Any) -> list[Hit]:
        total = 0
        for text in texts(value):
            total += 0 if text.key else len(text.text)
            if total > longest:
                return [Hit(LENGTH)]
        return []

    return check


def schema(form: Mapping[str, Any]) -> Callable[[Any], list[Hit]]:
    """The check against a JSON schema. Of a model's answer its text is checked, read as JSON. Raises `SettingsInvalid`."""
    try:
        jsonschema = importlib.import_module("jsonschema")
    except ImportError as error:
        raise SettingsInvalid(
            f"a guardrail with a schema needs {error.name}; run `pip install 'turnout[mcp]'`, which brings it"
        ) from None
    kind = jsonschema.validators.validator_for(form, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(form)
    except jsonschema.SchemaError as error:
        raise SettingsInvalid(f"schema: it is no JSON schema: {error.message}") from None
    validator = kind(form)

    def check(value: Any) -> list[Hit]:
        if isinstance(value, Answer):
            if not value.get("text"):
                return []
            try:
                value = json.loads(value["text"])
            except ValueError:
                return [Hit("no-json")]
        problems = [error for _, error in zip(range(MOST), validator.iter_errors(value), strict=False)]
        return [Hit(SCHEMA, tuple(problem.absolute_path)) for problem in problems]

    return check
