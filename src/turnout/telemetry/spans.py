"""What has happened, as spans of OpenTelemetry: names, kinds and attributes by the conventions."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from turnout.core.attempts import Attempt
from turnout.core.tracing import Traced
from turnout.telemetry import conventions as c
from turnout.telemetry.tracks import Track

_TOKENS = {
    "input_tokens": c.INPUT_TOKENS, "output_tokens": c.OUTPUT_TOKENS, "cache_read_tokens": c.CACHE_READ_TOKENS,
    "cache_write_tokens": c.CACHE_WRITE_TOKENS, "reasoning_tokens": c.REASONING_TOKENS,
}  # fmt: skip
Attributes = dict[str, Any]


class Spans:
    """Makes spans of tracks. With `content` they hold what was said, too."""

    def __init__(self, resource: Resource, version: str, content: bool) -> None:
        self._resource = resource
        self._scope = InstrumentationScope(c.SCOPE, version, c.SCHEMA_URL)
        self._content = content

    def of(self, track: Track) -> ReadableSpan | None:
        """The span of a track; None when it takes no time (it is counted), or its trace isn't recorded."""
        if not track.at.sampled or track.kind not in _KINDS:
            return None
        name, kind, more = _KINDS[track.kind](track, self._content)
        attributes = {
            c.THREAD: track.entry.thread, c.RUN: track.entry.run, c.GRAPH: track.graph, c.CONVERSATION: track.entry.thread,
            **more,
        }  # fmt: skip
        if track.entry.step:
            attributes[c.STEP] = track.entry.step
        if track.tenant:
            attributes[c.TENANT] = track.tenant
        if track.error:
            attributes[c.ERROR] = track.error
        if not track.known:
            attributes[c.PARTIAL] = True
        end = track.entry.at
        if track.kind == "attempt":
            end = track.began + track.facts["attempt"].ms * 1000
        return ReadableSpan(
            name, _context(track.at), _context(Traced(track.at.trace, track.parent)) if track.parent else None,
            self._resource, attributes, kind=kind, status=Status(StatusCode.ERROR if track.error else StatusCode.UNSET),
            start_time=track.began * 1000, end_time=max(end, track.began) * 1000, instrumentation_scope=self._scope,
        )  # fmt: skip


