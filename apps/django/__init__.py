"""The contract's main routes in Django: with synchronous views as WSGI, with asynchronous ones as ASGI."""
