"""A state that says which of its fields a node reads, for the labels that they carry.

It is an instance of the state's class and does what that does. What can't be put down to one field (`model_dump`,
iteration, `==`, a copy, `__dict__`, a private attribute) counts as reading all of them.
"""

from __future__ import annotations

import functools
import types
from abc import ABCMeta
from collections.abc import Callable
from typing import Any, cast

from pydantic import BaseModel

from turnout.core.recording import View
from turnout.core.taint import Exposure

_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)


def watched(state: BaseModel, exposure: Exposure) -> BaseModel:
    """`state` as the node is to have it: what is read of it is told to `exposure`. Without labels it is `state` itself."""
    if not exposure.fields:
        return state
    try:
        kind = _watched_class(type(state))
        view = object.__new__(kind)
        for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
            object.__setattr__(view, name, getattr(state, name))
        object.__setattr__(view, "_turnout_watch", (state, exposure))
    except Exception:  # a class that can't be inherited from in this way
        exposure.read_all()
        return state
    return view


def unwatched(state: BaseModel) -> BaseModel:
    """The state behind a watched one: both have the same values, and looking at this one says nothing."""
    if issubclass(type(state), _Watched):
        return cast(tuple[BaseModel, Exposure], object.__getattribute__(state, "_turnout_watch"))[0]
    return state


class _Watched(View):
    """Stands first among the bases of every class whose instances are watched."""

    __slots__ = ()


@functools.lru_cache(maxsize=1024)
def _watched_class(model: type[BaseModel]) -> type[BaseModel]:
    """A subclass of the model whose instances are watched. Made without Pydantic's metaclass: nothing is rebuilt."""
    base = cast(Any, model)
    read: Callable[[object, str], Any] = base.__getattribute__
    fields = frozenset(base.model_fields)
    # What the class has says nothing of the instance's values: methods and properties read them through the view.
    known = {
        name
        for cls in model.__mro__
        for name, value in vars(cls).items()
        if not isinstance(value, _SLOTS) and name not in fields
    }

    def behind(view: object) -> tuple[BaseModel, Exposure] | None:
        try:
            return cast(tuple[BaseModel, Exposure], object.__getattribute__(view, "_turnout_watch"))
        except AttributeError:  # the node's own: type(state)(...)
            return None

    def get(view: object, name: str) -> object:
        if name == "__class__":
            return model
        found = behind(view)
        if found is not None:
            if name in fields:
                found[1].read(name)
            # A cached property, once it was asked for, lies among the values.
            elif name not in known or name in object.__getattribute__(view, "__dict__"):
                found[1].read_all()
        return read(view, name)

    def whole(view: object) -> Any:
        found = behind(view)
        if found is not None:
            found[1].read_all()
            return found[0]
        values = object.__getattribute__(view, "__dict__")
        return base.model_construct(object.__getattribute__(view, "__pydantic_fields_set__"), **values)

    names: dict[str, object] = {
        "__slots__": ("_turnout_watch",),
        "__module__": model.__module__,
        "__qualname__": model.__qualname__,
        "__doc__": model.__doc__,
        "__getattribute__": get,
        "__copy__": lambda view: whole(view).__copy__(),
        "__deepcopy__": lambda view, memo=None: whole(view).__deepcopy__(memo),
        "__reduce_ex__": lambda view, protocol: whole(view).__reduce_ex__(protocol),
    }
    return ABCMeta.__new__(type(model), model.__name__, (_Watched, model), names)