def _context(place: Traced) -> SpanContext:
    return SpanContext(
        int(place.trace, 16), int(place.span, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )


def _run(track: Track, content: bool) -> tuple[str, SpanKind, Attributes]:
    return f"{c.INVOKE_WORKFLOW} {track.graph}", SpanKind.INTERNAL, {
        c.OPERATION: c.INVOKE_WORKFLOW, c.WORKFLOW: track.graph, c.STATUS: track.facts["status"],
        c.FINGERPRINT: track.facts["fingerprint"], c.PRIORITY: track.facts["priority"],
    }  # fmt: skip


def _step(track: Track, content: bool) -> tuple[str, SpanKind, Attributes]:
    return f"step {track.name}", SpanKind.INTERNAL, {
        c.NODE: track.facts["node"], c.OUTCOME: track.facts["outcome"], c.FAILURES: track.facts["failures"],
    }  # fmt: skip


def _effect(track: Track, content: bool) -> tuple[str, SpanKind, Attributes]:
    kind = track.facts["kind"]
    attributes: Attributes = {c.EFFECT: kind, c.NAME: track.name, c.SEQ: track.entry.seq}
    if kind == "tool":
        return _tool(track, attributes, content)
    if kind == "model":
        return _model(track, attributes, content)
    if kind == "retrieve":
        attributes |= {c.OPERATION: c.RETRIEVAL, c.DATA_SOURCE: track.name}
        if content and isinstance(track.facts["args"], dict):
            attributes[c.QUERY] = str(track.facts["args"].get("query", ""))
        return f"{c.RETRIEVAL} {track.name}", SpanKind.CLIENT, attributes
    if kind == "review":
        del attributes[c.NAME]  # the question may be about somebody
        attributes |= {c.REVIEW: track.facts["review"], c.REVIEW_OUTCOME: track.facts["outcome"]}
        return "review", SpanKind.INTERNAL, attributes | ({c.NAME: track.name} if content else {})
    return f"{kind} {track.name}".rstrip(), SpanKind.INTERNAL, attributes


def _tool(track: Track, attributes: Attributes, content: bool) -> tuple[str, SpanKind, Attributes]:
    attributes |= {c.OPERATION: c.EXECUTE_TOOL, c.TOOL: track.name, c.TOOL_TYPE: "function"}
    if "write" in track.facts:
        attributes[c.WRITE] = track.facts["write"]
    if content:
        attributes |= {
            c.TOOL_ARGUMENTS: _json(track.facts["args"]),
            c.TOOL_RESULT: _json(track.facts["result"]),
        }
    return f"{c.EXECUTE_TOOL} {track.name}", SpanKind.INTERNAL, attributes


def _model(track: Track, attributes: Attributes, content: bool) -> tuple[str, SpanKind, Attributes]:
    """The whole of a model call. Where its attempts have spans of their own, the tokens are theirs: counted once."""
    result = track.facts["result"] if isinstance(track.facts["result"], dict) else {}
    attributes[c.ALIAS] = track.name
    if content:
        attributes |= _messages(track.facts["args"], result)
    if track.facts["attempted"]:
        return f"model {track.name}", SpanKind.INTERNAL, attributes
    attributes |= {
        c.OPERATION: c.CHAT, c.PROVIDER: track.name, c.REQUEST_MODEL: track.name, **_tokens(result.get("usage")),
    }  # fmt: skip
    if result:
        attributes |= {
            c.RESPONSE_MODEL: result.get("model") or track.name, c.FINISH: (result.get("finish", "stop"),),
            c.COST: result.get("cost_micros", 0),
        }  # fmt: skip
    return f"{c.CHAT} {track.name}", SpanKind.CLIENT, attributes


def _attempt(track: Track, content: bool) -> tuple[str, SpanKind, Attributes]:
    attempt: Attempt = track.facts["attempt"]
    model = attempt.model or attempt.deployment
    attributes: Attributes = {
        c.OPERATION: c.CHAT, c.PROVIDER: provider_of(attempt), c.REQUEST_MODEL: model, c.ALIAS: attempt.alias,
        c.DEPLOYMENT: attempt.deployment, c.WHY: attempt.why, c.SEQ: track.entry.seq, **_tokens(attempt.usage),
    }  # fmt: skip
    if attempt.model:
        attributes[c.RESPONSE_MODEL] = attempt.model
    if attempt.request_id:
        attributes[c.RESPONSE_ID] = attempt.request_id
    if attempt.finish:
        attributes[c.FINISH] = (attempt.finish,)
    if attempt.cost_micros is not None:
        attributes[c.COST] = attempt.cost_micros
    return f"{c.CHAT} {model}", SpanKind.CLIENT, attributes


def provider_of(attempt: Attempt) -> str:
    """Who answered: the price row knows, else the deployment is named."""
    return (attempt.price.provider if attempt.price is not None else "") or attempt.deployment


def _tokens(usage: Any) -> Attributes:
    return {_TOKENS[name]: count for name, count in (usage or {}).items() if name in _TOKENS}


def _messages(args: Any, result: dict[str, Any]) -> Attributes:
    """What was said, as the conventions want it: roles and parts."""
    asked = args.get("messages", ()) if isinstance(args, dict) else ()
    said = {
        "role": "assistant",
        "content": result.get("text", ""),
        "tool_calls": result.get("tool_calls", ()),
    }
    return {
        c.INPUT_MESSAGES: _json([_message(message) for message in asked if isinstance(message, dict)]),
        c.OUTPUT_MESSAGES: _json([{**_message(said), "finish_reason": result.get("finish", "stop")}]),
    }


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content", "")
    pieces = [{"text": content}] if isinstance(content, str) else list(content)
    parts: list[dict[str, Any]] = [
        {"type": "text", "content": piece["text"]}
        if "text" in piece
        else {"type": "blob", "modality": "image"}
        for piece in pieces
        if piece.get("text", True)
    ]
    parts += [
        {
            "type": "tool_call",
            "id": call.get("id"),
            "name": call.get("name"),
            "arguments": call.get("args", {}),
        }
        for call in message.get("tool_calls", ())
    ]
    return {"role": message.get("role", "user"), "parts": parts}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


_KINDS = {"run": _run, "step": _step, "effect": _effect, "attempt": _attempt}
