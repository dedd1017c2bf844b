"""Tools of MCP servers, with what was approved of them, and guardrails."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from turnout.api.answers import answer, problems
from turnout.api.entrance import Operating, Viewing, whole
from turnout.api.shapes import many
from turnout.ports.tools import ServerSeen
from turnout.service.items import GuardItem

router = APIRouter()
Servers = Annotated[list[str], Query(max_length=50, description="These servers; none: all.")]


@router.get("/tools", tags=["tools"], responses={200: {"model": many(ServerSeen)}, **problems(404)})
async def list_tools(at: Viewing, server: Servers = []) -> Response:  # noqa: B006 - FastAPI copies it
    """The MCP servers and their tools: what is declared, and what was approved. No server is asked."""
    return answer(await whole(at, "tools").app.tools(server, ask=False))


@router.post("/tools", tags=["tools"], responses={200: {"model": many(ServerSeen)}, **problems(404)})
async def ask_tools(at: Operating, server: Servers = []) -> Response:  # noqa: B006 - FastAPI copies it
    """The same, with what the servers say now, and what is different. Some are programs that are started for it."""
    return answer(await whole(at, "tools").app.tools(server, ask=True))


@router.get("/guards", tags=["guards"], responses={200: {"model": many(GuardItem)}, **problems()})
async def list_guards(at: Viewing) -> Response:
    """The guardrails, in the order in which they look."""
    return answer(await whole(at, "guardrails").app.guards())
