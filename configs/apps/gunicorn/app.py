"""A WSGI application without a framework: see ../gunicorn.toml."""

import os
import time
from urllib.parse import parse_qs


def app(environ, start_response):
    path, answer = environ["PATH_INFO"], str(os.getpid()).encode()
    if path == "/echo":
        answer = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    elif path == "/sleep":
        time.sleep(min(float(parse_qs(environ["QUERY_STRING"])["ms"][0]) / 1000, 60))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
