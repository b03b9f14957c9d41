"""The plain WSGI application as ASGI, by asgiref, which Django has its threads from."""
