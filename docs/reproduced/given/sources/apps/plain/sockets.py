"""The WebSocket routes of the plain application: echo, and broadcast to every socket of the process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.plain.events import Event, Receive, Send

# What may wait for one socket that reads too slowly before that socket is closed. Without a limit one
# stalled client would take all memory; waiting for it would stall every other socket.
BACKLOG_MESSAGES = 1_000
_TRY_AGAIN_LATER = 1013

_Backlog = asyncio.Queue["Event"]
_backlogs: set[_Backlog] = set()


async def serve_socket(path: str, receive: Receive, send: Send) -> None:
    """Serves one WebSocket from its handshake to its end; refuses it on a path that has none."""
    serve = {"/ws/echo": _echo, "/ws/broadcast": _broadcast}.get(path)
    if (await receive())["type"] != "websocket.connect":
        return
    if serve is None:
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    await serve(receive, send)


async def _echo(receive: Receive, send: Send) -> None:
    while (event := await receive())["type"] == "websocket.receive":
        await send(_copy(event))


async def _broadcast(receive: Receive, send: Send) -> None:
    backlog: _Backlog = asyncio.Queue(BACKLOG_MESSAGES)
    # Each socket has its own sender, so that all get the messages in one order and none waits for another.
    sender = asyncio.create_task(_send_from(backlog, send))
    _backlogs.add(backlog)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            for each in tuple(_backlogs):
                _offer(each, _copy(event))
    finally:
        _backlogs.discard(backlog)
        sender.cancel()


def _offer(backlog: _Backlog, message: Event) -> None:
    if backlog.full():
        _backlogs.discard(backlog)
        while not backlog.empty():
            backlog.get_nowait()
        message = {"type": "websocket.close", "code": _TRY_AGAIN_LATER}
    backlog.put_nowait(message)


async def _send_from(backlog: _Backlog, send: Send) -> None:
    message: Event = {"type": "websocket.send"}
    try:
        while message["type"] == "websocket.send":
            message = await backlog.get()
            await send(message)
    except OSError:
        return  # the client went away; the receiving side ends the socket


def _copy(event: Event) -> Event:
    text = event.get("text")
    if text is not None:
        return {"type": "websocket.send", "text": text}
    return {"type": "websocket.send", "bytes": event["bytes"]}
