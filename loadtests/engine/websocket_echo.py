"""WebSocket echoes: numbered, masked messages that must come back byte for byte."""

from __future__ import annotations

from collections import deque
from random import randrange
from typing import TYPE_CHECKING

from loadtests.engine.loop import clock_ns
from loadtests.engine.websocket_connection import WebSocketSlot

if TYPE_CHECKING:
    from loadtests.engine.group import Group

MOST_CONTROL_BYTES = 125
"""The payload that a control frame may have; an unmasked one has its length in its second byte."""


def control_frame_end(data: bytes, position: int) -> int:
    """Where the control frame at `position` ends (RFC 6455, section 5.5); 0 where there is no whole one."""
    if len(data) < position + 2 or data[position] < 0x88 or data[position + 1] > MOST_CONTROL_BYTES:
        return 0
    end = position + 2 + data[position + 1]
    return end if end <= len(data) else 0


class EchoSlot(WebSocketSlot):
    """A WebSocket with one message in flight."""

    __slots__ = ("_messages", "_payload", "_place")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._messages = group.frames.messages
        self._place = randrange(len(self._messages))  # noqa: S311 - where to begin is no secret
        self._payload = b""

    def start(self, intended_ns: int = 0) -> None:
        """Sends the next numbered message."""
        self._begin(intended_ns)
        if self._socket is None:
            self._fail("refused", "no WebSocket: " + self._group.handshake_failure)
            return
        self._send_after(self._socket, self._another())

    def _another(self) -> bytes:
        self._place = place = (self._place + 1) % len(self._messages)
        self._payload, self._expected, frame = self._messages[place]
        return frame

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
        expected = self._expected
        self._read_in_full(whole, now)
        if not self._message and whole.endswith(expected):
            self._parsing = False  # wsproto holds no begun frame: it may be left out again

    def _on_message(self, message: bytes, *, is_text: bool, now: int) -> None:
        if message != self._payload or not is_text:
            self._fail("body", f"echo {message[:120]!r} instead of {self._payload[:120]!r}")
        else:
            self._complete(now)

    def _complete(self, now: int) -> None:
        group = self._group
        self._finish(now)
        self._next(now)
        self._repeats = (
            group.open_loop is None
            and group.comes_whole
            and self.in_flight
            and not (self._unsent or self._parsing)
        )


class EchoWindowSlot(WebSocketSlot):
    """A WebSocket with several messages in flight, in a closed loop; their echoes come back in order.

    Each echo makes room for another message, and those that have room leave together: a client that sends
    ahead does not wait for one echo at a time. `in_flight` says whether there is any.
    """

    __slots__ = ("_messages", "_pending", "_place")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._messages = group.frames.messages
        self._place = randrange(len(self._messages))  # noqa: S311 - where to begin is no secret
        self._pending: deque[tuple[bytes, bytes, int]] = deque()

    def start(self, intended_ns: int = 0) -> None:
        """Fills the window."""
        self._begin(intended_ns)
        if self._socket is None:
            self._fail("refused", "no WebSocket: " + self._group.handshake_failure)
            return
        self._send_more(self._group.target.window, timed=False)

    def close(self) -> None:
        """Closes the connection; what was in flight on it is forgotten."""
        super().close()
        self._pending.clear()

    def _fail(self, kind: str, example: str) -> None:
        """Counts every message in flight as failed, and closes the connection."""
        self._group.tally.failures[kind] += max(0, len(self._pending) - 1)
        super()._fail(kind, example)

    def _send_more(self, count: int, *, timed: bool = True) -> None:
        """Sends that many messages. Those that fill the window are not timed: queues still fill."""
        connection = self._socket
        if connection is None:
            return
        frames = []
        self._sent_ns = clock_ns()
        for _ in range(count):
            self._place = place = (self._place + 1) % len(self._messages)
            payload, expected, frame = self._messages[place]
            self._pending.append((payload, expected, self._sent_ns if timed else 0))
            frames.append(frame)
        data = b"".join(frames)
        self._send_after(connection, data)

    def _take(self, piece: bytes, now: int) -> None:
        if not piece:
            self._ended()
            return
        whole = self._got + piece if self._got else piece
        self._got = b""
        if self._parsing:
            self._read_in_full(whole, now)
            return
        pending, position, answered = self._pending, 0, 0
        while True:
            if pending and whole.startswith(pending[0][1], position):
                position += len(pending[0][1])
                self._count(now)
                answered += 1
            elif end := control_frame_end(whole, position):
                # A ping between two echoes is no reason to read all that follow in full.
                self._read_in_full(whole[position:end], now)
                if self._socket is None:
                    return
                self._parsing = False
                position = end
            else:
                break
        rest = whole[position:] if position else whole
        if rest:
            if pending and pending[0][1].startswith(rest):
                self._got = rest
            else:
                self._read_in_full(rest, now)
        self._refill(answered, now)

    def _on_message(self, message: bytes, *, is_text: bool, now: int) -> None:
        expected = self._pending[0][0] if self._pending else b""
        if not self._pending or message != expected or not is_text:
            self._fail("body", f"echo {message[:120]!r} instead of {expected[:120]!r}")
            return
        self._count(now)
        self._refill(1, now)
        self._parsing = bool(self._pending)

    def _count(self, now: int) -> None:
        """Counts one correct echo."""
        group, tally = self._group, self._group.tally
        _, _, sent_ns = self._pending.popleft()
        tally.completed_ns.append(now)
        if now <= group.deadline_ns:
            tally.completed += 1
        else:
            tally.drain()
        if sent_ns:
            tally.response_ns.append(now - sent_ns)

    def _refill(self, answered: int, now: int) -> None:
        if self._socket is None or not answered:
            return
        if now < self._group.deadline_ns:
            self._send_more(answered)
        elif not self._pending and self.in_flight:
            self.in_flight = False
            self._group.in_flight -= 1
