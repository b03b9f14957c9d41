"""An open loop: requests leave at their moments, whatever became of the ones before them.

A request that finds no free connection waits in line, and its clock runs from the moment it was to be sent.
So a server that stalls is charged with everything that the stall held up (no coordinated omission).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from loadtests.engine.loop import Loop, clock_ns
from loadtests.engine.slot import Slot
from loadtests.engine.tally import Tally

LINE_PATIENCE_NS = 2_000_000_000
"""How long after the window requests may still leave the line; what is left then was never sent."""
MOST_EVENTS = 4
"""Answers that are taken before the schedule is looked at again: more of them would make the engine late."""


class OpenLoop:
    """The schedule of one slice, its free connections, and the line of requests that wait for one.

    Args:
        moments_ns: when to send, on the clock of `clock_ns`, in order.
        slots: the connections; one that can carry several requests at a time comes as many times.
        tally: gets the lag of each request that found a free connection.
        time_out_overdue: gives up on requests that are unanswered for too long; called every `check_ns`.
    """

    def __init__(
        self,
        moments_ns: Sequence[int],
        slots: Iterable[Slot],
        tally: Tally,
        *,
        time_out_overdue: Callable[[], None],
        check_ns: int,
    ) -> None:
        self._moments_ns = moments_ns
        self._sent = 0
        self._free = deque(slots)
        self._line: deque[int] = deque()
        self._tally = tally
        self._time_out_overdue = time_out_overdue
        self._check_ns = check_ns
        self._next_check_ns = clock_ns() + check_ns
        tally.offered = len(moments_ns)

    def release(self, slot: Slot) -> None:
        """Takes back a connection that can send again: the first in line gets it."""
        if self._line:
            slot.start(self._line.popleft())
        else:
            self._free.append(slot)

    def run(self, loop: Loop, deadline_ns: int) -> None:
        """Sends everything at its moment, then lets the line leave, for `LINE_PATIENCE_NS` at most."""
        moments_ns, last = self._moments_ns, len(self._moments_ns)
        loop.most_events = MOST_EVENTS
        try:
            while self._sent < last:
                self._send_due(loop)
                if self._sent < last:
                    self._serve(loop, moments_ns[self._sent])
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
            loop.run(min(until_ns, self._next_check_ns), done)

    def _send_due(self, loop: Loop) -> None:
        """Sends every request whose moment has come, or puts it in line."""
        moments_ns, free, line = self._moments_ns, self._free, self._line
        began_ns = now = clock_ns()
        while self._sent < len(moments_ns) and (moment_ns := moments_ns[self._sent]) <= now:
            self._sent += 1
            if free:
                slot = free.popleft()
                slot.start(moment_ns)
                now = clock_ns()
                self._tally.lag_ns.append(slot.sent_ns - moment_ns)
            else:
                line.append(moment_ns)
        loop.busy_ns += now - began_ns

    def _give_up(self) -> None:
        now = clock_ns()
        self._tally.unsent = len(self._line)
        self._tally.response_ns.extend(now - moment_ns for moment_ns in self._line)
        self._line.clear()
