"""The `openai` SDK's responses API: OpenAI, Azure OpenAI, and whatever speaks the same at a `base_url`.

Nothing is kept upstream (`store=False`): the whole conversation goes along with each request, as it is in the journal.
"""

from __future__ import annotations

from typing import Any

from turnout.core import canon
from turnout.core.messages import ImagePart, Message, ModelReply, ModelRequest, TextPart, ToolCall, Usage
from turnout.errors import AnswerBroken, ContentFiltered, ModelFailed
from turnout.models import shape
from turnout.models.connection import arguments
from turnout.models.openai_chat import OpenAIConnection, address_of
from turnout.models.refusals import Said, failure
from turnout.models.schema import Deployment
from turnout.ports.clock import at
from turnout.ports.model import Emit


class OpenAIResponses(OpenAIConnection):
    """A model behind the responses API."""

    reserved = frozenset({"model", "input", "stream", "tools", "text", "store", "background", "conversation"})

    def _touch(self, client: Any) -> Any:
        return client.responses

    async def _complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        body, was_wrapped = body_of(request, self.terms)
        extra = body.pop("extra_body")
        create = self._touch(self._client).create
        if not self.terms.stream:
            answer = await create(**body, extra_body=extra)
            request_id = getattr(answer, "_request_id", None) or ""
        else:
            stream = await create(**body, extra_body=extra, stream=True)
            request_id = stream.response.headers.get("x-request-id", "")
            answer = None
            async with stream:
                async for event in stream:
                    if event.type == "response.output_text.delta":
                        emit({"text": event.delta})
                    elif event.type in ("response.completed", "response.incomplete", "response.failed"):
                        answer = event.response
                    elif event.type == "error":
                        raise self._refused(event.message, event.code)
            if answer is None:
                raise AnswerBroken("the stream ended before the answer was complete: it was cut off")
        reply = self._reply(answer, request, was_wrapped, request_id)
        if not self.terms.stream and reply.text:
            emit({"text": reply.text})
        return reply

    def _refused(self, message: str, code: str | None) -> ModelFailed:
        # No headers come with it, so it makes no difference what time it is.
        return failure(Said(0, message, (code or "",)), self._secrets, at(0))

    def _reply(self, answer: Any, request: ModelRequest, was_wrapped: bool, request_id: str) -> ModelReply:
        usage = usage_of(answer.usage) if answer.usage is not None else None

        def known(error: ModelFailed) -> ModelFailed:
            error.usage, error.request_id = usage, request_id
            return error

        if answer.status == "failed":
            raise known(self._refused(answer.error.message, answer.error.code))
        text, calls = "", []
        for item in answer.output:
            if item.type == "message":
                for part in item.content:
                    if part.type == "refusal":
                        raise known(ContentFiltered(f"the answer was refused: {part.refusal}"))
                    text += part.text if part.type == "output_text" else ""
            elif item.type == "function_call":
                try:
                    args = arguments(item.arguments, item.name)
                except AnswerBroken as problem:
                    raise known(problem) from None
                calls.append(ToolCall(id=item.call_id, name=item.name, args=args))
        finish = "tool_calls" if calls else "stop"
        if answer.status == "incomplete":
            why = answer.incomplete_details.reason if answer.incomplete_details is not None else ""
            if why == "content_filter":
                raise known(ContentFiltered("the answer was stopped by the content filter"))
            finish = "length"
        return ModelReply(
            text=text, tool_calls=tuple(calls), usage=usage or Usage(), finish=finish, model=answer.model or "",
            request_id=request_id,
            output=shape.unwrapped(text, was_wrapped) if request.output is not None and text else None,
        )  # fmt: skip


def body_of(request: ModelRequest, terms: Deployment) -> tuple[dict[str, Any], bool]:
    """The request as the API takes it; and whether the schema of the answer had to be wrapped."""
    options = dict(request.options)
    body: dict[str, Any] = {"model": terms.model, "store": False}
    messages, was_wrapped = request.messages, False
    if request.output is not None:
        schema, was_wrapped = shape.wrapped(request.output)
        if terms.output == "schema":
            closed = shape.strict(schema)
            body["text"] = {
                "format": {
                    "type": "json_schema",
                    "name": "answer",
                    "schema": closed or schema,
                    "strict": closed is not None,
                }
            }
        else:
            messages = shape.told(messages, schema)
            if terms.output == "json":
                body["text"] = {"format": {"type": "json_object"}}
    body["input"] = [item for message in messages for item in items_of(message)]
    if request.tools:
        body["tools"] = [{"type": "function", "strict": False, **tool} for tool in request.tools]
    choice = options.pop("tool_choice", None)
    if isinstance(choice, str):
        named = {"type": "function", "name": choice}
        body["tool_choice"] = choice if choice in ("auto", "none", "required") else named
    elif choice is not None:
        body["tool_choice"] = choice
    body["extra_body"] = options or None
    return body, was_wrapped


def items_of(message: Message) -> list[dict[str, Any]]:
    """One message as the API's items: what was said, and each tool call and its answer by itself."""
    if message.role == "tool":
        content = message.content
        output = content if isinstance(content, str) else [_part(part, "user") for part in content]
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": output}]
    items: list[dict[str, Any]] = []
    parts = (TextPart(text=message.content),) if isinstance(message.content, str) else message.content
    said = [_part(part, message.role) for part in parts if not isinstance(part, TextPart) or part.text]
    if said:
        items.append({"type": "message", "role": message.role, "content": said})
    items += [
        {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": canon.encode(call.args).decode(),
        }
        for call in message.tool_calls
    ]
    return items


def _part(part: TextPart | ImagePart, role: str) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "output_text" if role == "assistant" else "input_text", "text": part.text}
    return {"type": "input_image", "image_url": address_of(part), "detail": "auto"}


def usage_of(counted: Any) -> Usage:
    """The tokens that the API counted."""
    read, wrote = counted.input_tokens_details, counted.output_tokens_details
    return Usage(
        input_tokens=counted.input_tokens or 0,
        output_tokens=counted.output_tokens or 0,
        cache_read_tokens=(read.cached_tokens or 0) if read is not None else 0,
        cache_write_tokens=(getattr(read, "cache_write_tokens", 0) or 0) if read is not None else 0,
        reasoning_tokens=(wrote.reasoning_tokens or 0) if wrote is not None else 0,
    )
