"""The `openai` SDK's chat completions: OpenAI, Azure OpenAI, and whatever speaks the same at a `base_url`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from turnout.core import canon
from turnout.core.messages import ImagePart, Message, ModelReply, ModelRequest, TextPart, ToolCall, Usage
from turnout.errors import AnswerBroken, ContentFiltered, ModelFailed, ModelRequestRefused
from turnout.models import shape
from turnout.models.connection import Connection, arguments
from turnout.models.schema import Deployment
from turnout.ports.model import Emit

OPENAI = "https://api.openai.com/v1"


class OpenAIConnection(Connection):
    """The client that chat completions and responses share."""

    extra = "openai"

    def _connect(self, package: Any) -> Any:
        # No redirects: they would be requests that nobody sees, and carry keys to other hosts.
        http = package.DefaultAsyncHttpx2Client(follow_redirects=False, timeout=self._timeouts())
        common = {
            "api_key": self._key, "max_retries": 0, "timeout": self._timeouts(), "http_client": http,
            "default_headers": self._headers,
        }  # fmt: skip
        if self.terms.provider == "azure":
            return package.AsyncAzureOpenAI(
                azure_endpoint=self.terms.base_url, api_version=self.terms.api_version, **common
            )
        return package.AsyncOpenAI(base_url=self.terms.base_url or OPENAI, **common)


class OpenAIChat(OpenAIConnection):
    """A model behind the chat completions API."""

    reserved = frozenset({"model", "messages", "stream", "stream_options", "tools", "response_format", "n"})

    def _touch(self, client: Any) -> Any:
        return client.chat.completions

    async def _complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        body, was_wrapped = body_of(request, self.terms)
        extra = body.pop("extra_body")
        create = self._touch(self._client).create
        if not self.terms.stream:
            answer = await create(**body, extra_body=extra)
            gathered = _gathered(answer)
            gathered.request_id = getattr(answer, "_request_id", None) or ""
            if gathered.text:
                emit({"text": gathered.text})
        else:
            gathered = _Gathered()
            stream = await create(
                **body, extra_body=extra, stream=True, stream_options={"include_usage": True}
            )
            gathered.request_id = stream.response.headers.get("x-request-id", "")
            async with stream:
                async for chunk in stream:
                    gathered.add(chunk, emit)
        return gathered.reply(request, was_wrapped)


def body_of(request: ModelRequest, terms: Deployment) -> tuple[dict[str, Any], bool]:
    """The request as the API takes it; and whether the schema of the answer had to be wrapped."""
    options = dict(request.options)
    body: dict[str, Any] = {"model": terms.model}
    messages, was_wrapped = request.messages, False
    if request.output is not None:
        schema, was_wrapped = shape.wrapped(request.output)
        if terms.output == "schema":
            closed = shape.strict(schema)
            named = {"name": "answer", "schema": closed or schema, "strict": closed is not None}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        else:
            messages = shape.told(messages, schema)
            if terms.output == "json":
                body["response_format"] = {"type": "json_object"}
    body["messages"] = [message_of(message) for message in messages]
    if request.tools:
        body["tools"] = [{"type": "function", "function": tool} for tool in request.tools]
    most = options.pop("max_output_tokens", None)
    if most is not None:
        compatible = terms.provider == "openai" and terms.base_url
        body["max_tokens" if compatible else "max_completion_tokens"] = most
    choice = options.pop("tool_choice", None)
    if isinstance(choice, str):
        named_tool = {"type": "function", "function": {"name": choice}}
        body["tool_choice"] = choice if choice in ("auto", "none", "required") else named_tool
    elif choice is not None:
        body["tool_choice"] = choice
    body["extra_body"] = options or None
    return body, was_wrapped


def message_of(message: Message) -> dict[str, Any]:
    """One message as the API takes it. Raises `ModelRequestRefused`."""
    if message.role == "tool":
        if not isinstance(message.content, str):
            raise ModelRequestRefused(
                "a tool's answer can't hold parts in this API; put images into a user message"
            )
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    said: dict[str, Any] = {"role": message.role}
    if isinstance(message.content, str):
        said["content"] = message.content
    else:
        said["content"] = [_part(part) for part in message.content]
    if message.name:
        said["name"] = message.name
    if message.tool_calls:
        said["content"] = said["content"] or None
        said["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": canon.encode(call.args).decode()},
            }
            for call in message.tool_calls
        ]
    return said


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": address_of(part)}}


def address_of(part: ImagePart) -> str:
    """The image's address; that of one at hand holds the data."""
    return part.url or f"data:{part.media_type};base64,{part.data}"


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    text: str = ""


