"""A dict that nobody can change, so that a long history of messages can be shared between steps without a copy."""

from __future__ import annotations

from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema


class FrozenDict(dict[str, Any]):
    """Plain JSON data, unchangeable down to its last value: inner objects are FrozenDicts, inner lists tuples."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            frozen,
            core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()),
            serialization=core_schema.plain_serializer_function_ser_schema(thawed),
        )

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("the arguments of a tool call can't be changed; make a new dict: {**call.args, ...}")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def frozen(value: Any) -> Any:
    """Plain JSON data, unchangeable."""
    if isinstance(value, dict):
        return FrozenDict({name: frozen(item) for name, item in value.items()})
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value


def thawed(value: Any) -> Any:
    """The same as plain dicts and lists."""
    if isinstance(value, dict):
        return {name: thawed(item) for name, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, list | tuple) else value
