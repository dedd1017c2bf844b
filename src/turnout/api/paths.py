"""Names in paths. A thread's name may hold any character, also a slash: sent as %2F it is a part of the name."""

from __future__ import annotations

from urllib.parse import unquote, unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from turnout.api.problems import Problem, answer

SLASH = "\x1f"
"""Stands for a slash inside a name on the way to its route: no name can have this character."""


class Name(Convertor[str]):
    """`{thread:name}`: one part of a path."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return value.replace(SLASH, "/")

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", Name())


class Segments:
    """ASGI: takes the path apart before it is decoded, so that an encoded slash doesn't end a part of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or b""
        if scope["type"] == "http" and not _readable(scope["path"], raw):
            await answer(Problem("about:blank", "Not Found", 404))(scope, receive, send)  # no name has these
            return
        if scope["type"] == "http" and b"%2f" in raw.lower():
            parts = raw.partition(b"?")[0].decode("ascii", "replace").split("/")
            scope = {**scope, "path": "/".join(unquote(part).replace("/", SLASH) for part in parts)}
        await self._app(scope, receive, send)


def _readable(path: str, raw: bytes) -> bool:
    """Is it text, without control characters? A server decodes the path, and puts something else for what is no UTF-8: so
    the bytes are looked at."""
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return False
    return not any(ord(character) < 32 or ord(character) == 127 for character in path)
