# The smallest WSGI application. It says when it was loaded, and by whom.
import os

open('loaded/%d' % os.getpid(), 'w').close()


def app(environ, start):
    start('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '3')])
    return [b'ok\n']


application = app
