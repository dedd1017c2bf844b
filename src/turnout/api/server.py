"""The API as an ASGI app: its routes, its errors, its OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from msgspec import to_builtins

from turnout.api import problems
from turnout.api.answers import PROBLEM
from turnout.api.routers import (
    access,
    budgets,
    events,
    operation,
    outbox,
    policies,
    proof,
    reviews,
    runs,
    threads,
    tools,
)
from turnout.errors import UnknownThread
from turnout.service.access.door import Door
from turnout.service.app import App
from turnout.service.live.watching import Live
from turnout.service.serving import Serve

PREFIX = "/api/v1"
ROUTERS = (
    runs.router,
    threads.router,
    reviews.router,
    events.router,
    proof.router,
    operation.router,
    outbox.router,
    budgets.router,
    policies.router,
    tools.router,
    access.router,
)
"""What the API is about; each in a module of its own."""

ABOUT = """Start runs, decide reviews, and ask the four questions. Errors are problem details (RFC 9457) whose `type` names
the error's class. Lists of threads, entries, reviews and notices come in pages: hand `next` back as `cursor`. Other
lists come whole."""


def make(app: App, door: Door, serve: Serve, live: Live) -> FastAPI:
    """The API over an app, for those whom the door lets in. It is mounted at `PREFIX`."""
    api = FastAPI(
        title="Turnout", version="1", description=ABOUT, openapi_url=None, docs_url=None, redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    api.state.app, api.state.door, api.state.serve, api.state.live = app, door, serve, live
    problems.install(api)
    for router in ROUTERS:
        api.include_router(router)
    api.state.operations = [
        (route.path_format, method)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ]
    api.openapi = lambda: document(api)  # type: ignore[method-assign]
    api.add_api_route("/openapi.json", lambda: document(api), include_in_schema=False)
    return api


def document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if api.openapi_schema is None:
        found = get_openapi(
            title=api.title,
            version=api.version,
            description=api.description,
            routes=api.routes,
            servers=[{"url": PREFIX}],
        )
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = {
            **PROBLEM.model_json_schema(ref_template="#/components/schemas/{model}"),
            "examples": [to_builtins(problems.problem_of(UnknownThread("there is no thread 'case-18'")))],
        }
        api.openapi_schema = found
    return api.openapi_schema
