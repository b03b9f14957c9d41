"""The middleware of `apps/base_http_middleware` as pure ASGI, in Starlette: `app`."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.plain.asgi import app as plain


class CustomHeader:
    """Adds a header to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as the application does, with one header more."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Custom"] = "yes"
            await send(message)

        await self.app(scope, receive, send_with_header)


app = Starlette(routes=[Mount("/", plain)], middleware=[Middleware(CustomHeader)])
