"""Reads WebSocket frames (RFC 6455, section 5.2) for a person to look at. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_EXTENDED = {126: 2, 127: 8}
"""Length in the second byte → how many bytes the true length has then."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        header: its bytes before the payload, the masking key included.
        payload: unmasked; without what of it did not come.
    """

    header: bytes
    kind: str
    final: bool
    masked: bool
    length: int
    payload: bytes

    @property
    def close_code(self) -> int | None:
        """Of a close frame that has one."""
        return int.from_bytes(self.payload[:2]) if self.kind == "close" and len(self.payload) > 1 else None


def frames(data: bytes) -> Iterator[Frame]:
    """The frames in `data`, the last of which may be incomplete; a header that is, is left out."""
    while len(data) >= 2:
        length, start = data[1] & 0x7F, 2
        if extended := _EXTENDED.get(length):
            length, start = int.from_bytes(data[2 : 2 + extended]), 2 + extended
        masked = bool(data[1] & 0x80)
        key = data[start : start + 4] if masked else bytes(4)
        start += 4 if masked else 0
        if len(data) < start:
            return
        payload = bytes(byte ^ key[index % 4] for index, byte in enumerate(data[start : start + length]))
        kind = OPCODES.get(data[0] & 0x0F, f"opcode {data[0] & 0x0F}")
        yield Frame(data[:start], kind, bool(data[0] & 0x80), masked, length, payload)
        data = data[start + length :]
