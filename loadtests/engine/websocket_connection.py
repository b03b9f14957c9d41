"""One WebSocket slot in a closed loop: a numbered, masked message, its echo checked byte for byte, again."""

from __future__ import annotations

import contextlib
import socket
import struct
from random import getrandbits
from typing import TYPE_CHECKING

import wsproto
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

from loadtests.engine.slot import Slot

if TYPE_CHECKING:
    from loadtests.engine.group import Group

HANDSHAKE_TIMEOUT_S = 2.0
SEQUENCE_DIGITS = 16


def frame_head(length: int, *, masked: bool) -> bytes:
    """The head of an unfragmented text frame (RFC 6455, section 5.2), without the masking key."""
    mask_bit = 0x80 if masked else 0
    if length < 126:
        return bytes((0x81, mask_bit | length))
    if length < 1 << 16:
        return b"\x81" + bytes((mask_bit | 126,)) + struct.pack("!H", length)
    return b"\x81" + bytes((mask_bit | 127,)) + struct.pack("!Q", length)


class WebSocketConnection(Slot):
    """A slot with one open WebSocket and one message in flight.

    An echo that is byte for byte the expected frame is accepted; anything else (fragments, pings, a close,
    another payload) goes through wsproto.
    """

    __slots__ = ("_expected", "_got", "_message", "_parsing", "_payload", "_protocol", "_sequence")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._protocol: wsproto.WSConnection | None = None
        self._sequence = getrandbits(40)
        self._payload = self._expected = self._got = b""
        self._message = bytearray()
        self._parsing = False

    def prepare(self) -> None:
        """Opens the WebSocket where it is not open, untimed and blocking for `HANDSHAKE_TIMEOUT_S` at most.

        Raises:
            OSError: the server refused the connection or the upgrade, or did not answer.
        """
        self._opening = True
        if self._socket is None:
            self._connect()

    def start(self) -> None:
        """Sends the next numbered message."""
        group = self._group
        self._begin()
        if self._socket is None:
            self._fail("refused", "no WebSocket: " + group.handshake_failure)
            return
        self._sequence += 1
        length = group.target.message_bytes
        payload = (b"%016x" % self._sequence).ljust(length, b"=")
        self._payload = payload
        self._expected = group.frame_head + payload
        key = getrandbits(32)
        mask = key * group.mask_factor >> group.mask_shift
        masked = (int.from_bytes(payload, "big") ^ mask).to_bytes(length, "big")
        self._send(self._socket, group.masked_frame_head + key.to_bytes(4, "big") + masked)

    def close(self) -> None:
        """Closes the connection, with a close frame where the server can still read one."""
        protocol, connection = self._protocol, self._socket
        is_open = protocol is not None and protocol.state is ConnectionState.OPEN
        if connection is not None and protocol is not None and is_open and not self._unsent:
            with contextlib.suppress(OSError):  # the server may be gone already
                connection.send(protocol.send(CloseConnection(code=1000)))
        super().close()
        self._protocol = None
        self._got = b""
        self._message.clear()
        self._parsing = False

    def _connect(self) -> None:
        group = self._group
        connection = socket.create_connection(group.address, timeout=HANDSHAKE_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        try:
            host = f"{group.target.host}:{group.target.port}"
            connection.sendall(protocol.send(Request(host=host, target=group.target.path)))
            self._await_acceptance(connection, protocol)
        except (OSError, wsproto.utilities.RemoteProtocolError) as error:
            connection.close()
            group.handshake_failure = str(error)
            raise ConnectionError(str(error)) from error
        connection.setblocking(False)
        self._protocol = protocol
        self._watch(connection)

    def _await_acceptance(self, connection: socket.socket, protocol: wsproto.WSConnection) -> None:
        while True:
            data = connection.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection during the handshake")
            protocol.receive_data(data)
            for event in protocol.events():
                if isinstance(event, AcceptConnection):
                    if event.extensions:
                        raise ConnectionError(f"extensions nobody asked for: {event.extensions}")
                    return
                if isinstance(event, RejectConnection):
                    raise ConnectionError(f"the upgrade was refused with status {event.status_code}")

    def _take(self, piece: bytes, now: int) -> None:
        if not piece:
            self._ended()
            return
        whole = self._got + piece if self._got else piece
        if self.in_flight and not self._parsing:
            if whole == self._expected:
                self._got = b""
                self._complete(now)
                return
            if self._expected.startswith(whole):
                self._got = whole
                return
        self._got = b""
        self._parsing = True
        self._read_in_full(whole, now)

    def _ended(self) -> None:
        self._group.tally.closed_by_server += 1
        if self.in_flight:
            self._fail("short" if self._got or self._parsing else "reset", "the server ended the connection")
        else:
            self.close()

    def _read_in_full(self, data: bytes, now: int) -> None:
        protocol, connection = self._protocol, self._socket
        if protocol is None or connection is None:
            return
        try:
            protocol.receive_data(data)
            for event in protocol.events():
                if isinstance(event, Ping):
                    connection.send(protocol.send(event.response()))
                elif isinstance(event, CloseConnection):
                    self._on_close(event, protocol.state)
                    return
                elif isinstance(event, (TextMessage, BytesMessage)):
                    self._on_message(event, now)
                if self._socket is None:
                    return
        except wsproto.utilities.RemoteProtocolError as error:
            self._fail("status", f"not the WebSocket protocol: {error}")
        except OSError as error:
            self._fail("reset", f"send: {error}")

    def _on_close(self, event: CloseConnection, state: ConnectionState) -> None:
        """A close frame of the server's or, while wsproto holds the connection open, a breach it found."""
        if state is ConnectionState.OPEN:
            self._fail("status", f"not the WebSocket protocol: {event.reason}")
        else:
            self._ended()

    def _on_message(self, event: TextMessage | BytesMessage, now: int) -> None:
        data = event.data
        self._message += data.encode() if isinstance(data, str) else data
        if not event.message_finished:
            return
        message = bytes(self._message)
        self._message.clear()
        if not self.in_flight:
            self._group.tally.fail("body", f"a message that nobody asked for: {message[:120]!r}")
            self.close()
        elif message != self._payload or not isinstance(event, TextMessage):
            self._fail("body", f"echo {message[:120]!r} instead of {self._payload[:120]!r}")
        else:
            self._complete(now)

    def _complete(self, now: int) -> None:
        self._parsing = False
        self._finish(now)
        if now < self._group.deadline_ns:
            self.start()

    def _after_failure(self) -> None:
        if self._group.endless:
            self._group.loop.rest(self._reopen)

    def _reopen(self) -> None:
        """Endless load only: inside a slice a lost WebSocket stays closed until the next `prepare`."""
        if self.in_flight or not self._group.endless:
            return
        try:
            self.prepare()
        except OSError as error:
            self._group.handshake_failure = str(error)
        self.start()
