"""How answers go out: the service's data as JSON, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from turnout.api.problems import MEDIA, Problem
from turnout.api.shapes import shape
from turnout.service.cursors import cursor


def answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Data as JSON."""
    return Response(msgspec.json.encode(data), status, dict(headers or {}), "application/json")


def page(of: str, items: Sequence[Any], following: str | None) -> Response:
    """A page of a list; `following` is what the next page begins behind, None when this is the last one."""
    return answer({"items": list(items), "next": cursor(of, following) if following is not None else None})


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for the OpenAPI document. Everyone may be refused, or be too quick."""
    said = {400: "Can't be read", 401: "Sign in", 403: "Not allowed", 404: "Not there", 409: "Somebody was first",
            412: "It shows something else by now", 413: "Too large", 422: "Doesn't fit", 428: "Say what was shown",
            429: "Too many requests", 500: "Broken", 503: "The store or the server is not available"}  # fmt: skip
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": said[status], "content": content}
        for status in sorted({401, 403, 422, 429, 500, 503, *statuses})
    }


PROBLEM = shape(Problem)
