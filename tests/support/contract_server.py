"""A small HTTP/1.1 and WebSocket server that keeps the contract, but for one fault that a test plants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import wsproto
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    RejectConnection,
    Request,
    TextMessage,
)

from gatebench.contract.file import load_contract
from tests.support.scripted import ScriptedServer
from tests.support.small_server.connection import read_body

CONTRACT = load_contract()
HANG = b"HANG"


def _untouched(data: bytes) -> bytes:
    return data


def _echo(message: str | bytes) -> str | bytes:
    return message


@dataclass
class Faults:
    """What the server does wrong; by default nothing.

    Attributes:
        spoil: request line such as `GET /json` → what becomes of the answer's bytes; `HANG` sends nothing.
        waits: whether `/wait` does.
        keeps: whether it keeps connections where the client does not ask to close them.
        closes: whether it closes connections where the client does ask.
        upgrades: whether it knows WebSocket.
        reply: what becomes of a WebSocket message.
        reaches_all: whether a broadcast reaches every socket.
        close_code: what it answers a close frame with.
        prefix: what goes before every path; others are answered with 404.
    """

    spoil: Mapping[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    waits: bool = True
    keeps: bool = True
    closes: bool = True
    upgrades: bool = True
    reply: Callable[[str | bytes], str | bytes] = _echo
    reaches_all: bool = True
    close_code: int = 1000
    prefix: str = ""


class ContractServer(ScriptedServer):
    """Serves the contract on a loopback port; use it as a context manager."""

    def __init__(self, faults: Faults | None = None, host: str = "127.0.0.1") -> None:
        self._faults = faults or Faults()
        self._listeners: list[tuple[wsproto.WSConnection, asyncio.StreamWriter]] = []
        super().__init__(self._connection, host)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, asked, _ = lines[0].split(" ")
            mine = asked.startswith(self._faults.prefix + "/")
            target = asked.removeprefix(self._faults.prefix) if mine else "/elsewhere"
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])
            }
            body = await read_body(reader, headers)
            path = target.partition("?")[0]
            if headers.get("upgrade") == "websocket" and self._faults.upgrades:
                await self._socket(path, head, reader, writer)
                return
            if self._faults.waits:
                await asyncio.sleep(CONTRACT.answer(method, target, body).least_ms / 1000)
            answer = self._faults.spoil.get(f"{method} {target}", _untouched)(_answer(method, target, body))
            if answer == HANG:
                await asyncio.Event().wait()
            writer.write(answer)
            await writer.drain()
            asked_to_close = headers.get("connection") == "close"
            if (asked_to_close and self._faults.closes) or (not asked_to_close and not self._faults.keeps):
                return

    async def _socket(
        self, path: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        data = head
        me = (protocol, writer)
        try:
            while data:
                protocol.receive_data(data)
                for event in protocol.events():
                    if isinstance(event, Request) and path == "/ws/broadcast":
                        self._listeners.append(me)
                    self._react(event, path, protocol, writer)
                    if isinstance(event, (CloseConnection, Request)) and protocol.state.name in (
                        "CLOSED",
                        "REJECTING",
                    ):
                        await writer.drain()
                        return
                data = await reader.read(65_536)
        finally:
            if me in self._listeners:
                self._listeners.remove(me)

    def _react(
        self, event: Event, path: str, protocol: wsproto.WSConnection, writer: asyncio.StreamWriter
    ) -> None:
        if isinstance(event, Request):
            known = path in ("/ws/echo", "/ws/broadcast")
            writer.write(protocol.send(AcceptConnection() if known else RejectConnection(status_code=403)))
        elif isinstance(event, CloseConnection):
            writer.write(protocol.send(CloseConnection(self._faults.close_code)))
        elif isinstance(event, (TextMessage, BytesMessage)):
            said = self._faults.reply(event.data if isinstance(event, TextMessage) else bytes(event.data))
            reply = TextMessage(said) if isinstance(said, str) else BytesMessage(said)
            everyone = path == "/ws/broadcast" and self._faults.reaches_all
            for listener, out in self._listeners if everyone else [(protocol, writer)]:
                out.write(listener.send(replace(reply, message_finished=event.message_finished)))


def _answer(method: str, target: str, body: bytes) -> bytes:
    answer = CONTRACT.answer(method, target, body)
    content = answer.body
    if content is None:
        keys = {key: {"type": "str", "value": ""} for key in CONTRACT.interface_keys["asgi"]}
        content = json.dumps({"interface": "asgi", "keys": keys}).encode()
    lines = [
        f"HTTP/1.1 {answer.status} Whatever",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    if answer.measured:
        lines.append(f"content-length: {len(content) if answer.length is None else answer.length}")
    else:
        lines.append("transfer-encoding: chunked")
        content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content
