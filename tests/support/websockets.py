"""WebSocket servers that shake hands and answer as a test tells them, and one connection that meets them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Awaitable, Callable

import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Event, TextMessage

from gatebench.words.paths import HOST
from loadtests.engine.protocol import Exchange, Target
from loadtests.engine.tally import SliceResult
from tests.support.groups import group_of
from tests.support.scripted import Behaviour, ScriptedServer, request

Reaction = Callable[[wsproto.WSConnection, str], bytes]


def reacting(react: Reaction, seen: list[Event] | None = None) -> Behaviour:
    """Accepts the upgrade and sends `react(protocol, text)` for every text message."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        text = ""
        while data := await reader.read(65536):
            protocol.receive_data(data)
            for event in protocol.events():
                if seen is not None:
                    seen.append(event)
                if isinstance(event, wsproto.events.Request):
                    writer.write(protocol.send(wsproto.events.AcceptConnection()))
                elif isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        writer.write(react(protocol, text))
                        text = ""
                elif isinstance(event, CloseConnection):
                    writer.write(protocol.send(event.response()))
                    return

    return behave


def echo(protocol: wsproto.WSConnection, text: str) -> bytes:
    return protocol.send(TextMessage(text))


MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Half = Callable[[bytes], bytes]
"""The server's half of the handshake, made from the proof of the client's key."""


def proof_of(head: bytes) -> bytes:
    found = re.search(rb"Sec-WebSocket-Key: (\S+)\r\n", head)
    assert found is not None
    return base64.b64encode(hashlib.sha1(found[1] + MAGIC, usedforsecurity=False).digest())


def shaking_hands(half: Half, *, then_close: bool = False, seen: list[bytes] | None = None) -> Behaviour:
    """Answers the handshake so, and then waits for the client's end, or closes."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await request(reader)
        if seen is not None:
            seen.append(head)
        writer.write(half(proof_of(head)))
        if not then_close:
            rest = await reader.read()
            if seen is not None:
                seen.append(rest)

    return behave


def goal(port: int, exchange: Exchange, timeout_s: float = 5.0) -> Target:
    return Target(HOST, port, "websocket", path="/ws/echo", exchange=exchange, timeout_s=timeout_s)


def forbidding(_proof: bytes) -> bytes:
    return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


TIMEOUT_S = 0.3
PATIENCE_S = 8.0
"""A slice and its preparation take less by far; whoever waits longer hangs."""

Writer = asyncio.StreamWriter


def drive(
    behaviour: Behaviour,
    *,
    message_bytes: int = 64,
    window_s: float = 0.001,
    timeout_s: float = TIMEOUT_S,
    exchange: Exchange = "echo",
    window: int = 1,
    slices: int = 1,
) -> SliceResult:
    """One connection, one slice; most often one message."""
    with ScriptedServer(behaviour) as server:
        goal = Target(
            "127.0.0.1",
            server.port,
            "websocket",
            path="/ws/echo",
            message_bytes=message_bytes,
            timeout_s=timeout_s,
            exchange=exchange,
            window=window,
        )
        with group_of(goal, 1) as group:
            for number in range(slices):
                if number:
                    time.sleep(0.02)  # the server is heard of between slices
                group.prepare()
                result = group.run_slice(window_s)
            return result


async def accepted(reader: asyncio.StreamReader, writer: Writer, more: bytes = b"") -> wsproto.WSConnection:
    """Accepts the upgrade, with these bytes in the same segment."""
    protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
    list(protocol.events())
    writer.write(protocol.send(AcceptConnection()) + more)
    return protocol


def in_time(run: Callable[[], SliceResult]) -> SliceResult:
    """Runs it in a thread that is waited for with a bound, so that a hang fails the test, not the run."""

    async def bounded() -> SliceResult:
        return await asyncio.wait_for(_threaded(run), PATIENCE_S)

    return asyncio.run(bounded())


def _threaded(run: Callable[[], SliceResult]) -> Awaitable[SliceResult]:
    return asyncio.to_thread(run)
