"""The plain WSGI application as ASGI, in a thread: `app`."""

from asgiref.wsgi import WsgiToAsgi

from apps.plain.wsgi import app as plain

app = WsgiToAsgi(plain)
