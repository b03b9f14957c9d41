"""One WebSocket (RFC 6455) between a client that sends whole messages and an ASGI application."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from typing import Any

from tests.support.small_server.interfaces import Asked, Event, scope_of

TEXT, BINARY, CLOSE = 1, 2, 8
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def serve_socket(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, app: Any, asked: Asked
) -> None:
    """Lets the application accept or refuse the upgrade, then carries messages until the close."""
    connected = False

    async def receive() -> Event:
        nonlocal connected
        if not connected:
            connected = True
            return {"type": "websocket.connect"}
        try:
            kind, payload = await _read_frame(reader)
        except asyncio.IncompleteReadError:
            return {"type": "websocket.disconnect", "code": 1006}
        if kind == CLOSE:
            writer.write(_frame(CLOSE, payload))
            return {"type": "websocket.disconnect", "code": 1000}
        said: Event = {"text": payload.decode()} if kind == TEXT else {"bytes": payload}
        return {"type": "websocket.receive", **said}

    async def send(event: Event) -> None:
        if event["type"] == "websocket.accept":
            writer.write(_handshake(asked))
        elif event["type"] == "websocket.close":
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif event.get("text") is not None:
            writer.write(_frame(TEXT, event["text"].encode()))
        else:
            writer.write(_frame(BINARY, event["bytes"]))
        await writer.drain()

    await app(scope_of("websocket", asked), receive, send)
    await writer.drain()


def _handshake(asked: Asked) -> bytes:
    key = (asked.headers["sec-websocket-key"] + _MAGIC).encode()
    proof = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", await reader.readexactly(8))
    key = await reader.readexactly(4)
    masked = await reader.readexactly(length)
    mask = (key * (length // 4 + 1))[:length]
    payload = int.from_bytes(masked, "big") ^ int.from_bytes(mask, "big")
    return first & 0x0F, payload.to_bytes(length, "big")


def _frame(kind: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | kind, length))
    elif length < 1 << 16:
        head = bytes((0x80 | kind, 126)) + struct.pack("!H", length)
    else:
        head = bytes((0x80 | kind, 127)) + struct.pack("!Q", length)
    return head + payload
