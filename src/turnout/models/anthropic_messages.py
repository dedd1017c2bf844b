"""The `anthropic` SDK's messages API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from turnout.core import canon
from turnout.core.frozen import thawed
from turnout.core.messages import ImagePart, Message, ModelReply, ModelRequest, TextPart, ToolCall, Usage
from turnout.errors import AnswerBroken, ContentFiltered, ModelFailed
from turnout.models import shape
from turnout.models.connection import Connection, arguments, sdk
from turnout.models.schema import Deployment
from turnout.ports.model import Emit

ANTHROPIC = "https://api.anthropic.com"
MOST = 4_096
"""Tokens of an answer, when nothing else is said: this API wants to be told."""
FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length",
    "model_context_window_exceeded": "length", "refusal": "content_filter",
}  # fmt: skip


class AnthropicMessages(Connection):
    """A model behind the messages API."""

    extra = "anthropic"
    reserved = frozenset({"model", "messages", "system", "stream", "tools", "output_config"})

    def _connect(self, package: Any) -> Any:
        http = package.DefaultAsyncHttpxClient(follow_redirects=False, timeout=self._timeouts())
        return package.AsyncAnthropic(
            api_key=self._key, base_url=self.terms.base_url or ANTHROPIC, max_retries=0, timeout=self._timeouts(),
            http_client=http, default_headers=self._headers,
        )  # fmt: skip

    def _touch(self, client: Any) -> Any:
        return client.messages

    async def _complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        body, was_wrapped = body_of(request, self.terms)
        extra = body.pop("extra_body")
        gathered = _Gathered()
        if not self.terms.stream:
            answer = await self._touch(self._client).create(
                **body, extra_body=extra, timeout=self._timeouts()
            )
            gathered.whole(answer)
            gathered.request_id = getattr(answer, "_request_id", None) or ""
            if gathered.text:
                emit({"text": gathered.text})
        else:
            stream = await self._touch(self._client).create(**body, extra_body=extra, stream=True)
            gathered.request_id = stream.response.headers.get("request-id", "")
            async with stream:
                async for event in stream:
                    gathered.add(event, emit)
        return gathered.reply(request, was_wrapped)


def body_of(request: ModelRequest, terms: Deployment) -> tuple[dict[str, Any], bool]:
    """The request as the API takes it; and whether the schema of the answer had to be wrapped."""
    options = dict(request.options)
    body: dict[str, Any] = {"model": terms.model, "max_tokens": options.pop("max_output_tokens", MOST)}
    messages, was_wrapped = request.messages, False
    if request.output is not None:
        schema, was_wrapped = shape.wrapped(request.output)
        taken = _taken(schema) if terms.output == "schema" else None
        if taken is None:
            messages = shape.told(messages, schema)
        else:
            body["output_config"] = {"format": {"type": "json_schema", "schema": taken}}
    system = [message.text for message in messages if message.role == "system"]
    if system:
        body["system"] = "\n\n".join(system)
    body["messages"] = turns_of([message for message in messages if message.role != "system"])
    if request.tools:
        body["tools"] = [
            {"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]}
            for tool in request.tools
        ]
    choice = options.pop("tool_choice", None)
    if isinstance(choice, str):
        kinds = {"auto": "auto", "none": "none", "required": "any"}
        body["tool_choice"] = {"type": kinds[choice]} if choice in kinds else {"type": "tool", "name": choice}
    elif choice is not None:
        body["tool_choice"] = choice
    stop = options.pop("stop", None)
    if stop is not None:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    body["extra_body"] = options or None
    return body, was_wrapped


def _taken(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema as the API takes it. None when it can't be said in its terms."""
    try:
        found: dict[str, Any] = sdk("anthropic").transform_schema(schema)
    except ValueError:
        return None
    return found


