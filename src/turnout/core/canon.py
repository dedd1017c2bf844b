"""One canonical JSON for everything that is stored, hashed or compared.

Canonical means: UTF-8, no spaces, object keys sorted, numbers as Python writes them. Two values are the same
to Turnout exactly when their canonical bytes are the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from turnout.errors import InputInvalid

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder()
_SCALARS = (str, int, float, bool, type(None))


def plain(value: Any, what: str = "value") -> Any:
    """Turn `value` (models, dataclasses, datetimes, sets, ...) into plain JSON data.

    What comes back shares nothing with `value`, and is what reading its canonical bytes gives: keys sorted, sets as
    sorted lists. So a node sees the same order on the day it runs and in every later process. Raises `InputInvalid`
    naming `what` when something in it has no JSON form (an open file, NaN, raw bytes or a string that aren't text):
    a journal that silently rounds or drops a value couldn't be replayed.
    """
    if value is None or type(value) in (int, bool):
        return value
    try:
        if type(value) is str:
            if not value.isascii():
                value.encode()
            return value
        if type(value) is list and all(map(_simple, value)):
            return list(value)
        if type(value) is dict and all(map(_simple, value.values())) and all(map(_simple_name, value)):
            return {name: value[name] for name in sorted(value)}
        data = to_jsonable_python(value)
        settled = _decoder.decode(_encoder.encode(settle(value, data, what)))
    except UnicodeEncodeError:
        raise _not_text(what) from None
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InputInvalid(
            f"{what} can't be stored as JSON: {error}; pass plain data or a Pydantic model"
        ) from None
    return settled


def _simple(value: Any) -> bool:
    """Is it plain JSON data already, whatever is around it? Most values are, and need no way through Pydantic."""
    kind = type(value)
    return value is None or kind is int or kind is bool or (kind is str and value.isascii())


def _simple_name(name: Any) -> bool:
    return type(name) is str and name.isascii()


def copy(data: Any) -> Any:
    """Plain JSON data again, sharing nothing that can be changed."""
    if isinstance(data, dict):
        return {name: copy(item) for name, item in data.items()}
    return [copy(item) for item in data] if isinstance(data, list) else data


def settle(value: Any, data: Any, what: str = "value") -> Any:
    """`data`, the JSON form of `value`, with the lists that were sets in `value` sorted.

    The order of a set of strings differs from process to process; a record that depended on it couldn't be matched.
    Raises `InputInvalid` for NaN and infinite numbers in `value`, which Pydantic would turn into null.
    """
    found = _survey(value)
    if found & _ENDLESS:
        raise InputInvalid(
            f"{what} holds NaN or an infinite number, which JSON doesn't have; use None or a string"
        )
    return _ordered(value, data) if found & _SET else data


def _ordered(value: Any, data: Any) -> Any:
    if isinstance(value, set | frozenset) and isinstance(data, list) and len(value) == len(data):
        return sorted((_ordered(v, d) for v, d in zip(value, data, strict=True)), key=_encoder.encode)
    if isinstance(value, list | tuple) and isinstance(data, list) and len(value) == len(data):
        return [d if type(d) in _SCALARS else _ordered(v, d) for v, d in zip(value, data, strict=True)]
    if isinstance(data, dict):
        if isinstance(value, Mapping) and len(value) == len(data):
            pairs = zip(value.values(), data.items(), strict=True)
            return {name: d if type(d) in _SCALARS else _ordered(v, d) for v, (name, d) in pairs}
        fields = _fields(value)
        if fields and not isinstance(value, Mapping):
            return {name: _ordered(fields[name], d) if name in fields else d for name, d in data.items()}
    return data


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a model or a dataclass; of all else none."""
    if isinstance(value, BaseModel) or is_dataclass(value):
        return getattr(value, "__dict__", {})
    return {}


_SET, _ENDLESS = 1, 2


def _survey(value: Any) -> int:
    """What is somewhere in `value` that needs care: a set, a number without end."""
    kind = type(value)
    if kind in _SCALARS:
        return _ENDLESS if kind is float and not math.isfinite(value) else 0
    found = 0
    if kind is dict:
        value = value.values()
    elif kind is list or kind is tuple:
        pass
    elif isinstance(value, set | frozenset):
        found = _SET
    elif isinstance(value, Mapping):
        value = value.values()
    else:
        value = _fields(value).values()
    for item in value:
        if type(item) is not str:
            found |= _survey(item)
    return found


def encode(value: Any) -> bytes:
    """Canonical bytes of plain JSON data (or of a msgspec Struct). Raises `InputInvalid` for a string that isn't text."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        raise _not_text("it") from None


def text(value: str) -> str:
    """`value` as text that can be stored: halves of surrogate pairs (a file name in an error, say) are spelled out."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _not_text(what: str) -> InputInvalid:
    return InputInvalid(
        f"{what} holds a string that is not valid Unicode (half of a surrogate pair); clean it first, e.g. with "
        f"text.encode('utf-8', 'replace').decode()"
    )


def decode(data: bytes) -> Any:
    """The plain JSON data in `data`."""
    return _decoder.decode(data)


def digest(value: Any) -> str:
    """SHA-256 over the canonical bytes of `value`, as 64 hex characters."""
    return hashlib.sha256(encode(value)).hexdigest()
