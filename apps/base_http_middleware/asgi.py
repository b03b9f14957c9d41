"""A middleware that adds a header, as Starlette's documentation begins: `app`."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from apps.plain.asgi import app as plain


class CustomHeader(BaseHTTPMiddleware):
    """Adds a header to every answer."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Answers as the application does, with one header more."""
        response = await call_next(request)
        response.headers["X-Custom"] = "yes"
        return response


app = Starlette(routes=[Mount("/", plain)], middleware=[Middleware(CustomHeader)])
