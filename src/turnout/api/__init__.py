"""The HTTP API, version 1: a translation of the service, and nothing more. `server.make` is the ASGI app."""

from turnout.api import paths  # the routes' `{thread:name}`

__all__ = ["paths"]
