"""The kinds of failed model calls by their names on record."""

from __future__ import annotations

from turnout.errors import ModelFailed


def _all(kind: type[ModelFailed]) -> dict[str, type[ModelFailed]]:
    found = {kind.__name__: kind}
    for below in kind.__subclasses__():
        found |= _all(below)
    return found


_KINDS = _all(ModelFailed)


def kind_of(name: str) -> type[ModelFailed]:
    """The kind of that name: the same error when it happens and when it is read from the record."""
    return _KINDS.get(name, ModelFailed)
