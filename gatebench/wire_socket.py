"""A small blocking WebSocket client that shows what a server really sends; for checks, not for load."""

from __future__ import annotations

import wsproto
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

from gatebench.wire import EndedError, Wire, WireError

NORMAL_CLOSURE = 1000


class SocketProbe(Wire):
    """One WebSocket, open from the start, without extensions."""

    def __init__(self, host: str, port: int, path: str, timeout_s: float) -> None:
        """Connect and upgrade.

        Raises:
            WireError: no connection, a refusal, or an answer that RFC 6455 does not allow (such as a
                compression nobody offered).
        """
        super().__init__(host, port, timeout_s)
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._events: list[Event] = []
        try:
            self._upgrade(path)
        except WireError:
            self.close()
            raise

    def _upgrade(self, path: str) -> None:
        self._write(Request(host=self.address, target=path))
        event = self._next_event()
        if isinstance(event, RejectConnection):
            raise WireError(f"the upgrade was refused with {event.status_code}")
        if not isinstance(event, AcceptConnection):
            raise WireError(f"the upgrade was answered with {event!r}")

    def send(self, message: str | bytes) -> None:
        """Send one whole message, as text or binary by its type."""
        self.restart_clock()
        self._write(TextMessage(message) if isinstance(message, str) else BytesMessage(message))

    def receive(self) -> str | bytes:
        """The next whole message; its type tells text from binary.

        Raises:
            WireError: the server closed instead, or sent nothing in time.
        """
        self.restart_clock()
        texts: list[str] = []
        pieces: list[bytes] = []
        while True:
            event = self._next_event()
            if isinstance(event, CloseConnection):
                raise WireError(f"the server closed the WebSocket with {event.code}")
            if isinstance(event, TextMessage):
                texts.append(event.data)
            elif isinstance(event, BytesMessage):
                pieces.append(bytes(event.data))
            if isinstance(event, (TextMessage, BytesMessage)) and event.message_finished:
                return "".join(texts) if isinstance(event, TextMessage) else b"".join(pieces)

    def finish(self) -> int:
        """Close in good order; the code of the server's own close frame.

        Raises:
            WireError: no close frame, or the connection stays open.
        """
        self.restart_clock()
        self._write(CloseConnection(NORMAL_CLOSURE))
        event = self._next_event()
        while not isinstance(event, CloseConnection):
            event = self._next_event()
        self.read_until_closed()
        return int(event.code)

    def _write(self, event: Event) -> None:
        self.write(self._protocol.send(event))

    def _next_event(self) -> Event:
        """The next event; pings are answered on the way."""
        while True:
            if not self._events:
                data, _ = self.read()
                try:
                    self._protocol.receive_data(data or None)
                except RemoteProtocolError as error:
                    raise WireError(f"not the WebSocket protocol: {error}") from error
                self._events = list(self._protocol.events())
                if not data and not self._events:
                    raise EndedError("the server closed the connection without an answer")
                continue
            event = self._events.pop(0)
            if not isinstance(event, Ping):
                return event
            self._write(event.response())