@dataclass
class _Gathered:
    """An answer as it comes in."""

    text: str = ""
    refusal: str = ""
    calls: dict[int, _Call] = field(default_factory=dict)
    usage: Usage | None = None
    finish: str = ""
    model: str = ""
    request_id: str = ""

    def add(self, chunk: Any, emit: Emit) -> None:
        """Take a chunk of a stream in."""
        self.model = chunk.model or self.model
        if chunk.usage is not None:
            self.usage = usage_of(chunk.usage)
        for choice in chunk.choices or ():
            delta = choice.delta
            if delta is not None and delta.content:
                self.text += delta.content
                emit({"text": delta.content})
            if delta is not None and delta.refusal:
                self.refusal += delta.refusal
            for piece in (delta.tool_calls or ()) if delta is not None else ():
                call = self.calls.setdefault(piece.index, _Call())
                call.id = piece.id or call.id
                if piece.function is not None:
                    call.name = call.name or piece.function.name or ""
                    call.text += piece.function.arguments or ""
            self.finish = choice.finish_reason or self.finish

    def reply(self, request: ModelRequest, was_wrapped: bool) -> ModelReply:
        """The whole answer. Raises `AnswerBroken`, `ContentFiltered`."""
        if not self.finish:
            raise self._with(AnswerBroken("the answer ended without a finish reason: it was cut off"))
        if self.finish == "content_filter" or self.refusal:
            why = f": {self.refusal}" if self.refusal else ""
            raise self._with(ContentFiltered(f"the answer was refused{why}"))
        try:
            calls = tuple(
                ToolCall(id=call.id or f"call-{index}", name=call.name, args=arguments(call.text, call.name))
                for index, call in sorted(self.calls.items())
            )
        except AnswerBroken as problem:
            raise self._with(problem) from None
        finish = "tool_calls" if self.finish == "function_call" else self.finish
        return ModelReply(
            text=self.text, tool_calls=calls, usage=self.usage or Usage(), finish=finish, model=self.model,
            request_id=self.request_id,
            output=shape.unwrapped(self.text, was_wrapped) if request.output is not None and self.text else None,
        )  # fmt: skip

    def _with(self, error: ModelFailed) -> ModelFailed:
        error.usage, error.finish, error.request_id = self.usage, self.finish, self.request_id
        return error


def _gathered(answer: Any) -> _Gathered:
    """An answer that came whole."""
    choice = answer.choices[0]
    said = choice.message
    found = _Gathered(
        text=said.content or "", refusal=said.refusal or "", finish=choice.finish_reason or "", model=answer.model or "",
        usage=usage_of(answer.usage) if answer.usage is not None else None,
    )  # fmt: skip
    for index, call in enumerate(said.tool_calls or ()):
        found.calls[index] = _Call(call.id, call.function.name, call.function.arguments)
    return found


def usage_of(counted: Any) -> Usage:
    """The tokens that the API counted."""
    read = counted.prompt_tokens_details
    wrote = counted.completion_tokens_details
    return Usage(
        input_tokens=counted.prompt_tokens or 0,
        output_tokens=counted.completion_tokens or 0,
        cache_read_tokens=(read.cached_tokens or 0) if read is not None else 0,
        cache_write_tokens=(read.cache_write_tokens or 0) if read is not None else 0,
        reasoning_tokens=(wrote.reasoning_tokens or 0) if wrote is not None else 0,
    )
