"""The plain application as ASGI 3: `app`, for servers that run asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from apps.plain.interface import describe
from apps.plain.routes import (
    BAD_REQUEST,
    ECHO_LIMIT_BYTES,
    FIXED,
    NO_PIECES,
    TOO_LARGE,
    Answer,
    Headers,
    Own,
    content_length,
    find,
    whole,
)
from apps.plain.sockets import serve_socket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from apps.plain.events import Receive, Scope, Send


def _encoded(headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.lower().encode(), value.encode()) for name, value in headers)


_FIXED = {path: (_encoded(answer.headers), b"".join(answer.pieces)) for path, answer in FIXED.items()}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers one request, one WebSocket or the lifespan, as `apps/contract.toml` has it.

    Raises:
        ValueError: for a type of scope it does not know, as the ASGI specification asks.
    """
    kind = scope["type"]
    if kind not in ("http", "websocket"):
        await _serve_other(kind, receive, send)
        return
    try:
        if kind == "http":
            await _serve_http(scope, receive, send)
        else:
            await serve_socket(scope["path"], receive, send)
    except OSError:
        return  # ASGI 2.4: sending to a client that went away raises an OSError


async def _serve_http(scope: Scope, receive: Receive, send: Send) -> None:
    method, path = scope["method"], scope["path"]
    if method == "GET" and path in _FIXED:
        # The short way for what is measured most; the long one below would give the same.
        headers, body = _FIXED[path]
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})
        return
    found = find(method, path)
    if found is Own.ECHO:
        echoed = await _echo(scope, receive)
        if echoed is None:
            return
        found = echoed
    elif found is Own.INTERFACE:
        found = describe("asgi", scope)
    await _send(found, receive, send, with_body=method != "HEAD")


async def _send(answer: Answer, receive: Receive, send: Send, *, with_body: bool) -> None:
    if answer.wait_s:
        await asyncio.sleep(answer.wait_s)
    headers = list(_encoded(answer.headers))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    pieces: Iterable[bytes] = answer.pieces if with_body else NO_PIECES
    if isinstance(pieces, tuple):
        await send({"type": "http.response.body", "body": b"".join(pieces)})
        return
    await _send_pieces(pieces, receive, send)


async def _send_pieces(pieces: Iterable[bytes], receive: Receive, send: Send) -> None:
    """Sends piece by piece, and stops where the client goes away: not every server's `send` says so."""
    gone = asyncio.create_task(_until_gone(receive))
    try:
        for piece in pieces:
            if gone.done():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            # `send` need not give the event loop a turn; without one, other connections would wait for the
            # whole body.
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _echo(scope: Scope, receive: Receive) -> Answer | None:
    """The answer of `/echo`, or None where the client went away before its body was complete."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = content_length(value.decode("latin-1"))
            if length is None:
                return BAD_REQUEST
            if length > ECHO_LIMIT_BYTES:
                return TOO_LARGE
    pieces = []
    received = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        piece = event.get("body", b"")
        received += len(piece)
        if received > ECHO_LIMIT_BYTES:
            return TOO_LARGE
        pieces.append(piece)
        if not event.get("more_body", False):
            return whole(b"".join(pieces), "application/octet-stream")


async def _serve_other(kind: str, receive: Receive, send: Send) -> None:
    if kind != "lifespan":
        message = f"this application does not serve ASGI scopes of type {kind!r}"
        raise ValueError(message)
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
