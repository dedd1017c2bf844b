"""Forms made from JSON schemas, and what came back in them. Names of fields in a form are paths: `field.inner`, each part
written as in an address, since a key may hold anything, also a point or the end of a line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from turnout.errors import InputInvalid

VALUE = "value"
CAME = "came"
"""A field, not seen, that says that the form came back: one in which no box is ticked may hold nothing else."""
NUMBER = re.compile(r"^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$")
WHOLE = "this must be a whole number, like 1200"
SHORT = 60
"""A text that is longer gets more than one line."""
DEEP = 2
"""So many levels of objects have fields of their own; what is further inside is written as JSON."""


@dataclass(frozen=True)
class Field:
    """A field of a form. `kind`: text, long, number, integer, boolean, choice, lines (a list of texts, a line each), json,
    free (a number if it looks like one, else text), or group (then only `inner` counts).

    `key` is that of the value in the object that it is a part of, `shown` what stands in the field, `problem` what is
    wrong with that.
    """

    name: str
    key: str
    kind: str
    value: Any
    shown: str
    note: str = ""
    choices: tuple[str, ...] = ()
    nullable: bool = False
    problem: str = ""
    inner: tuple[Field, ...] = ()

    @property
    def label(self) -> str:
        """Its key, as people write it."""
        return self.key.replace("_", " ")


def fields(schema: Mapping[str, Any], value: Any, name: str = VALUE) -> tuple[Field, ...]:
    """The fields of a form for a value; those of an object each by itself."""
    defs = schema.get("$defs", {})
    whole, _ = _plain(schema, defs)
    if isinstance(value, dict) and (whole.get("properties") or whole.get("type") == "object"):
        return _inside(whole, defs, value, name, 0)
    return (_field(schema, defs, value, name, VALUE, 0),)


def _inside(
    schema: Mapping[str, Any], defs: Mapping[str, Any], value: Mapping[str, Any], name: str, depth: int
) -> tuple[Field, ...]:
    known = schema.get("properties", {})
    return tuple(
        _field(known.get(key, {}), defs, inner, f"{name}.{_part(key)}", key, depth)
        for key, inner in value.items()
    )


def _part(key: str) -> str:
    return quote(key, safe="", errors="replace").replace(".", "%2E")


def _plain(schema: Any, defs: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The schema behind references and `or null`, and whether null is allowed."""
    nullable = False
    for _ in range(8):
        if not isinstance(schema, Mapping):
            return {}, nullable
        if "$ref" in schema:
            schema = defs.get(str(schema["$ref"]).rpartition("/")[2], {})
            continue
        options = schema.get("anyOf") or schema.get("oneOf")
        if not options:
            break
        others = [one for one in options if not isinstance(one, Mapping) or one.get("type") != "null"]
        nullable = nullable or len(others) < len(options)
        if len(others) != 1:
            return {}, nullable
        schema = others[0]
    return schema, nullable


def _field(
    schema: Mapping[str, Any], defs: Mapping[str, Any], value: Any, name: str, key: str, depth: int
) -> Field:
    plain, nullable = _plain(schema, defs)
    note = str(schema.get("description") or plain.get("description") or "")
    kind, choices = _kind(plain, defs, value, depth)
    made = Field(name, key, kind, value, "", note, choices, nullable or value is None)
    if kind == "group":
        return replace(made, inner=_inside(plain, defs, value, name, depth + 1))
    return replace(made, shown=_shown(kind, value))


