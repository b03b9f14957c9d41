"""A small client that speaks HTTP and WebSocket to one server, and keeps what came over the wire."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import h11
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

READ_BYTES = 256 * 1024
_NOTHING = memoryview(b"")


class WireError(Exception):
    """What went wrong between client and server: refused, reset, closed, no answer in time, not HTTP."""


class EndedError(WireError):
    """The server closed or reset the connection."""


class NotHttpError(WireError):
    """The server answered with something that is no HTTP, or not a whole answer."""


@dataclass(frozen=True, slots=True)
class Received:
    """One whole answer.

    Attributes:
        headers: names in lower case, in the order they came.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header by its lower-case name, joined by commas where it came more than once."""
        values = [value for each, value in self.headers if each == name]
        return ", ".join(values) if values else None


class Wire:
    """One TCP connection with a deadline for each operation as a whole, however many pieces it takes."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        """Connect.

        Raises:
            WireError: nothing listens there, or it does not accept in time.
        """
        self.address = f"{host}:{port}"
        self.timeout_s = timeout_s
        try:
            self._socket = socket.create_connection((host, port), timeout_s)
        except OSError as error:
            raise WireError(f"no connection: {_reason(error)}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self.restart_clock()

    def restart_clock(self) -> None:
        """Begin an operation: the whole timeout lies ahead again."""
        self._deadline = time.monotonic() + self.timeout_s

    def read(self, unsent: memoryview = _NOTHING) -> tuple[bytes, memoryview]:
        """The next bytes, `b""` at the end; sends of `unsent` what the server takes meanwhile.

        Returns as soon as bytes are there, with what is left to send. A server that stops reading is no error
        as long as it answers, so nothing is left once it refuses more.

        Raises:
            WireError: reset, or nothing in time.
        """
        while True:
            self._wait(select.POLLIN | (select.POLLOUT if unsent else 0))
            try:
                return self._socket.recv(READ_BYTES), unsent
            except BlockingIOError:
                unsent = self._send_some(unsent)
            except OSError as error:
                raise EndedError(f"the connection broke: {_reason(error)}") from error

    def write(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            WireError: the server is gone, or does not take it in time.
        """
        unsent = memoryview(data)
        while unsent:
            self._wait(select.POLLOUT)
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise EndedError(f"the connection broke: {_reason(error)}") from error

    def read_until_closed(self) -> bytes:
        """Everything up to the end of the connection, be it closed or reset.

        Raises:
            WireError: it is still open when the time is up.
        """
        pieces: list[bytes] = []
        while True:
            try:
                data, _ = self.read()
            except EndedError:
                data = b""
            if not data:
                return b"".join(pieces)
            pieces.append(data)

    def _wait(self, events: int) -> None:
        """Wait until one of `events` of `select.poll`, or an end of the connection, is there."""
        poll = select.poll()
        poll.register(self._socket, events)
        left_s = self._deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise WireError(f"nothing more within {self.timeout_s:g} s")

    def _send_some(self, unsent: memoryview) -> memoryview:
        try:
            return unsent[self._socket.send(unsent) :]
        except BlockingIOError:
            return unsent
        except OSError:
            return _NOTHING

    def close(self) -> None:
        """Close the connection; whatever was under way is dropped."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HttpProbe(Wire):
    """One HTTP/1.1 connection; usable for several requests as long as the server keeps it."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        """Connect; see `Wire`."""
        super().__init__(host, port, timeout_s)
        self._http = h11.Connection(h11.CLIENT)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        chunked: bool = False,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Received:
        """Make one request and read its whole answer; a 101 is an answer too.

        Args:
            method: GET, POST, …
            target: path and query string, percent-encoded.
            body: the request's body.
            chunked: send the body in chunks, without its length.
            headers: more headers than the body's framing; `Host` among them where it is not the address.

        Raises:
            WireError: no answer, or not one in HTTP.
        """
        self.restart_clock()
        framing = [("Transfer-Encoding", "chunked")] if chunked else []
        if not chunked and (body or method in ("POST", "PUT", "PATCH")):
            framing = [("Content-Length", str(len(body)))]
        given = list(headers)
        host = [] if any(name.lower() == "host" for name, _ in given) else [("Host", self.address)]
        request = h11.Request(method=method, target=target, headers=[*host, *given, *framing])
        try:
            if self._http.our_state is h11.DONE:
                self._http.start_next_cycle()
            return self._exchange(request, body)
        except h11.LocalProtocolError as error:
            raise EndedError("the server had ended the connection with the answer before") from error
        except h11.RemoteProtocolError as error:
            raise NotHttpError(f"no whole HTTP answer: {error}") from error

    def read_to_end(self) -> bytes:
        """What the server sends beyond the last answer until it closes the connection.

        Raises:
            WireError: it does not close in time.
        """
        self.restart_clock()
        return self._http.trailing_data[0] + self.read_until_closed()

    def _exchange(self, request: h11.Request, body: bytes) -> Received:
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        unsent = memoryview(b"".join(self._http.send(event) or b"" for event in events))
        head: h11.Response | None = None
        pieces: list[bytes] = []
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data, unsent = self.read(unsent)
                if not data and head is None:
                    raise EndedError("the server closed the connection without an answer")
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                return _received(event, b"")
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                if unsent:
                    self._http.send_failed()  # the rest of the request is still due, so no other can follow
                return _received(head, b"".join(pieces))


def _received(head: h11.Response | h11.InformationalResponse, body: bytes) -> Received:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
    return Received(head.status_code, headers, body)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


CLOSE = (("Connection", "close"),)


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
