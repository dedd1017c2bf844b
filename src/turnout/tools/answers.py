"""From a server's answer to a result, as far as it may be taken in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout.core import canon
from turnout.tools.forms import Answer
from turnout.tools.schema import Server
from turnout.tools.secrets import Secrets

_KINDS = {"text": "text", "image": "image", "audio": "audio", "resource": "resource", "resource_link": "link"}


def answer_of(said: Mapping[str, Any], terms: Server, secrets: Secrets) -> Answer:
    """The result of a call that didn't fail.

    What the server gives as data (`structuredContent`) comes before what it gives as text; text alone is a string;
    text among other parts is a list of all of them.
    """
    value, kinds = _value(said, terms)
    wrong = sorted({kind for kind in kinds if kind not in terms.content})
    if wrong:
        return Answer(None, f"it holds {', '.join(wrong)}; content allows {', '.join(terms.content)}")
    value = secrets.out_of(value)
    size = len(canon.encode(value))
    if size > terms.result_bytes:
        return Answer(None, f"it has {size} bytes; result_bytes allows {terms.result_bytes}")
    return Answer(value)


def problem_of(said: Mapping[str, Any], secrets: Secrets) -> str:
    """What a tool says that has failed."""
    texts = [part.get("text", "") for part in said.get("content") or () if part.get("type") == "text"]
    return secrets.told("\n".join(texts)) or "it says nothing more"


def _value(said: Mapping[str, Any], terms: Server) -> tuple[Any, list[str]]:
    """The value, and the kinds of content that it is made of."""
    if said.get("structuredContent") is not None and "json" in terms.content:
        return said["structuredContent"], ["json"]
    parts = said.get("content") or []
    kinds = [_KINDS.get(part.get("type", ""), "something else") for part in parts]
    if all(kind == "text" for kind in kinds):
        return "\n".join(part["text"] for part in parts), kinds
    return [_part(part) for part in parts], kinds


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part in the shape of a model's messages where there is one; else as the protocol has it."""
    if part["type"] == "text":
        return {"text": part["text"]}
    if part["type"] == "image":
        return {"data": part["data"], "media_type": part["mimeType"]}
    return {name: value for name, value in part.items() if name not in ("_meta", "annotations")}
