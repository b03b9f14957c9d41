"""When an engine was held up in an open loop, and the moments whose requests say too little of the server."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable

PAUSE_NS = 250_000
"""An engine that did not run for longer was held up. It is half of what `send-lag` allows p99 of lateness."""

BEFORE_NS = 10_000_000
"""What was to be sent so shortly before a pause is left out too: its answer may have come in the pause, to be
read late. It is the same for every server, however long its answers take."""

Span = tuple[int, int]
"""The first and the last nanosecond, on the clock of the engine."""


class Pauses:
    """Notes when the loop did not get its core although it wanted to.

    Such a loop never sleeps, so that time which passes without its work is time in which it was held up: by
    another program, by the hypervisor, by a signal. Its own work is none, however long it is: answers make
    work, and a rule that takes it for a pause would leave out what follows a server's stall.

    Args:
        now_ns: when the loop begins.
        used_ns: CPU time that its thread has used by then; the thread that calls, where nothing is said.
    """

    def __init__(self, now_ns: int, used_ns: int | None = None) -> None:
        self._seen_ns = now_ns
        self._used_ns = time.thread_time_ns() if used_ns is None else used_ns
        self.found: list[Span] = []

    def look(self, now_ns: int, *, worked: bool, used_ns: int | None = None) -> None:
        """The loop is running.

        Args:
            now_ns: the moment.
            worked: whether it had anything to do since the last look. Where it had not, all of the time is
                its own fault or the machine's: some kernels count what a hypervisor took as CPU time.
            used_ns: CPU time of its thread.
        """
        used_ns = time.thread_time_ns() if used_ns is None else used_ns
        off_ns = now_ns - self._seen_ns - (used_ns - self._used_ns if worked else 0)
        if off_ns > PAUSE_NS:
            self.found.append((self._seen_ns, now_ns))
        self._seen_ns, self._used_ns = now_ns, used_ns


class LeftOut:
    """The moments whose requests are left out of the latencies, by a rule that knows pauses and nothing else.

    For each pause they reach from `BEFORE_NS` before it to as long after it as it lasted: what was to be sent
    in a pause leaves all at once at its end, and a server that has half of its time to spare has worked that
    off by then.

    Args:
        pauses: in order.
    """

    def __init__(self, pauses: Iterable[Span] = ()) -> None:
        self._spans: list[Span] = []
        for began_ns, ended_ns in pauses:
            first_ns, last_ns = began_ns - BEFORE_NS, ended_ns + (ended_ns - began_ns)
            if self._spans and first_ns <= self._spans[-1][1]:
                first_ns, before_ns = self._spans.pop()
                last_ns = max(last_ns, before_ns)
            self._spans.append((first_ns, last_ns))
        self._firsts_ns = [first_ns for first_ns, _ in self._spans]

    def covers(self, moment_ns: int) -> bool:
        """Whether a request that was to be sent at that moment is left out."""
        number = bisect_right(self._firsts_ns, moment_ns)
        return number > 0 and moment_ns <= self._spans[number - 1][1]
