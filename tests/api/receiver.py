"""A small HTTP server on a socket that answers GET with JSON."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any


@contextlib.asynccontextmanager
async def receiver(answer: Callable[[str], Any]) -> AsyncIterator[str]:
    """`answer(path)` gives what is answered; the server's address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(answer(head.split()[1].decode())).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.close()
        await server.wait_closed()