def turns_of(messages: list[Message]) -> list[dict[str, Any]]:
    """The conversation as turns of user and assistant. The answers to the calls of one turn go into one turn, too."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    parts = (TextPart(text=message.content),) if isinstance(message.content, str) else message.content
    said = [_part(part) for part in parts if not isinstance(part, TextPart) or part.text]
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": said}]
    return said + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": thawed(call.args)}
        for call in message.tool_calls
    ]


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if part.url:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": part.data}}


@dataclass
class _Use:
    id: str
    name: str
    text: str = ""


@dataclass
class _Gathered:
    """An answer as it comes in."""

    text: str = ""
    uses: dict[int, _Use] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    finish: str = ""
    model: str = ""
    request_id: str = ""
    ended: bool = False

    def whole(self, answer: Any) -> None:
        """Take in an answer that came whole."""
        self.model, self.finish, self.ended = answer.model or "", answer.stop_reason or "", True
        self._count(answer.usage)
        for index, block in enumerate(answer.content):
            if block.type == "text":
                self.text += block.text
            elif block.type == "tool_use":
                # The SDK has read the JSON already; what isn't an object is found by `arguments`.
                self.uses[index] = _Use(block.id, block.name, canon.encode(block.input).decode())

    def add(self, event: Any, emit: Emit) -> None:
        """Take an event of a stream in."""
        if event.type == "message_start":
            self.model = event.message.model or ""
            self._count(event.message.usage)
        elif event.type == "content_block_start" and event.content_block.type == "tool_use":
            self.uses[event.index] = _Use(event.content_block.id, event.content_block.name)
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            self.text += event.delta.text
            emit({"text": event.delta.text})
        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            self.uses[event.index].text += event.delta.partial_json
        elif event.type == "message_delta":
            self.finish = event.delta.stop_reason or self.finish
            self._count(event.usage)
        elif event.type == "message_stop":
            self.ended = True

    def _count(self, usage: Any) -> None:
        """The numbers so far; later ones replace them."""
        for name in (
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ):
            value = getattr(usage, name, None)
            if value is not None:
                self.counted[name] = value
        details = getattr(usage, "output_tokens_details", None)
        thought = getattr(details, "thinking_tokens", None)
        if thought is not None:
            self.counted["thinking_tokens"] = thought

    def usage(self) -> Usage:
        """All tokens. This API counts what it has read from and written to its cache apart from the input."""
        read = self.counted.get("cache_read_input_tokens", 0)
        wrote = self.counted.get("cache_creation_input_tokens", 0)
        return Usage(
            input_tokens=self.counted.get("input_tokens", 0) + read + wrote,
            output_tokens=self.counted.get("output_tokens", 0),
            cache_read_tokens=read,
            cache_write_tokens=wrote,
            reasoning_tokens=self.counted.get("thinking_tokens", 0),
        )

    def reply(self, request: ModelRequest, was_wrapped: bool) -> ModelReply:
        """The whole answer. Raises `AnswerBroken`, `ContentFiltered`."""
        if not self.ended or not self.finish:
            raise self._with(
                AnswerBroken("the answer ended without a finish reason: it was cut off"), whole=False
            )
        finish = FINISH.get(self.finish, self.finish)
        if finish == "content_filter":
            raise self._with(ContentFiltered("the answer was refused"))
        try:
            calls = tuple(
                ToolCall(id=use.id, name=use.name, args=arguments(use.text, use.name))
                for _, use in sorted(self.uses.items())
            )
        except AnswerBroken as problem:
            raise self._with(problem) from None
        return ModelReply(
            text=self.text, tool_calls=calls, usage=self.usage(), finish=finish, model=self.model,
            request_id=self.request_id,
            output=shape.unwrapped(self.text, was_wrapped) if request.output is not None and self.text else None,
        )  # fmt: skip

    def _with(self, error: ModelFailed, *, whole: bool = True) -> ModelFailed:
        """The error with what is known: of an answer that was cut off, not how many tokens it took."""
        error.usage, error.finish, error.request_id = (
            self.usage() if whole else None,
            self.finish,
            self.request_id,
        )
        return error
