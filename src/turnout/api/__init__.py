"""The HTTP API, version 1: a translation of the service, and nothing more. `server.make` is the ASGI app."""
