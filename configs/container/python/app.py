"""A web worker for gofork that needs nothing but Python's own library."""

import os
import signal
import socket
import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"hello from python, pid {os.getpid()}\n".encode()]


class Server(WSGIServer):
    """Serves on the socket that gofork has opened: descriptor 3."""

    def server_bind(self):
        self.socket.close()
        self.socket = socket.socket(fileno=3)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]
        self.setup_environ()

    def server_activate(self):
        pass  # it listens already


def notify(state):
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        if path.startswith("@"):
            path = "\0" + path[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(state.encode(), path)


def main():
    server = Server(("", 0), WSGIRequestHandler)
    server.set_app(app)
    # shutdown() waits for serve_forever(), which the handler has interrupted.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    notify("READY=1")
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
