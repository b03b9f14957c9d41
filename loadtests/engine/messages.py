"""Messages between the processes of the load: JSON objects behind a four-byte length."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")

Message = dict[str, Any]


def send_message(connection: socket.socket, message: Message) -> None:
    """Sends one message whole."""
    data = json.dumps(message, separators=(",", ":")).encode()
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_message(connection: socket.socket) -> Message | None:
    """Waits for one message; None when the other side has closed."""
    head = _receive_exactly(connection, _LENGTH.size)
    if head is None:
        return None
    data = _receive_exactly(connection, _LENGTH.unpack(head)[0])
    if data is None:
        return None
    message: Message = json.loads(data)
    return message


def _receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)
