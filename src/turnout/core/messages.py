"""Messages, requests and replies of models, in the shape that every provider can be translated to."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from turnout.core.frozen import FrozenDict
from turnout.core.schema import nearest

_recorded: ContextVar[bool] = ContextVar("recorded", default=False)


@contextmanager
def recorded() -> Iterator[None]:
    """What is read meanwhile was let pass when it was recorded, maybe with fields that nobody knows: they are left out."""
    before = _recorded.set(True)
    try:
        yield
    finally:
        _recorded.reset(before)


class Said(BaseModel):
    """Refuses a field that it doesn't have: a slip of the pen would be lost without a word. A subclass may say `extra`."""

    @model_validator(mode="before")
    @classmethod
    def _has_its_fields_alone(cls, given: Any) -> Any:
        # Not extra="forbid": that is part of the JSON schema, and so of the fingerprint of each graph with messages.
        if isinstance(given, dict) and not given.keys() <= cls.__pydantic_fields__.keys():
            cls._refuse(given)
        return given

    @classmethod
    def _refuse(cls, given: dict[Any, Any]) -> None:
        known = [n for name, info in cls.model_fields.items() for n in (name, info.alias) if n is not None]
        unknown = next((str(name) for name in given if name not in known), None)
        if unknown is None or "extra" in cls.model_config or _recorded.get():
            return
        hint = nearest(unknown, known) or f"; it has {', '.join(known)}"
        words = {"model": cls.__name__, "field": repr(unknown), "hint": hint}
        raise PydanticCustomError("unknown_field", "{model} has no {field}{hint}", words)


class ToolCall(Said):
    """A model's wish that a tool be called. It is a wish: whether it happens is decided in code."""

    model_config = ConfigDict(frozen=True)
    id: str
    name: str
    args: FrozenDict = FrozenDict()


class TextPart(BaseModel):
    """Text among other parts of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    text: str


class ImagePart(BaseModel):
    """A picture: at an address, or `data` (base64) of a `media_type` such as image/png."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    url: str = ""
    data: str = ""
    media_type: str = ""

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> ImagePart:
        if bool(self.url) == bool(self.data) or bool(self.data) != bool(self.media_type):
            raise ValueError("an image has a url, or data with its media_type")
        return self

    @classmethod
    def of(cls, data: bytes, media_type: str) -> ImagePart:
        """The picture in `data`. It is kept in the journal, once."""
        return cls(data=base64.b64encode(data).decode(), media_type=media_type)


Part = TextPart | ImagePart


class Message(Said):
    """One message of a conversation. `content` is text, or parts: text and images in their order.

    `tool_call_id` says which call a tool message answers.
    """

    model_config = ConfigDict(frozen=True)
    role: Literal["system", "user", "assistant", "tool"]
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        """The text of the content, without its images."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))


MOST_TOKENS = 2**40
"""Of one call: more than any model reads or writes. A number above it was not counted."""

MOST_MICROS = 2**53
"""The same of what a call costs."""


class Usage(Said):
    """Tokens of one call. `input_tokens` and `output_tokens` are all of them, those of the other fields counted in:
    what was read from and written to the upstream's prompt cache, and what the model thought before it answered."""

    model_config = ConfigDict(frozen=True)
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def possible(self) -> bool:
        """Can these numbers have been counted? What isn't is as good as unknown; an older journal may have some."""
        counts = (
            self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_write_tokens, self.reasoning_tokens,
        )  # fmt: skip
        return all(0 <= count <= MOST_TOKENS for count in counts)


class ModelRequest(BaseModel):
    """What a model is asked. `tools` are name, description and JSON schema; `output` is a JSON schema or None."""

    model_config = ConfigDict(frozen=True)
    alias: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    output: dict[str, Any] | None = None
    options: dict[str, Any] = {}


class ModelReply(Said):
    """What a model answered. `output` is the validated object when the request asked for a type.

    `finish` is stop, tool_calls, length or content_filter. `cost_micros` is in millionths of the account's currency
    unit, over all attempts. `request_id` is the upstream's name for the request.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    output: Any = None
    usage: Usage = Usage()
    finish: str = "stop"
    model: str = ""
    cost_micros: int = 0
    request_id: str = ""

    @property
    def possible(self) -> bool:
        """Can it have used and cost what it says?"""
        return self.usage.possible and 0 <= self.cost_micros <= MOST_MICROS

    @property
    def message(self) -> Message:
        """The reply as the assistant's message, to be put into the history."""
        return Message(role="assistant", content=self.text, tool_calls=self.tool_calls)
