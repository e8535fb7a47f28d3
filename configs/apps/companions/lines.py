"""A server on a unix socket of its own that answers each line: see ../companions.toml."""

import os
import signal
import socketserver
import sys
import threading


class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d %s" % (os.getpid(), line))


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


path = sys.argv[1]
if os.path.exists(path):
    os.unlink(path)  # of one that was killed
with Server(path, Lines) as server:
    # shutdown waits for the loop that the signal has interrupted, so not from here.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("listening", flush=True)
    server.serve_forever()
os.unlink(path)
