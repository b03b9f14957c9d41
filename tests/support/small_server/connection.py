"""One HTTP/1.1 connection: requests in, answers out, until one side has had enough."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.small_server.faults import Faults
from tests.support.small_server.interfaces import Ask, Asked, Given
from tests.support.small_server.socket import serve_socket


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask, socket_app: Any, faults: Faults
) -> None:
    """Serves a connection to its end.

    Args:
        reader: what the client sends.
        writer: what it gets.
        ask: the application.
        socket_app: the ASGI application that WebSockets go to, or None.
        faults: what to do wrong.
    """
    answers = 0
    try:
        while (asked := await _read(reader)) is not None:
            if socket_app is not None and asked.headers.get("upgrade", "").lower() == "websocket":
                await serve_socket(reader, writer, socket_app, asked)
                return
            given = await ask(asked)
            answers += 1
            last = asked.headers.get("connection", "").lower() == "close" or faults.hangs_up(answers)
            body = faults.spoil(asked.path, given.body)
            writer.write(answer_bytes(Given(given.status, given.headers, body), asked.method, last=last))
            await writer.drain()
            if last:
                return
    except ConnectionError:
        pass  # the client went away
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    """The next request, or None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return Asked(method, target, headers, await read_body(reader, headers))
    except asyncio.IncompleteReadError:
        return None


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """A request's body, by its length or in chunks."""
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(pieces)


def answer_bytes(given: Given, method: str, *, last: bool) -> bytes:
    """An answer as it goes over the wire; the `last` of its connection says so."""
    headers = list(given.headers)
    body = given.body
    if not any(name.lower() == "content-length" for name, _ in headers):
        headers.append(("Transfer-Encoding", "chunked"))
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    if last:
        headers.append(("Connection", "close"))
    lines = [f"HTTP/1.1 {given.status} Whatever", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if method == "HEAD" else body)
