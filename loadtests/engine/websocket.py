"""What every WebSocket slot does: open the connection, read frames in full where they are unusual, close."""

from __future__ import annotations

import contextlib
import socket
import struct
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
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

from loadtests.engine.slot import Slot, clock_ns

if TYPE_CHECKING:
    from loadtests.engine.group import Group


MESSAGES = 4096
MESSAGES_BYTES = 4 << 20
"""So many messages are made in advance, of large ones fewer."""
HANDSHAKE_TIMEOUT_S = 2.0
HANDSHAKE_LIMIT_BYTES = 16 * 1024
SEQUENCE_DIGITS = 16


def frame_head(length: int, *, masked: bool) -> bytes:
    """The head of an unfragmented text frame (RFC 6455, section 5.2), without the masking key."""
    mask_bit = 0x80 if masked else 0
    if length < 126:
        return bytes((0x81, mask_bit | length))
    if length < 1 << 16:
        return b"\x81" + bytes((mask_bit | 126,)) + struct.pack("!H", length)
    return b"\x81" + bytes((mask_bit | 127,)) + struct.pack("!Q", length)


class MessageFrames:
    """What the messages of one group have in common: their length, the heads of their frames, masking."""

    def __init__(self, length: int, window: int) -> None:
        self._length = length
        self._count = max(4 * window, min(MESSAGES, MESSAGES_BYTES // length))
        self._head = frame_head(length, masked=False)
        self._masked_head = frame_head(length, masked=True)
        words = -(-length // 4)
        self._mask_factor = int.from_bytes(b"\0\0\0\1" * words, "big")
        self._mask_shift = 8 * (4 * words - length)

    @cached_property
    def messages(self) -> Sequence[tuple[bytes, bytes, bytes]]:
        """Numbered messages for all connections, each from a place of its own, over and over.

        Made before they are sent, since making one takes a fifth of an echo's time. A message comes again
        only after so many others that an echo of the earlier one cannot be taken for it.
        """
        first = getrandbits(40)
        return [self.number(first + number) for number in range(self._count)]

    def number(self, sequence: int) -> tuple[bytes, bytes, bytes]:
        """A message: its payload, the frame that must come back, and the masked frame that is sent."""
        length = self._length
        payload = (b"%016x" % sequence).ljust(length, b"=")
        key = getrandbits(32)
        mask = key * self._mask_factor >> self._mask_shift
        masked = (int.from_bytes(payload, "big") ^ mask).to_bytes(length, "big")
        return payload, self._head + payload, self._masked_head + key.to_bytes(4, "big") + masked


def _receive_head(connection: socket.socket) -> bytes:
    """A server's half of the handshake, and not a byte more: what follows belongs to the frames."""
    deadline_ns = clock_ns() + int(HANDSHAKE_TIMEOUT_S * 1e9)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        remaining_s = (deadline_ns - clock_ns()) / 1e9
        if remaining_s <= 0:
            raise TimeoutError(f"no whole handshake in {HANDSHAKE_TIMEOUT_S:g} s")
        if len(head) > HANDSHAKE_LIMIT_BYTES:
            raise ConnectionError(f"a handshake of more than {HANDSHAKE_LIMIT_BYTES} bytes")
        connection.settimeout(remaining_s)
        ahead = head + connection.recv(4096, socket.MSG_PEEK)
        if len(ahead) == len(head):
            raise ConnectionError("the server closed the connection during the handshake")
        end = ahead.find(b"\r\n\r\n", max(0, len(head) - 3))
        head += connection.recv((end + 4 if end >= 0 else len(ahead)) - len(head))
    return head


class WebSocketSlot(Slot):
    """A slot with one open WebSocket.

    A subclass recognises whole expected frames in `_take`, byte for byte; anything else (fragments, pings, a
    close, another payload) it hands to `_read_in_full`, which goes through wsproto and calls `_on_message`.
    """

    __slots__ = ("_got", "_message", "_parsing", "_protocol")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._protocol: wsproto.WSConnection | None = None
        self._got = b""
        self._message = bytearray()
        self._parsing = False

    def prepare(self) -> None:
        """Opens the WebSocket where it is not open, untimed and blocking for `HANDSHAKE_TIMEOUT_S` at most.

        Raises:
            OSError: the server refused the connection or the upgrade, or did not answer.
        """
        self._opening = True
        self._repeats = False
        if self._socket is None:
            self._connect()

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
            opening = Request(host=group.target.host_header, target=group.target.path)
            connection.sendall(protocol.send(opening))
            self._await_acceptance(connection, protocol)
        except (OSError, UnicodeDecodeError, wsproto.utilities.RemoteProtocolError) as error:
            connection.close()  # UnicodeDecodeError: wsproto reads some headers as ASCII, whatever they hold
            raise ConnectionError(str(error)) from error
        connection.setblocking(False)
        self._protocol = protocol
        self._watch(connection)

    def _await_acceptance(self, connection: socket.socket, protocol: wsproto.WSConnection) -> None:
        protocol.receive_data(_receive_head(connection))
        for event in protocol.events():
            if isinstance(event, RejectConnection):
                raise ConnectionError(f"the upgrade was refused with status {event.status_code}")
            if isinstance(event, AcceptConnection) and not event.extensions:
                return
        raise ConnectionError("the server did not accept the upgrade as it was offered")

    def _ended(self) -> None:
        self._group.tally.closed_by_server += 1
        if self.in_flight:
            self._fail("short" if self._got or self._message else "reset", "the server ended the connection")
        else:
            self.close()

    def _read_in_full(self, data: bytes, now: int) -> None:
        protocol, connection = self._protocol, self._socket
        if protocol is None or connection is None:
            return
        self._parsing = True
        try:
            protocol.receive_data(data)
            for event in protocol.events():
                if isinstance(event, Ping):
                    self._send_after(connection, protocol.send(event.response()))
                elif isinstance(event, CloseConnection):
                    self._on_close(event, protocol.state)
                    return
                elif isinstance(event, (TextMessage, BytesMessage)):
                    self._on_part(event, now)
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

    def _on_part(self, event: TextMessage | BytesMessage, now: int) -> None:
        data = event.data
        self._message += data.encode() if isinstance(data, str) else data
        if len(self._message) > self._group.target.message_bytes:
            self._fail("body", f"a message that is too long: {bytes(self._message[:120])!r}")
            return
        if not event.message_finished:
            return
        message = bytes(self._message)
        self._message.clear()
        if self.in_flight:
            self._on_message(message, is_text=isinstance(event, TextMessage), now=now)
        else:
            self._group.tally.fail("body", f"a message that nobody asked for: {message[:120]!r}")
            self.close()

    @abstractmethod
    def _on_message(self, message: bytes, *, is_text: bool, now: int) -> None:
        """Takes a message that came in an unusual way while one was in flight."""

    def _after_failure(self) -> None:
        """Inside a slice a lost WebSocket stays closed until the next `prepare`."""
        if self._group.endless:
            self._group.loop.rest(self._reopen)
        elif self._group.open_loop is not None:
            self._group.loop.rest(self._resume)

    def _resume(self) -> None:
        if not self.in_flight:
            self._next(clock_ns())

    def _reopen(self) -> None:
        if self.in_flight or not self._group.endless:
            return
        try:
            self.prepare()
        except OSError as error:
            self._group.handshake_failure = str(error)
        self.start()
