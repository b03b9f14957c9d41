"""Messages between the processes of the load: JSON objects behind a four-byte length."""

from __future__ import annotations

import json
import struct
from typing import Any, Protocol

_LENGTH = struct.Struct("!I")

Message = dict[str, Any]


class Connection(Protocol):
    """A socket, or what behaves like one."""

    def recv(self, count: int, /) -> bytes:
        """Up to so many bytes; none at the end."""

    def sendall(self, data: bytes, /) -> None:
        """Sends all of it."""


def send_message(connection: Connection, message: Message) -> None:
    """Sends one message whole."""
    data = json.dumps(message, separators=(",", ":")).encode()
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_message(connection: Connection) -> Message | None:
    """Waits for one message; None when the other side has closed."""
    head = _receive_exactly(connection, _LENGTH.size)
    if head is None:
        return None
    data = _receive_exactly(connection, _LENGTH.unpack(head)[0])
    if data is None:
        return None
    message: Message = json.loads(data)
    return message


def _receive_exactly(connection: Connection, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)
