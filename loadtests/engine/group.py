"""A group: all connections of one cell, their shared state, and the slices they are driven through."""

from __future__ import annotations

import itertools
import math
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from loadtests.engine.answers import SMALL_BYTES, Answers, in_turn
from loadtests.engine.http import HttpConnection, TurnsConnection
from loadtests.engine.pauses import BEFORE_NS, LeftOut, Pauses, Span
from loadtests.engine.protocol import Arrivals, Target
from loadtests.engine.slot import Loop, Slot, clock_ns
from loadtests.engine.tally import SliceResult, Tally
from loadtests.engine.websocket import MessageFrames
from loadtests.engine.websocket_exchanges import (
    Broadcasts,
    BroadcastSlot,
    EchoSlot,
    EchoWindowSlot,
    HandshakeSlot,
    IdleSlot,
)


def whole_turns(
    completed_ns: Sequence[int], *, in_window: int, connections: int, window_ns: int
) -> tuple[int, int]:
    """The answers to count, and the time they took.

    A turn is as many answers as there are connections. Counting answers at the end of the window would lose
    the work on requests that are still in flight: none at a server that serves one request at a time, but
    half of the last turn, on the average, at one that moves all of them forward together. Therefore the count
    is the number of whole turns nearest to what the window held, and the time is that of the last answer
    counted, in the window or while draining. The server is busy during all of it, whichever way it works.

    Args:
        completed_ns: when each correct answer was complete, since the first send, in order; drained ones too.
        in_window: how many of them were complete within the window.
        connections: requests in flight.
        window_ns: length of the window.

    Returns:
        Answers and nanoseconds. Where failures left too few answers for the turn, those of the window.
    """
    if not connections:
        return in_window, window_ns
    turns = max(1, (2 * in_window + connections) // (2 * connections))
    counted = turns * connections
    if counted > len(completed_ns):
        return in_window, window_ns
    return counted, max(1, completed_ns[counted - 1])


LINE_PATIENCE_NS = 2_000_000_000
"""How long after the window requests may still leave the line; what is left then was never sent."""
MOST_EVENTS = 4
"""Answers that are taken before the schedule is looked at again: more of them would make the engine late."""
AWAKE_S = math.inf
"""An open loop never sleeps: a core that sleeps wakes late, for answers as well as for moments, and whether a
loop that sleeps was held up cannot be told."""


class OpenLoop:
    """The schedule of one slice, its free connections, and the line of requests that wait for one.

    Args:
        offsets_ns: when to send, since the slice began, in order.
        slots: the connections; one that can carry several requests at a time comes as many times.
        tally: gets the moments of each request that found a free connection, and of those that never did.
        time_out_overdue: gives up on requests that are unanswered for too long; called every `check_ns`.
    """

    def __init__(
        self,
        offsets_ns: Sequence[int],
        slots: Iterable[Slot],
        tally: Tally,
        *,
        time_out_overdue: Callable[[], None],
        check_ns: int,
    ) -> None:
        self._offsets_ns = offsets_ns
        self._sent = 0
        self._free = deque(slots)
        self._line: deque[int] = deque()
        self._tally = tally
        self._time_out_overdue = time_out_overdue
        self._check_ns = check_ns
        self._next_check_ns = clock_ns() + check_ns
        tally.offered = len(offsets_ns)

    def release(self, slot: Slot) -> None:
        """Takes back a connection that can send again: the first in line gets it."""
        if self._line:
            slot.start(self._line.popleft())
        else:
            self._free.append(slot)

    def run(self, loop: Loop, started_ns: int, deadline_ns: int) -> None:
        """Sends everything at its moment, then lets the line leave, for `LINE_PATIENCE_NS` at most."""
        offsets_ns, last = self._offsets_ns, len(self._offsets_ns)
        loop.most_events = MOST_EVENTS
        try:
            while self._sent < last:
                self._send_due(loop, started_ns)
                if self._sent < last:
                    self._serve(loop, started_ns + offsets_ns[self._sent])
            self._serve(loop, deadline_ns)
            self._serve(loop, deadline_ns + LINE_PATIENCE_NS, done=lambda: not self._line)
        finally:
            loop.most_events = -1
        self._give_up()

    def _serve(self, loop: Loop, until_ns: int, done: Callable[[], bool] = lambda: False) -> None:
        while (now := clock_ns()) < until_ns and not done():
            if now >= self._next_check_ns:
                self._time_out_overdue()
                self._next_check_ns = now + self._check_ns
                loop.has_worked(clock_ns())
            loop.run(min(until_ns, self._next_check_ns), done)

    def _send_due(self, loop: Loop, started_ns: int) -> None:
        """Sends every request whose moment has come, or puts it in line."""
        offsets_ns, free, line = self._offsets_ns, self._free, self._line
        began_ns = now = clock_ns()
        while self._sent < len(offsets_ns) and (moment_ns := started_ns + offsets_ns[self._sent]) <= now:
            self._sent += 1
            if free:
                slot = free.popleft()
                slot.start(moment_ns)
                now = clock_ns()
                self._tally.sent_ns.append((moment_ns, slot.sent_ns))
            else:
                line.append(moment_ns)
        loop.busy_ns += now - began_ns
        loop.has_worked(now)

    def _give_up(self) -> None:
        now = clock_ns()
        self._tally.unsent = len(self._line)
        self._tally.given_up_ns = [(moment_ns, now) for moment_ns in self._line]
        self._line.clear()


FOREVER_NS = 1 << 62


def slot_type(target: Target) -> type[Slot]:
    """The kind of connection that speaks to a target."""
    if target.transport != "websocket":
        return TurnsConnection if target.others else HttpConnection
    if target.exchange == "echo":
        return EchoSlot if target.window == 1 else EchoWindowSlot
    return {"broadcast": BroadcastSlot, "handshake": HandshakeSlot, "idle": IdleSlot}[target.exchange]


class Group(Answers):
    """The connections to one target, and what is known of its answers.

    Each group has its own `Loop` for slices, so that polling one cell does not see the others' sockets;
    groups that are driven at the same time share one.

    Attributes:
        turns: where several requests take turns, the next ones in their order, without an end; each is known
            by its own answers, and the group itself by none.
    """

    def __init__(self, target: Target, loop: Loop) -> None:
        super().__init__(target)
        self.loop = loop
        self.address = (target.host, target.port)
        self.family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        self.turns: Iterator[Answers] = itertools.cycle(in_turn(target))
        socket_bytes = target.message_bytes * target.window
        longest = max(len(each.answer) for each in (target, *target.others))
        incoming = socket_bytes if target.transport == "websocket" else longest
        self.receive_bytes = 4096 if incoming < SMALL_BYTES else 1 << 18
        self.comes_whole = incoming < SMALL_BYTES
        self.tally = Tally()
        self._next_tally = Tally()
        self.in_flight = 0
        self.deadline_ns = 0
        self.open_loop: OpenLoop | None = None
        self.broadcasts: Broadcasts | None = None
        self._connections: dict[str, Slot] = {}
        self.frames = MessageFrames(target.message_bytes, target.window)
        self.handshake_failure = "not connected"

    @property
    def repeats(self) -> bool:
        """Whether an answer that came before may be expected again on its connection, in a closed loop."""
        return self.open_loop is None and self.comes_whole

    @property
    def endless(self) -> bool:
        """Whether the group is driven without an end, rather than through slices."""
        return self.deadline_ns == FOREVER_NS

    def __len__(self) -> int:
        return len(self._connections)

    def open(self, name: str) -> None:
        """Adds one connection slot; it connects when it is prepared."""
        connection = slot_type(self.target)(self)
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
        self.loop.reset()
        self.loop.poll_once()
        for connection in self._connections.values():
            try:
                connection.prepare()
            except OSError as error:
                self.handshake_failure = str(error)
                break  # one unanswered handshake is enough to wait for
        self._next_tally = Tally()
        for _ in range(self.tally.failures["body"]):
            self._next_tally.fail("body", self.tally.examples["body"])

    def run_slice(
        self, window_s: float, arrivals: Arrivals | None = None, start_ns: int | None = None
    ) -> SliceResult:
        """Drives every connection for `window_s` seconds, then drains.

        Draining ends when no request is in flight, or `timeout_s` after the last could be sent; what is still
        in flight then counts as `timeout`, so a slice always ends in time.

        Args:
            window_s: how long requests are sent.
            arrivals: when to send, in an open loop; None for a closed one.
            start_ns: when to begin, on the clock of `clock_ns`, so that several engines begin together.
        """
        window_ns = int(window_s * 1e9)
        self.tally, self._next_tally = self._next_tally, Tally()
        open_loop = self._open_loop(arrivals.offsets_ns(window_ns)) if arrivals is not None else None
        if start_ns is not None:
            self.loop.run(start_ns)
        self.loop.reset()
        started_unix_ns = time.time_ns()
        started_ns = clock_ns()
        self.deadline_ns = started_ns + window_ns
        pauses: Sequence[Span] = ()
        if open_loop is not None:
            pauses = self._run_open(open_loop, started_ns)
        else:
            self._run_closed(started_ns)
        timeout_ns = int(self.target.timeout_s * 1e9)
        self.loop.run(clock_ns() + timeout_ns, done=self._is_drained)
        ended_ns = clock_ns()
        for connection in self._connections.values():
            if connection.in_flight:
                connection.time_out()
        self.open_loop = self.broadcasts = None
        if open_loop is not None:
            self.tally.time_open_loop(LeftOut(pauses).covers)
        elapsed_ns = max(1, ended_ns - started_ns)
        tally, self.tally = self.tally, Tally()  # what comes from now on counts in the next slice
        return SliceResult.of(
            tally,
            window_s=window_ns / 1e9,
            elapsed_s=elapsed_ns / 1e9,
            busy_share=min(1.0, self.loop.busy_ns / elapsed_ns),
            started_unix_ns=started_unix_ns,
            held_s=0.0 if arrivals is not None else self._held_s(tally),
            turns=self._turns(tally, started_ns, window_ns, paced=arrivals is not None),
        )

    def _open_loop(self, offsets_ns: Sequence[int]) -> OpenLoop:
        return OpenLoop(
            offsets_ns,
            self._connections.values(),
            self.tally,
            time_out_overdue=self.time_out_overdue,
            check_ns=int(self.target.timeout_s * 1e9) // 4,
        )

    def _run_open(self, open_loop: OpenLoop, started_ns: int) -> Sequence[Span]:
        """Sends everything, and looks for pauses as long as they concern a request; returns these."""
        self.open_loop, loop = open_loop, self.loop
        pauses, sleeping_s = Pauses(started_ns), loop.awake_s
        loop.pauses, loop.awake_s = pauses, AWAKE_S
        try:
            open_loop.run(loop, started_ns, self.deadline_ns)
            loop.run(self.deadline_ns + BEFORE_NS, done=self._is_drained)
        finally:
            loop.pauses, loop.awake_s = None, sleeping_s
        return pauses.found

    def _run_closed(self, started_ns: int) -> None:
        if self.target.exchange == "broadcast":
            slots = [slot for slot in self._connections.values() if isinstance(slot, BroadcastSlot)]
            self.broadcasts = Broadcasts(self, slots)
            self.broadcasts.begin()
        for connection in self._connections.values():
            connection.start()
        self.loop.busy_ns += clock_ns() - started_ns
        while (now := clock_ns()) < self.deadline_ns:
            self.loop.run(min(self.deadline_ns, now + int(self.target.timeout_s * 1e9) // 4))
            self.time_out_overdue()

    def _held_s(self, tally: Tally) -> float:
        """What answers waited in the engine for their turn: an event may bring several, or none.

        Where answers come in pieces, the wait is in their latency.
        """
        if not self.comes_whole:
            return 0.0
        answers = tally.completed + tally.drained
        return self.loop.held_ns * answers / max(1, self.loop.served) / 1e9

    def _turns(self, tally: Tally, started_ns: int, window_ns: int, *, paced: bool) -> tuple[int, float]:
        """Answers that make the throughput, and the seconds they took."""
        if paced or self.target.exchange == "idle":
            return tally.completed, window_ns / 1e9
        at_once = 1 if self.target.exchange == "broadcast" else len(self._connections) * self.target.window
        counted, counted_ns = whole_turns(
            [moment - started_ns for moment in tally.completed_ns],
            in_window=tally.completed,
            connections=at_once,
            window_ns=window_ns,
        )
        return counted, counted_ns / 1e9

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
