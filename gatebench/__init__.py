"""Gatebench compares Python's WSGI and ASGI servers and publishes no number that it cannot defend."""

__version__ = "0.1.0"
