"""Texts in plain JSON data: where they are, and the same data with parts of them cut out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

LONG_NUMBER = 9
"""Digits: a whole number that is as long is looked at as text, for it may be an account or a card."""
_MARK = re.compile(r"\[redacted:([a-z0-9-]{1,40})\]")
_PICTURE = frozenset(("data", "media_type", "url"))
_BEGINNINGS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
"""Of PNG, JPEG, GIF and WebP, in base64: what models take."""
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """One text of the data. `path` leads to it: keys and list indexes. `key`: it is the last key itself, not what lies
    under it. `number`: it is a number's digits."""

    path: Path
    text: str
    key: bool = False
    number: bool = False

    @property
    def under(self) -> str:
        """The name that the text stands under, as in {"password": "..."}."""
        names = [part for part in self.path if isinstance(part, str)]
        return names[-1] if names and not self.key else ""


@dataclass(frozen=True, slots=True)
class Hit:
    """What a check found: `length` characters from `start` on in the text at `path`. Without a length it is the value
    as a whole that is meant, and nothing can be cut out."""

    label: str
    path: Path = ()
    start: int = 0
    length: int = 0
    key: bool = False


def texts(value: Any, path: Path = ()) -> Iterator[Text]:
    """Every text in `value`, keys and long numbers among them, in order. The data of a picture is none."""
    if isinstance(value, str):
        yield Text(path, value)
    elif isinstance(value, dict):
        picture = _is_picture(value)
        for name, inner in value.items():
            yield Text((*path, name), name, key=True)
            if not (picture and name == "data"):
                yield from texts(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from texts(inner, (*path, index))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        digits = str(value)
        if len(digits) >= LONG_NUMBER:
            yield Text(path, digits, number=True)


def _is_picture(value: dict[str, Any]) -> bool:
    """Is it a picture as models are given them, and its data one to the last character? What a stranger only calls a
    picture is looked at like all else."""
    data, kind = value.get("data"), value.get("media_type")
    return (
        isinstance(data, str) and isinstance(kind, str) and kind.startswith("image/") and value.keys() <= _PICTURE
        and data.startswith(_BEGINNINGS) and _BASE64.fullmatch(data) is not None
    )  # fmt: skip


def mark(label: str) -> str:
    """What stands where something was cut out."""
    return f"[redacted:{label}]"


def marks(text: str, labels: Iterable[str]) -> list[tuple[int, int]]:
    """Where (from, to) marks of these labels stand: a check doesn't look at its own marks again."""
    if "[redacted:" not in text:
        return []
    own = frozenset(labels)
    return [found.span() for found in _MARK.finditer(text) if found[1] in own]


def redact(value: Any, hits: Sequence[Hit]) -> Any:
    """`value` with a mark wherever something was hit. What has no length stays. `value` itself isn't changed."""
    places: dict[tuple[Path, bool], list[Hit]] = {}
    for hit in hits:
        if hit.length:
            places.setdefault((hit.path, hit.key), []).append(hit)
    return _redact(value, (), places) if places else value


def _redact(value: Any, path: Path, places: dict[tuple[Path, bool], list[Hit]]) -> Any:
    if isinstance(value, dict):
        made: dict[str, Any] = {}
        again: dict[
            str, int
        ] = {}  # so that each number is tried once: there may be as many keys as a server likes
        for name, inner in value.items():
            where = (*path, name)
            cut = shown = _cut(name, places.get((where, True), ()))
            while shown != name and (shown in made or shown in value):  # two keys must not become one
                number = again[cut] = again.get(cut, 0) + 1
                shown = f"{cut}'{number if number > 1 else ''}"
            made[shown] = _redact(inner, where, places)
        return made
    if isinstance(value, list):
        return [_redact(inner, (*path, index), places) for index, inner in enumerate(value)]
    hits = places.get((path, False), ())
    return _cut(str(value), hits) if hits else value


def _cut(text: str, hits: Sequence[Hit]) -> str:
    """The text with marks. Hits that overlap are one, under the label of the first."""
    parts: list[str] = []
    done, label = 0, ""
    end = 0
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.length)):
        if label and hit.start < end:
            end = max(end, hit.start + hit.length)
            continue
        if label:
            parts.append(mark(label))
            done = end
        parts.append(text[done : hit.start])
        label, end = hit.label, hit.start + hit.length
    return "".join(parts) + (mark(label) + text[end:] if label else text[done:])


def pointer(path: Path, value: Any, known: frozenset[str]) -> str:
    """A path as text, `/messages/0/content`. A key that isn't `known` from the code may hold anything: instead of it
    stands its number, `#2`."""
    parts = []
    for part in path:
        if isinstance(part, str) and part not in known:
            keys = list(value) if isinstance(value, dict) else []
            parts.append(f"#{keys.index(part) + 1}" if part in keys else "#")
        else:
            parts.append(str(part))
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
    return "".join(f"/{part}" for part in parts)
