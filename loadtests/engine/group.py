"""A group: all connections of one cell, their shared state, and the slices they are driven through."""

from __future__ import annotations

import time

from loadtests.engine.estimator import whole_turns
from loadtests.engine.http_connection import HttpConnection
from loadtests.engine.loop import Loop, clock_ns
from loadtests.engine.slot import Slot
from loadtests.engine.tally import SliceResult, Tally
from loadtests.engine.target import Target
from loadtests.engine.websocket_connection import WebSocketConnection, frame_head

FOREVER_NS = 1 << 62
ACCEPTED_ANSWERS = 512
"""How many different correct answers are remembered (a `Date` header alone makes one a second)."""


class Group:
    """The connections to one target.

    Each group has its own `Loop` for slices, so that polling one cell does not see the others' sockets;
    groups that are driven at the same time share one.
    """

    def __init__(self, target: Target, loop: Loop) -> None:
        self.target = target
        self.loop = loop
        self.address = (target.host, target.port)
        self.keeps_alive = target.transport != "close"
        self.request = b"" if target.transport == "websocket" else target.request_bytes()
        self.receive_bytes = 4096 if len(target.answer) < 3072 else 1 << 18
        self.accepted: dict[bytes, bool] = {}
        self.latest = b""
        self.tally = Tally()
        self._next_tally = Tally()
        self.in_flight = 0
        self.deadline_ns = 0
        self._connections: dict[str, Slot] = {}
        # What every WebSocket message of this group shares, computed once.
        length = target.message_bytes
        self.frame_head = frame_head(length, masked=False)
        self.masked_frame_head = frame_head(length, masked=True)
        words = -(-length // 4)
        self.mask_factor = int.from_bytes(b"\0\0\0\1" * words, "big")
        self.mask_shift = 8 * (4 * words - length)
        self.handshake_failure = "not connected"

    @property
    def endless(self) -> bool:
        """Whether the group is driven without an end, rather than through slices."""
        return self.deadline_ns == FOREVER_NS

    def __len__(self) -> int:
        return len(self._connections)

    def accept(self, answer: bytes, *, reusable: bool) -> None:
        """Remembers an answer that the full parser found correct."""
        if len(self.accepted) >= ACCEPTED_ANSWERS:
            self.accepted.clear()
        self.accepted[answer] = reusable
        self.latest = answer

    def open(self, name: str) -> None:
        """Adds one connection slot; it connects when it is prepared."""
        connection: Slot
        if self.target.transport == "websocket":
            connection = WebSocketConnection(self)
        else:
            connection = HttpConnection(self)
        self._connections[name] = connection
        if self.endless:
            self._launch(connection)

    def discard(self, name: str) -> None:
        """Closes and removes one slot; a request in flight on it is not counted."""
        connection = self._connections.pop(name, None)
        if connection is not None:
            if connection.in_flight:
                self.in_flight -= 1
                connection.in_flight = False
            connection.close()

    def prepare(self) -> None:
        """Untimed: notices connections that the server closed while idle, and opens what is missing.

        Failures to connect are not counted here: the first timed request meets them again. Bytes that nobody
        asked for, after the last slice's answers, count in the next slice.
        """
        self.deadline_ns = 0
        self.tally = Tally()
        self.loop.reset()
        self.loop.poll_once()
        for connection in self._connections.values():
            try:
                connection.prepare()
            except OSError:
                break  # one unanswered handshake is enough to wait for
        self._next_tally = Tally()
        for _ in range(self.tally.failures["body"]):
            self._next_tally.fail("body", self.tally.examples["body"])

    def run_slice(self, window_s: float) -> SliceResult:
        """Drives every connection in a closed loop for `window_s` seconds, then drains.

        Draining ends when no request is in flight, or `timeout_s` after the window; what is still in
        flight then counts as `timeout`, so a slice always ends in time.
        """
        self.tally, self._next_tally = self._next_tally, Tally()
        self.loop.reset()
        started_unix_ns = time.time_ns()
        started_ns = clock_ns()
        self.deadline_ns = started_ns + int(window_s * 1e9)
        for connection in self._connections.values():
            connection.start()
        sent_all_ns = clock_ns()
        timeout_ns = int(self.target.timeout_s * 1e9)
        while (now := clock_ns()) < self.deadline_ns:
            self.loop.run(min(self.deadline_ns, now + timeout_ns // 4))
            self.time_out_overdue()
        self.loop.run(self.deadline_ns + timeout_ns, done=self._is_drained)
        ended_ns = clock_ns()
        for connection in self._connections.values():
            if connection.in_flight:
                connection.time_out()
        elapsed_ns = max(1, ended_ns - started_ns)
        counted, counted_ns = whole_turns(
            [moment - started_ns for moment in self.tally.completed_ns],
            in_window=self.tally.completed,
            connections=len(self._connections),
            window_ns=self.deadline_ns - started_ns,
        )
        return SliceResult.of(
            self.tally,
            window_s=(self.deadline_ns - started_ns) / 1e9,
            elapsed_s=elapsed_ns / 1e9,
            busy_share=min(1.0, (self.loop.busy_ns + sent_all_ns - started_ns) / elapsed_ns),
            started_unix_ns=started_unix_ns,
            turns=(counted, counted_ns / 1e9),
        )

    def drive(self) -> None:
        """Starts a closed loop without an end; the owner of the loop runs it and takes `reports`."""
        self.deadline_ns = FOREVER_NS
        for connection in self._connections.values():
            self._launch(connection)

    def report(self, elapsed_s: float) -> SliceResult:
        """What was counted since the last report, while driven; the counters begin anew."""
        tally, self.tally = self.tally, Tally()
        return SliceResult.of(
            tally,
            window_s=elapsed_s,
            elapsed_s=elapsed_s,
            busy_share=min(1.0, self.loop.busy_ns / 1e9 / max(elapsed_s, 1e-9)),
            started_unix_ns=time.time_ns() - int(elapsed_s * 1e9),
            turns=(tally.completed, elapsed_s),
        )

    def time_out_overdue(self) -> None:
        """Gives up on every request that has been in flight for longer than the target's timeout."""
        overdue_ns = clock_ns() - int(self.target.timeout_s * 1e9)
        for connection in list(self._connections.values()):
            if connection.in_flight and connection.sent_ns < overdue_ns:
                connection.time_out()

    def close(self) -> None:
        """Closes every connection."""
        for name in list(self._connections):
            self.discard(name)

    def _launch(self, connection: Slot) -> None:
        try:
            connection.prepare()
        except OSError as error:
            self.handshake_failure = str(error)
        connection.start()

    def _is_drained(self) -> bool:
        return self.in_flight == 0
