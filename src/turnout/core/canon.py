"""One canonical JSON for everything that is stored, hashed or compared.

Canonical means: UTF-8, no spaces, object keys sorted, numbers as Python writes them. Two values are the same
to Turnout exactly when their canonical bytes are the same.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import msgspec
from pydantic_core import PydanticSerializationError, to_jsonable_python

from turnout.errors import InputInvalid

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder()


def plain(value: Any, what: str = "value") -> Any:
    """Turn `value` (models, dataclasses, datetimes, sets, ...) into plain JSON data.

    Raises `InputInvalid` naming `what` when something in it has no JSON form (an open file, NaN, raw bytes that
    aren't text): a journal that silently rounds or drops a value couldn't be replayed.
    """
    if value is None or type(value) in (str, int, bool):
        return value
    try:
        data = to_jsonable_python(value)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InputInvalid(
            f"{what} can't be stored as JSON: {error}; pass plain data or a Pydantic model"
        ) from None
    if not _finite(data):
        raise InputInvalid(
            f"{what} holds NaN or an infinite number, which JSON doesn't have; use None or a string"
        )
    return data


def encode(value: Any) -> bytes:
    """Canonical bytes of plain JSON data (or of a msgspec Struct)."""
    return _encoder.encode(value)


def decode(data: bytes) -> Any:
    """The plain JSON data in `data`."""
    return _decoder.decode(data)


def digest(value: Any) -> str:
    """SHA-256 over the canonical bytes of `value`, as 64 hex characters."""
    return hashlib.sha256(_encoder.encode(value)).hexdigest()


def _finite(data: Any) -> bool:
    if isinstance(data, float):
        return math.isfinite(data)
    if isinstance(data, dict):
        return all(map(_finite, data.values()))
    if isinstance(data, list):
        return all(map(_finite, data))
    return True
