"""The plain WSGI application as ASGI, in a2wsgi's pool of threads: `app`."""

from a2wsgi import WSGIMiddleware

from apps.plain.wsgi import app as plain

app = WSGIMiddleware(plain)
