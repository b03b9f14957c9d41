"""The plain application with a trace around it, once as WSGI and once as ASGI; run by servers."""
