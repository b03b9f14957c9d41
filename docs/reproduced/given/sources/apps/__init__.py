"""The applications under test: one contract, each as WSGI and as ASGI."""
