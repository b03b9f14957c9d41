"""The bare application as ASGI 3: `app`, for servers that run asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.plain.asgi import app as plain

if TYPE_CHECKING:
    from apps.plain.events import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers `GET /plaintext` with constants, and everything else as the plain application does."""
    if scope["type"] != "http" or scope["path"] != "/plaintext" or scope["method"] != "GET":
        await plain(scope, receive, send)
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"Hello, World!"})
    except OSError:
        return  # ASGI 2.4: sending to a client that went away raises an OSError
