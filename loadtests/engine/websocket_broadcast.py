"""Broadcasts: one connection says something, and every connection of the group must hear it."""

from __future__ import annotations

from collections.abc import Sequence
from random import getrandbits
from typing import TYPE_CHECKING

from loadtests.engine.loop import clock_ns
from loadtests.engine.websocket_connection import WebSocketSlot

if TYPE_CHECKING:
    from loadtests.engine.group import Group


class Broadcasts:
    """The broadcasts of one slice, one under way at a time, the next when everybody has heard the last.

    A broadcast that somebody did not hear counts as a failure of that subscriber, and is not completed.

    Attributes:
        payload, expected: the message under way, and the frame in which it comes.
    """

    def __init__(self, group: Group, slots: Sequence[BroadcastSlot]) -> None:
        self._group = group
        self._slots = slots
        self._sequence = getrandbits(40)
        self._waiting_for = 0
        self._sent_ns = 0
        self._missed = False
        self.payload = self.expected = b""

    def begin(self) -> None:
        """Has the first connection that is open make the next broadcast."""
        if not self._slots:
            return
        self._sequence += 1
        self.payload, self.expected, frame = self._group.frames.number(self._sequence)
        self._missed = False
        self._waiting_for = len(self._slots)
        self._sent_ns = clock_ns()
        for slot in self._slots:
            slot.listen(self._sent_ns)
        speaker = next((slot for slot in self._slots if slot.in_flight), None)
        if speaker is not None:
            speaker.publish(frame)

    def heard(self, now: int) -> None:
        """One subscriber more has heard it."""
        self._group.tally.response_ns.append(now - self._sent_ns)
        self._settle(now)

    def missed(self, now: int) -> None:
        """One subscriber will never hear it."""
        self._missed = True
        self._settle(now)

    def _settle(self, now: int) -> None:
        self._waiting_for -= 1
        if self._waiting_for:
            return
        group, tally = self._group, self._group.tally
        if self._missed:
            group.loop.rest(self._begin_again)
            return
        tally.last_ns.append(now - self._sent_ns)
        tally.completed_ns.append(now)
        if now <= group.deadline_ns:
            tally.completed += 1
            self._begin_again()
        else:
            tally.drain()

    def _begin_again(self) -> None:
        if clock_ns() < self._group.deadline_ns:
            self.begin()


class BroadcastSlot(WebSocketSlot):
    """A WebSocket that hears every broadcast of its group."""

    __slots__ = ()

    def start(self, intended_ns: int = 0) -> None:
        """Nothing: `Broadcasts` moves all connections together."""

    def listen(self, sent_ns: int) -> None:
        """From now on a broadcast is under way to this connection."""
        self._begin(0)
        self._sent_ns = sent_ns
        if self._socket is None:
            self._fail("refused", "no WebSocket: " + self._group.handshake_failure)

    def publish(self, frame: bytes) -> None:
        """Sends the broadcast, where the connection is open."""
        if self._socket is not None:
            self._send_after(self._socket, frame)

    def _take(self, piece: bytes, now: int) -> None:
        if not piece:
            self._ended()
            return
        whole = self._got + piece if self._got else piece
        self._got = b""
        if self.in_flight and not self._parsing:
            expected = self._broadcasts.expected
            if whole == expected:
                self._hear(now)
                return
            if expected.startswith(whole):
                self._got = whole
                return
        self._read_in_full(whole, now)

    def _on_message(self, message: bytes, *, is_text: bool, now: int) -> None:
        if message != self._broadcasts.payload or not is_text:
            self._fail("body", f"heard {message[:120]!r} instead of {self._broadcasts.payload[:120]!r}")
        else:
            self._parsing = False
            self._hear(now)

    def _hear(self, now: int) -> None:
        self.in_flight = False
        self._group.in_flight -= 1
        self._broadcasts.heard(now)

    def _after_failure(self) -> None:
        """A lost subscriber stays lost until the next `prepare`."""
        self._broadcasts.missed(clock_ns())

    @property
    def _broadcasts(self) -> Broadcasts:
        broadcasts = self._group.broadcasts
        if broadcasts is None:
            raise RuntimeError("a broadcast was heard of outside of a slice")
        return broadcasts
