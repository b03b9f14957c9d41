"""One WebSocket of the null responder (RFC 6455): echoes its messages, or sends each to a whole room."""

from __future__ import annotations

import socket
from functools import lru_cache

from loadtests.null_server.peer import Loop, Peer

RECEIVE_BYTES = 65_536
LARGEST_FRAME_BYTES = 1 << 26
CONTINUATION, CLOSE, PING, PONG = 0x0, 0x8, 0x9, 0xA
FINAL, MASKED, OPCODE, LENGTH = 0x80, 0x80, 0x0F, 0x7F


@lru_cache(maxsize=64)
def frame_head(first: int, length: int) -> bytes:
    """The head of an unmasked frame (RFC 6455, section 5.2), whose first byte is `first`."""
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


@lru_cache(maxsize=64)
def mask_factor(length: int) -> tuple[int, int]:
    """What repeats a 4-byte key over `length` bytes: multiply by the first, shift right by the second."""
    words = -(-length // 4)
    return int.from_bytes(b"\0\0\0\1" * words, "big"), 8 * (4 * words - length)


def unmask(key: bytes, masked: bytes) -> bytes:
    """The payload of a client's frame, unmasked in one operation on long integers."""
    factor, shift = mask_factor(len(masked))
    mask = int.from_bytes(key, "big") * factor >> shift
    return (int.from_bytes(masked, "big") ^ mask).to_bytes(len(masked), "big")


class WebSocketPeer(Peer):
    """An open WebSocket.

    Args:
        room: for a broadcast, the open WebSockets of its path, to which this one is added; None for an echo.
    """

    __slots__ = ("_fragments", "_got", "_kind", "_need", "_room")

    def __init__(
        self, loop: Loop, connection: socket.SocketType, room: set[WebSocketPeer] | None, *, watched: int
    ) -> None:
        super().__init__(loop, connection, watched=watched)
        self._got = bytearray()
        self._need = 0
        self._kind = 0
        self._fragments: list[bytes] = []
        self._room = room
        if room is not None:
            room.add(self)

    def close(self) -> None:
        """Closes at once and leaves the room."""
        if self._room is not None:
            self._room.discard(self)
        super().close()

    def take(self, data: bytes) -> None:
        """Serves every whole frame in `data`, after what came before; keeps the rest."""
        if self._got:
            self._got += data
            if len(self._got) < self._need:
                return
            data = bytes(self._got)
            self._got.clear()
        messages: list[bytes] = []
        rest = self._serve_frames(data, messages)
        self._spread(messages)
        if rest < 0:
            self.finish()
        elif rest < len(data):
            self._got += data[rest:]

    def _read(self) -> None:
        try:
            data = self._socket.recv(max(RECEIVE_BYTES, self._need - len(self._got)))
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            self.take(data)
        else:
            self.finish()

    def _serve_frames(self, data: bytes, messages: list[bytes]) -> int:
        """Adds the frames to answer with to `messages`; returns where the rest begins, -1 for the end."""
        start, size = 0, len(data)
        while size - start >= 2:
            first, length = data[start], data[start + 1]
            if not length & MASKED:
                return -1  # a client must mask (section 5.1)
            length &= LENGTH
            key_at = start + 2
            if length > 125:
                key_at += 2 if length == 126 else 8
                if size < key_at:
                    self._need = key_at - start
                    return start
                length = int.from_bytes(data[start + 2 : key_at], "big")
            begin = key_at + 4
            end = begin + length
            if end > size:
                self._need = end - start
                return start if length <= LARGEST_FRAME_BYTES else -1
            payload = unmask(data[key_at:begin], data[begin:end])
            if not self._serve_frame(first, payload, messages):
                return -1
            start = end
        self._need = 2
        return start

    def _serve_frame(self, first: int, payload: bytes, messages: list[bytes]) -> bool:
        """Serves one frame; returns whether the WebSocket stays open."""
        opcode = first & OPCODE
        if opcode < CLOSE:
            if first & FINAL and not self._fragments:
                messages.append(frame_head(first, len(payload)) + payload)
            else:
                self._gather(first, payload, messages)
        elif opcode != PONG:
            self._spread(messages)  # what came before is answered before
            messages.clear()
            answer = FINAL | (PONG if opcode == PING else CLOSE)
            self.send(frame_head(answer, len(payload)) + payload)
        return opcode != CLOSE

    def _gather(self, first: int, payload: bytes, messages: list[bytes]) -> None:
        """Puts a message together that comes in fragments: in a room, others' could come between them."""
        if first & OPCODE != CONTINUATION:
            self._kind = first & OPCODE
        self._fragments.append(payload)
        if first & FINAL:
            whole = b"".join(self._fragments)
            self._fragments.clear()
            messages.append(frame_head(FINAL | self._kind, len(whole)) + whole)

    def _spread(self, messages: list[bytes]) -> None:
        if not messages:
            return
        frames = messages[0] if len(messages) == 1 else b"".join(messages)
        if self._room is None:
            self.send(frames)
            return
        for peer in tuple(self._room):
            peer.send(frames)
