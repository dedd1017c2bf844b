"""A state that records what is read: how a plain function used as a route still says which values it read."""

from __future__ import annotations

import functools
import math
import types
from abc import ABCMeta
from collections.abc import Callable
from typing import Any, Final, cast

from pydantic import BaseModel
from pydantic_core import to_jsonable_python


def recording(state: BaseModel) -> tuple[BaseModel, dict[str, object]]:
    """A view of the state, and the dict that gets every field read through it, under its dotted path.

    The view is an instance of the state's class; its methods and properties work, and what they read is recorded
    too. Nested models are views as well, and of them only the fields read are recorded; lists and dicts are
    recorded whole, and so is everything when all of it is asked for (`model_dump`, iteration, `==`). Cached
    properties are computed anew, so that the record doesn't depend on who asked before. A view can't be changed.
    """
    seen = _Seen()
    return _view(state, "", seen), seen.reads


class _Seen:
    """What was read so far, and the views handed out, both by path."""

    __slots__ = ("reads", "views", "whole")

    def __init__(self) -> None:
        self.reads: dict[str, object] = {}
        self.views: dict[str, BaseModel] = {}
        self.whole: set[str] = set()

    def note(self, parent: str, name: str, value: object) -> object:
        path = f"{parent}.{name}" if parent else name
        if parent not in self.whole:
            self.reads.pop(parent, None)  # of a nested model, the fields read say more
        if not isinstance(value, BaseModel):
            self.reads[path] = value
            return value
        if path not in self.views:
            self.reads.setdefault(path, value)
            self.views[path] = _view(value, path, self)
        return self.views[path]

    def note_all(self, parent: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, BaseModel):
                path = f"{parent}.{name}" if parent else name
                self.reads[path] = value
                self.whole.add(path)
            else:
                self.note(parent, name, value)


class View:
    """Stands first among a view class's bases, so that a model's hooks for its subclasses aren't called."""

    __slots__ = ()

    def __init_subclass__(cls, **settings: object) -> None:
        pass


def _view(model: BaseModel, path: str, seen: _Seen) -> BaseModel:
    kind = _view_class(type(model))
    view = object.__new__(kind)
    fields = kind.__pydantic_fields__
    values = {name: value for name, value in model.__dict__.items() if name in fields}
    object.__setattr__(view, "__dict__", values)
    object.__setattr__(view, "__pydantic_fields_set__", model.__pydantic_fields_set__)
    object.__setattr__(view, "__pydantic_extra__", model.__pydantic_extra__)
    object.__setattr__(view, "__pydantic_private__", model.__pydantic_private__)
    object.__setattr__(view, "_turnout_view", (model, path, seen))
    return view


@functools.lru_cache(maxsize=1024)
def _view_class(model: type[BaseModel]) -> type[BaseModel]:
    """A subclass of the model whose instances record. Made without Pydantic's metaclass: nothing is rebuilt."""
    base = cast(Any, model)
    read: Callable[[object, str], Any] = base.__getattribute__
    fields = frozenset(base.model_fields)
    classes = reversed(model.__mro__)
    attributes = {name: value for cls in classes for name, value in vars(cls).items()}
    cached = {
        n: value.func for n, value in attributes.items() if isinstance(value, functools.cached_property)
    }

    def of(view: object) -> tuple[BaseModel, str, _Seen]:
        return cast(tuple[BaseModel, str, _Seen], object.__getattribute__(view, "_turnout_view"))

    def get(view: object, name: str) -> object:
        if name in fields:
            value = read(view, name)
            _, path, seen = of(view)
            return seen.note(path, name, value)
        if name in cached:
            return cached[name](view)
        if name == "__class__":
            return model
        value = read(view, name)
        if name in ("__dict__", "__pydantic_extra__") and value:
            _, path, seen = of(view)
            seen.note_all(path, value)
        return value

    def get_extra(view: object, name: str) -> object:
        value = base.__getattr__(view, name)
        extra = object.__getattribute__(view, "__pydantic_extra__")
        _, path, seen = of(view)
        return seen.note(path, name, value) if extra and name in extra else value

    def change(view: object, name: str, value: object = None) -> None:
        raise TypeError(f"a route can't change the state ({name!r}); return an update from a node")

    def original(view: object) -> Any:
        whole, path, seen = of(view)
        seen.note_all(path, {**read(view, "__dict__"), **(read(view, "__pydantic_extra__") or {})})
        return whole

    names: dict[str, object] = {
        "__slots__": ("_turnout_view",),
        "__module__": model.__module__,
        "__qualname__": model.__qualname__,
        "__doc__": model.__doc__,
        "__getattribute__": get,
        "__getattr__": get_extra,
        "__setattr__": change,
        "__delattr__": change,
        "__copy__": lambda view: original(view).__copy__(),
        "__deepcopy__": lambda view, memo=None: original(view).__deepcopy__(memo),
        "__reduce_ex__": lambda view, protocol: original(view).__reduce_ex__(protocol),
    }
    return ABCMeta.__new__(type(model), model.__name__, (View, model), names)


def plain(reads: dict[str, object]) -> dict[str, object]:
    """What was read, as plain JSON data that nothing can change any more. Never fails: it is an explanation."""
    return {path: value if type(value) in _PLAIN else _plain(value) for path, value in reads.items()}


_PLAIN: Final = (str, int, bool, types.NoneType)


def _plain(value: object) -> object:
    try:
        return _finite(to_jsonable_python(value, serialize_unknown=True))
    except Exception:  # a loop, or bytes that are no text
        return f"<{type(value).__name__}>"


def _finite(data: object) -> object:
    """JSON has no word for NaN and infinity: they become texts."""
    if isinstance(data, float):
        return data if math.isfinite(data) else str(data)
    if isinstance(data, list):
        return [_finite(item) for item in data]
    return {key: _finite(item) for key, item in data.items()} if isinstance(data, dict) else data
