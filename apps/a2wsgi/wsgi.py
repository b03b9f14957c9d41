"""The plain ASGI application as WSGI: `app`."""

from a2wsgi import ASGIMiddleware

from apps.plain.asgi import app as plain

app = ASGIMiddleware(plain)
