"""The contract's main routes in Django with synchronous views, as WSGI and as ASGI."""
