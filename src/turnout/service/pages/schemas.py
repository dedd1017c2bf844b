"""JSON schemas for what people may change: a review's payload, the result of a write, a thread's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from turnout.core.graph import Graph
from turnout.core.typed_form import TypedForm
from turnout.service.outcome import Review


def of_value(value: Any) -> dict[str, Any]:
    """The schema of what a value may be replaced with: the same type. Of None it may be anything."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int | float):
        return {"type": "number"}
    if isinstance(value, str):
        return {"type": "string"}
    if isinstance(value, list):
        items = {str(of_value(item)): of_value(item) for item in value}
        return {"type": "array", "items": next(iter(items.values())) if len(items) == 1 else {}}
    return {
        "type": "object",
        "properties": {str(name): of_value(inner) for name, inner in value.items()},
        "additionalProperties": False,
    }


def of_edit(review: Review, graphs: Mapping[str, Graph]) -> dict[str, Any]:
    """The schema of an edit: the fields of the payload with their types, of which an edit may leave any out. Of the
    arguments of a call it is its tool's own, where that is at hand. At a cap it is by how much that is raised."""
    if review.purpose == "budget":
        properties = {"top_up": {"type": "integer"}}
        return {"type": "object", "properties": properties, "additionalProperties": False}
    if review.binds is not None and review.binds.effect == "tool":
        for graph in graphs.values():
            tool = graph.tools.get(review.binds.name)
            if tool is not None:
                return tool.form.recorded()
    return of_value(review.payload)


def of_state(graph: Graph) -> dict[str, Any]:
    """The schema of a graph's state."""
    model: type[BaseModel] = graph.schema.model
    return model.model_json_schema()


def of_result(review: Review, graphs: Mapping[str, Graph]) -> dict[str, Any]:
    """The schema of the result of the write that a review is about, where its tool is at hand; else of anything."""
    name = review.payload.get("tool") if isinstance(review.payload, dict) else None
    for graph in graphs.values():
        tool = graph.tools.get(name) if isinstance(name, str) else None
        if tool is not None and isinstance(tool.form, TypedForm):
            return tool.form.result.json_schema()
    return {}
