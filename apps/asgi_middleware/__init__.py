"""The plain application in Starlette behind a middleware that is pure ASGI."""
