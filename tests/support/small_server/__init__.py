"""A small server of the standard library, for WSGI and ASGI, with one fault where a variant asks for it."""
