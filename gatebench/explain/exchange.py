"""The client of `gatebench explain`: one request or one short WebSocket, with every byte kept."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import dataclass
from typing import Literal

import h11
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Ping, TextMessage

from gatebench.contract.probe import EndedError, Wire, WireError

TIMEOUT_S = 15.0
"""Over the longest that the application waits by design, 10 s."""
LINGER_S = 0.5
"""How long a server may take to close a connection before it counts as kept."""
NORMAL_CLOSURE = 1000
AGENT = ("User-Agent", "gatebench-explain")

Protocol = Literal["http", "websocket"]


@dataclass(frozen=True, slots=True)
class Passage:
    """Bytes that went one way at one moment.

    Attributes:
        at_s: on the machine's monotonic clock; of what was sent, just before; of what came, just after.
        sent: from the client to the server; else the other way.
    """

    at_s: float
    sent: bool
    protocol: Protocol
    data: bytes


@dataclass(frozen=True, slots=True)
class Conversation:
    """All that passed on one connection, and how it ended, in words."""

    passages: tuple[Passage, ...]
    ended: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: an HTTP request or, with a message, a WebSocket that says it."""

    method: str
    target: str
    body: bytes = b""
    message: str = ""


def converse(host: str, port: int, question: Question) -> Conversation:
    """Asks once on a new connection. What goes wrong on it is told in `ended`.

    Raises:
        WireError: there is no connection.
    """
    with Wire(host, port, TIMEOUT_S) as wire:
        client = _Client(wire)
        try:
            ended = client.ask(question)
        except (WireError, h11.RemoteProtocolError) as error:
            ended = f"That was the end of it: {error}."
        return Conversation(tuple(client.passages), ended)


class _Client:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._http = h11.Connection(h11.CLIENT)
        self.passages: list[Passage] = []

    def ask(self, question: Question) -> str:
        """Says it and hears the answer; how the connection ended."""
        events = (self._request(question), h11.Data(question.body), h11.EndOfMessage())
        self._send("http", b"".join(self._http.send(event) or b"" for event in events))
        event = self._http.next_event()
        while event is h11.NEED_DATA or isinstance(
            event, (h11.InformationalResponse, h11.Response, h11.Data)
        ):
            if event is h11.NEED_DATA:
                self._http.receive_data(self._receive("http"))
            elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                self._talk(question.message)
                break
            event = self._http.next_event()
        return self._end()

    def _request(self, question: Question) -> h11.Request:
        headers = [("Host", self._wire.address), AGENT]
        if question.message:
            headers += [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
            headers += [("Sec-WebSocket-Key", base64.b64encode(secrets.token_bytes(16)).decode())]
        if question.body:
            headers += [("Content-Type", "text/plain"), ("Content-Length", str(len(question.body)))]
        return h11.Request(method=question.method, target=question.target, headers=headers)

    def _talk(self, message: str) -> None:
        """Sends one message, waits for one, and closes in good order."""
        early = self._http.trailing_data[0]
        if early:  # frames that came with the end of the handshake
            last = self.passages.pop()
            self.passages.append(
                Passage(last.at_s, sent=False, protocol="http", data=last.data[: -len(early)])
            )
            self.passages.append(Passage(last.at_s, sent=False, protocol="websocket", data=early))
        frames = Connection(ConnectionType.CLIENT, trailing_data=early)
        self._send("websocket", frames.send(TextMessage(message)))
        event = self._next(frames)
        while not (isinstance(event, CloseConnection) or getattr(event, "message_finished", False)):
            event = self._next(frames)
        if isinstance(event, CloseConnection):
            self._send("websocket", frames.send(event.response()))
            return
        self._send("websocket", frames.send(CloseConnection(NORMAL_CLOSURE)))
        while not isinstance(event, CloseConnection):
            event = self._next(frames)

    def _next(self, frames: Connection) -> Event:
        """The next event; pings are answered on the way."""
        while True:
            for event in frames.events():
                if not isinstance(event, Ping):
                    return event
                self._send("websocket", frames.send(event.response()))
            data = self._receive("websocket")
            if not data:
                raise EndedError("the server closed the connection without a close frame")
            frames.receive_data(data)

    def _end(self) -> str:
        self._wire.timeout_s = LINGER_S
        self._wire.restart_clock()
        try:
            more = self._receive("http")
        except EndedError:
            more = b""
        except WireError:
            return "The server keeps the connection open; the client closed it."
        return "The server sent more than the answer." if more else "Then the server closed the connection."

    def _send(self, protocol: Protocol, data: bytes) -> None:
        self.passages.append(Passage(time.monotonic(), sent=True, protocol=protocol, data=data))
        self._wire.write(data)

    def _receive(self, protocol: Protocol) -> bytes:
        """The next bytes; none where the server closed the connection."""
        data, _ = self._wire.read()
        if data:
            self.passages.append(Passage(time.monotonic(), sent=False, protocol=protocol, data=data))
        return data