def _kind(
    schema: Mapping[str, Any], defs: Mapping[str, Any], value: Any, depth: int
) -> tuple[str, tuple[str, ...]]:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices and all(isinstance(one, str) for one in choices) and isinstance(value, str | None):
        # a browser sends the first one if the present value is none of them
        return "choice", tuple(choices) if value is None or value in choices else (*choices, value)
    kind = schema.get("type")
    if kind == "string" and isinstance(value, str | None):
        return ("long" if len(value or "") > SHORT or set(value or "") & {"\n", "\r"} else "text"), ()
    if kind == "boolean" and isinstance(value, bool | None):
        return "boolean", ()
    if kind in ("number", "integer") and isinstance(value, int | float | None):
        return str(kind), ()
    if (
        kind == "array"
        and isinstance(value, list)
        and _plain(schema.get("items", {}), defs)[0].get("type") == "string"
    ):
        fit = all(
            isinstance(item, str) and item and item == item.strip() and not set(item) & {"\n", "\r"}
            for item in value
        )
        return ("lines" if fit else "json"), ()
    if kind == "object" and isinstance(value, dict) and value and depth < DEEP:
        return "group", ()
    if not schema and value is None:
        return "free", ()
    return "json", ()


def _shown(kind: str, value: Any) -> str:
    if kind == "json":
        return json.dumps(value, ensure_ascii=False, indent=2)
    if value is None:
        return ""
    if kind == "boolean":
        return "yes" if value else ""
    if kind == "lines":
        return "\n".join(value)
    return str(value)


def read(form: tuple[Field, ...], given: Mapping[str, str]) -> tuple[tuple[Field, ...], Any]:
    """The form as it came back (with what is wrong), and the value that it says: an object of the fields' values, or the
    one value. What isn't in `given` stays as it was, except for boxes that aren't ticked; where nothing of the form is in
    it, boxes stay, too."""
    came = CAME in given or any(name.partition(".")[0] == VALUE for name in given)
    done = [_read(field, given) if came else (field, field.value) for field in form]
    seen = tuple(field for field, _ in done)
    if len(form) == 1 and form[0].name == VALUE:
        return seen, done[0][1]
    return seen, {field.key: value for field, value in done}


def problems(form: tuple[Field, ...]) -> list[str]:
    """What is wrong, a line for each field."""
    found = []
    for field in form:
        found += [f"{field.label}: {field.problem}"] if field.problem else []
        found += problems(field.inner)
    return found


def _read(field: Field, given: Mapping[str, str]) -> tuple[Field, Any]:
    if field.kind == "group":
        done = [_read(inner, given) for inner in field.inner]
        value = {inner.key: found for inner, found in done}
        return replace(field, inner=tuple(inner for inner, _ in done)), value
    if field.name not in given and field.kind != "boolean":
        return field, field.value
    text = _lines(given.get(field.name, ""))
    if text == _lines(field.shown):
        return field, field.value
    try:
        return replace(field, shown=text), _value(field, text)
    except InputInvalid as error:
        return replace(field, shown=text, problem=str(error)), field.value


def _lines(text: str) -> str:
    """A text as a browser has it, with its lines ended as here: it ends them in its own way, whatever they were, and puts
    something else for a zero character."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _value(field: Field, text: str) -> Any:
    kind, bare = field.kind, text.strip()
    if kind == "boolean":
        return bool(text)
    if kind == "lines":
        return [line.strip() for line in text.split("\n") if line.strip()]
    if not bare and field.nullable:
        return None
    if kind == "choice" and text not in field.choices:
        raise InputInvalid(f"one of {', '.join(field.choices)}")
    if kind in ("number", "integer"):
        whole = kind == "integer"
        if not NUMBER.match(bare):
            raise InputInvalid(WHOLE if whole else "this must be a number, like 1200 or 12.50")
        return _number(bare, whole=whole)
    if kind == "free":
        return _number(bare, whole=False) if NUMBER.match(bare) else text
    if kind == "json":
        return _json(text)
    return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputInvalid(f"this is not JSON ({error})") from None
    except RecursionError:
        raise InputInvalid("this is nested too deeply") from None


def _number(text: str, *, whole: bool) -> int | float:
    try:
        return int(text)
    except ValueError:
        found = float(text)
    if found in (float("inf"), float("-inf")):
        raise InputInvalid("this number is too large")
    if whole:
        raise InputInvalid(WHOLE)
    return found
