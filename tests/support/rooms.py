"""A server of broadcasts at which everybody hears what anybody says, or what a test has it say instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Pong, Request, TextMessage

from loadtests.engine.protocol import Target

Server = wsproto.WSConnection
Speech = Callable[[int, Server, str], bytes]
"""What subscriber number so-and-so is sent when somebody says this text; the first has number 0."""


def honestly(_number: int, protocol: Server, text: str) -> bytes:
    """The text, to everybody."""
    return protocol.send(TextMessage(text))


class Room:
    """A server at which everybody hears what anybody says, in the way that `speech` has it."""

    def __init__(self, speech: Speech = honestly, pause_s: float = 0.0) -> None:
        self._speech = speech
        self._pause_s = pause_s
        self.peers: dict[int, tuple[Server, asyncio.StreamWriter]] = {}
        self.said: list[str] = []
        self.speakers: set[int] = set()
        self.pongs = 0
        self._entered = 0

    async def behave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = Server(wsproto.ConnectionType.SERVER)
        number, self._entered = self._entered, self._entered + 1
        try:
            while data := await reader.read(65536):
                protocol.receive_data(data)
                for event in protocol.events():
                    if isinstance(event, Request):
                        writer.write(protocol.send(AcceptConnection()))
                        self.peers[number] = protocol, writer
                    elif isinstance(event, TextMessage):
                        self.speakers.add(number)
                        await self._spread(event.data)
                    elif isinstance(event, Pong):
                        self.pongs += 1
                    elif isinstance(event, CloseConnection):
                        return
        finally:
            self.peers.pop(number, None)

    def send_from_outside(self, make: Callable[[Server], bytes]) -> None:
        """Sends something to everybody, at once, from another thread, while nothing else is under way."""
        for protocol, writer in self.peers.values():
            writer.get_extra_info("socket")._sock.send(make(protocol))

    async def _spread(self, text: str) -> None:
        self.said.append(text)
        for number, (protocol, writer) in sorted(self.peers.items()):
            if self._pause_s:
                await asyncio.sleep(self._pause_s)
            writer.write(self._speech(number, protocol, text))


def target(port: int, timeout_s: float = 5.0) -> Target:
    return Target(
        "127.0.0.1", port, "websocket", path="/ws/broadcast", exchange="broadcast", timeout_s=timeout_s
    )
