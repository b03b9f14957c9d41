"""The contract's database routes on Django's ORM: synchronous views as WSGI, asynchronous ones as ASGI."""
