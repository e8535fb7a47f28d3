"""An ASGI application without a framework: see ../uvicorn.toml."""

import asyncio
import os
from urllib.parse import parse_qs


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # no lifespan, no websocket
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/sleep":
        query = parse_qs(scope["query_string"].decode())
        await asyncio.sleep(min(float(query["ms"][0]) / 1000, 60))
    answer = body if scope["path"] == "/echo" else str(os.getpid()).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
