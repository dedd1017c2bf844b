"""Large and repeated values are stored once, by content.

A body of up to SMALL bytes is stored as it is. In a larger one, long strings and objects are replaced by
`{"$ref": address}`, where the address is the SHA-256 of what is stored there. A long list becomes
`{"$list": address}`; its address is a chain over its items, so that the address of every *prefix* is known too: a
message history that grows by two messages a call stores two messages a call, not the history.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from turnout.core import canon
from turnout.errors import JournalDamaged

SMALL = 1_024
LARGE = 512
_PACKED = b'{"$packed":'
_MARKS = ("$ref", "$list", "$lit")
_SEGMENT = {"items", "prefix"}  # the keys of a stored part of a list


def pack(body: bytes, known: set[str]) -> tuple[bytes, dict[str, bytes]]:
    """`body` (canonical JSON of an object) as it is to be stored, and the values that have to be stored with it.

    `known` holds addresses that the store is known to have; the new ones are put into it.
    """
    if len(body) <= SMALL:
        return body, {}
    values: dict[str, bytes] = {}
    data = {name: _put(value, known, values) for name, value in canon.decode(body).items()}
    if not values and not _refers(data):
        return body, {}
    return canon.encode({"$packed": data}), values


def unpack(stored: bytes, get: Callable[[str], bytes], leave: Iterable[str] = ()) -> bytes:
    """The body again. `get` gives the value at an address, or raises KeyError. Fields in `leave` stay as they are."""
    if not stored.startswith(_PACKED):
        return stored
    data = canon.decode(stored)["$packed"]
    left = set(leave)
    lists: dict[str, list[Any]] = {}
    whole = {name: value if name in left else _take(value, get, lists) for name, value in data.items()}
    return canon.encode(whole)


def wanted(body: bytes, leave: Iterable[str] = ()) -> set[str]:
    """The addresses that a stored body names directly, but for fields in `leave`. A body that isn't packed names none,
    whatever is in it."""
    if not body.startswith(_PACKED):
        return set()
    found: set[str] = set()
    left = set(leave)
    for name, value in canon.decode(body)["$packed"].items():
        if name not in left:
            _collect(value, found)
    return found


def addresses(stored: bytes) -> set[str]:
    """The addresses that a stored value names directly."""
    prefix, found = parts(stored)
    return found | {prefix} if prefix else found


def parts(stored: bytes) -> tuple[str, set[str]]:
    """The address of the list that a stored value carries on ("" when it carries none on), and what its items name."""
    found: set[str] = set()
    if b'"$' not in stored and b'"prefix"' not in stored:
        return "", found
    data = canon.decode(stored)
    _collect(data, found)
    return (data["prefix"] if isinstance(data, dict) and data.keys() == _SEGMENT else ""), found


def check(address: str, stored: bytes, get: Callable[[str], bytes]) -> None:
    """Raise `JournalDamaged` when the value at `address` isn't what it was."""
    data = canon.decode(stored)
    if isinstance(data, dict) and data.keys() == _SEGMENT:
        digest = bytes.fromhex(data["prefix"]) if data["prefix"] else _EMPTY
        for item in data["items"]:
            digest = _link(digest, canon.encode(_take(item, get, {})))
        actual = digest.hex()
    else:
        actual = hashlib.sha256(stored).hexdigest()
    if actual != address:
        raise JournalDamaged(
            f"the stored value {address[:12]}... was altered; restore the store from a backup"
        )


def _put(value: Any, known: set[str], values: dict[str, bytes]) -> Any:
    if isinstance(value, str):
        return _ref(canon.encode(value), known, values) if len(value) > LARGE else value
    if isinstance(value, list):
        if len(canon.encode(value)) <= LARGE:
            return [_put(item, known, values) for item in value]
        return _put_list(value, known, values)
    if isinstance(value, dict):
        packed = {name: _put(item, known, values) for name, item in value.items()}
        if (len(packed) == 1 and next(iter(packed)) in _MARKS) or packed.keys() == _SEGMENT:
            packed = {"$lit": packed}  # the user's own data looks like ours
        data = canon.encode(packed)
        return _ref(data, known, values) if len(data) > LARGE else packed
    return value


def _ref(data: bytes, known: set[str], values: dict[str, bytes]) -> Any:
    address = hashlib.sha256(data).hexdigest()
    if address not in known:
        known.add(address)
        values[address] = data
    return {"$ref": address}


_EMPTY = hashlib.sha256(b"list").digest()


def _link(digest: bytes, item: bytes) -> bytes:
    return hashlib.sha256(digest + item).digest()


def _put_list(value: list[Any], known: set[str], values: dict[str, bytes]) -> Any:
    chain = [_EMPTY]
    for item in value:
        chain.append(_link(chain[-1], canon.encode(item)))
    address = chain[-1].hex()
    if address not in known:
        start = next((i for i in range(len(value) - 1, 0, -1) if chain[i].hex() in known), 0)
        items = [_put(item, known, values) for item in value[start:]]
        known.add(address)
        values[address] = canon.encode({"prefix": chain[start].hex() if start else "", "items": items})
    return {"$list": address}


def _take(value: Any, get: Callable[[str], bytes], lists: dict[str, list[Any]]) -> Any:
    if isinstance(value, list):
        return [_take(item, get, lists) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (name, inner), *_ = value.items()
        if name == "$lit":
            return {key: _take(item, get, lists) for key, item in inner.items()}
        if name == "$ref":
            return _take(canon.decode(_get(inner, get)), get, lists)
        if name == "$list":
            return _take_list(inner, get, lists)
    return {name: _take(item, get, lists) for name, item in value.items()}


def _take_list(address: str, get: Callable[[str], bytes], lists: dict[str, list[Any]]) -> list[Any]:
    """Follow the prefixes back, then put the items together. A loop, not a recursion: histories are long."""
    parts: list[list[Any]] = []
    at = address
    while at and at not in lists:
        segment = canon.decode(_get(at, get))
        parts.append(segment["items"])
        at = segment["prefix"]
    whole = list(lists[at]) if at else []
    for items in reversed(parts):
        whole += [_take(item, get, lists) for item in items]
    lists[address] = whole
    return list(whole)


def _get(address: str, get: Callable[[str], bytes]) -> bytes:
    try:
        return get(address)
    except KeyError:
        raise JournalDamaged(
            f"the stored value {address[:12]}... is missing; restore the store from a backup"
        ) from None


def _refers(data: Any) -> bool:
    found: set[str] = set()
    _collect(data, found)
    return bool(found) or b'"$' in canon.encode(data)


def _collect(data: Any, found: set[str]) -> None:
    if isinstance(data, list):
        for item in data:
            _collect(item, found)
    elif isinstance(data, dict):
        if len(data) == 1:
            (name, inner), *_ = data.items()
            if name in ("$ref", "$list") and isinstance(inner, str):
                found.add(inner)
                return
            if name == "$lit":
                inner_values = inner.values() if isinstance(inner, dict) else ()
                for item in inner_values:
                    _collect(item, found)
                return
        for item in data.values():
            _collect(item, found)
