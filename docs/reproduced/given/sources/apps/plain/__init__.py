"""The plain application: the contract's routes without any framework, once as WSGI and once as ASGI."""
