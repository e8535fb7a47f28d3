"""uvicorn with readiness, a heartbeat and a drain: see ../uvicorn-drain.toml."""

import asyncio
import os
import socket

import uvicorn
from app import app

DRAIN = 1.0  # seconds; above the pauses of keep-alive clients


def notify(message):
    """sd_notify(3)"""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(message.encode(), "\0" + path[1:] if path[0] == "@" else path)


async def beat():
    notify("WATCHDOG=1")


class Server(uvicorn.Server):
    draining = False

    async def startup(self, sockets=None):
        await super().startup(sockets=sockets)
        if self.started:
            notify("READY=1")

    # uvicorn would close the listener and the idle connections in one go. Here
    # the listener goes first; then every answer says "Connection: close" for a
    # while, so that clients leave by themselves.
    async def shutdown(self, sockets=None):
        notify("STOPPING=1")
        self.draining = True
        for server in self.servers:
            server.close()
        await asyncio.sleep(DRAIN)
        await super().shutdown(sockets=sockets)


async def drained(scope, receive, send):
    async def last(message):
        if server.draining and message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        await send(message)

    await app(scope, receive, last)


# A third of the limit, as the supervisor has set it; 0 when it has set none.
interval = int(os.environ.get("WATCHDOG_USEC", 0)) / 3e6
server = Server(
    uvicorn.Config(
        drained,
        fd=3,
        access_log=False,
        callback_notify=beat if interval else None,
        timeout_notify=interval,
    )
)
server.run()
