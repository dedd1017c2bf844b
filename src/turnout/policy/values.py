"""JSON values as Cedar has them.

Cedar knows whole numbers of 64 bits, decimals of four places, text, true and false, sets and records. A number beyond
that is the largest there is, and one between two of those is the one that is further from zero, so that a rule which
caps it comes out right; null is left out.
"""

from __future__ import annotations

from decimal import ROUND_UP, Decimal
from typing import Any

_LONGEST = 2**63 - 1
_PLACES = Decimal("0.0001")
_MOST = 922_337_203_685_477.0
_ESCAPES = ("__entity", "__extn", "__expr")
"""Keys by which Cedar's JSON says that a value is an entity or an extension: data must not pass for one."""


def record(data: Any) -> dict[str, Any]:
    """A JSON object as the record that it is for rules. What is no object is a record of one field, `value`."""
    found = value(data if isinstance(data, dict) else {} if data is None else {"value": data})
    assert isinstance(found, dict)
    return found


def value(data: Any) -> Any:
    """One JSON value, in Cedar's JSON form. Raises ValueError for what isn't a JSON value."""
    if isinstance(data, bool | str):
        return data
    if isinstance(data, int):
        return max(-_LONGEST - 1, min(_LONGEST, data))
    if isinstance(data, float):
        exact = Decimal(repr(max(-_MOST, min(_MOST, data))))
        return {"__extn": {"fn": "decimal", "arg": f"{exact.quantize(_PLACES, ROUND_UP):f}"}}
    if isinstance(data, dict):
        return {_key(name): value(found) for name, found in data.items() if found is not None}
    if isinstance(data, list | tuple):
        return [value(found) for found in data if found is not None]
    raise ValueError(f"{type(data).__name__} is no JSON value")


def _key(name: str) -> str:
    return f"{name}_" if name in _ESCAPES else name
