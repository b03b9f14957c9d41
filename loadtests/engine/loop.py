"""The epoll loop that drives groups of connections and measures how busy it is itself."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable

clock_ns = time.perf_counter_ns

ERROR_PAUSE_NS = 10_000_000
"""A connection rests this long after a failure, so that a dead server is not hammered in a tight loop."""

AWAKE_S = 0.002
"""So long before a moment the loop asks without waiting: epoll counts whole milliseconds and rounds up, and a
core that sleeps may take some tenths of one to wake."""

Handler = Callable[[int], None]


class Loop:
    """One epoll set with its handlers.

    Attributes:
        busy_ns: time spent on events since `reset`. Asking for events again and again, which is how the last
            millisecond before a moment is waited for, is not work.
        served: events since `reset`.
        held_ns: how long they waited for their turn in the engine and were served, added up: what the engine
            spends on one of a batch delays the others. Each is taken to cost as much as the next.
        polled_ns: when the events that are being served were asked for: what is read now had come by then.
        most_events: how many events are served before the clock is read again; -1 for all that are ready.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._resting: deque[tuple[int, Callable[[], None]]] = deque()
        self.busy_ns = 0
        self.held_ns = 0
        self.served = 0
        self.polled_ns = 0
        self.most_events = -1

    def watch(self, fd: int, mask: int, handler: Handler) -> None:
        """Calls `handler(mask)` whenever `fd` is ready (level-triggered)."""
        self._epoll.register(fd, mask)
        self._handlers[fd] = handler

    def rewatch(self, fd: int, mask: int) -> None:
        """Changes what `fd` is watched for."""
        self._epoll.modify(fd, mask)

    def forget(self, fd: int) -> None:
        """Forgets the handler of `fd`, which is then closed: the kernel takes a closed one out of the set."""
        self._handlers.pop(fd, None)

    def rest(self, then: Callable[[], None]) -> None:
        """Calls `then` after `ERROR_PAUSE_NS`, from within `run`."""
        self._resting.append((clock_ns() + ERROR_PAUSE_NS, then))

    def reset(self) -> None:
        """Forgets what was counted and every resting connection."""
        self.busy_ns = self.held_ns = self.served = 0
        self._resting.clear()

    def run(self, until_ns: int, done: Callable[[], bool] | None = None) -> None:
        """Serves events until the clock reaches `until_ns`, or until `done()` after a batch of events."""
        poll, handlers, resting = self._epoll.poll, self._handlers, self._resting
        now = clock_ns()
        while now < until_ns and not (done is not None and done()):
            wake_ns = min(until_ns, resting[0][0]) if resting else until_ns
            remaining_s = (wake_ns - now) / 1e9
            events = poll(remaining_s - AWAKE_S if remaining_s > AWAKE_S else 0, self.most_events)
            polled = self.polled_ns = clock_ns()
            for fd, mask in events:
                handler = handlers.get(fd)
                if handler is not None:
                    handler(mask)
            while resting and resting[0][0] <= polled:
                resting.popleft()[1]()
            now = clock_ns()
            if events:
                self.busy_ns += now - polled
                self.held_ns += (len(events) + 1) * (now - polled) // 2
                self.served += len(events)

    def poll_once(self) -> None:
        """Serves what is ready now, without waiting."""
        # Unless it is asked for more, epoll hands out 1,023 events at a time.
        events = self._epoll.poll(0, max(1, len(self._handlers)))
        self.polled_ns = clock_ns()
        for fd, mask in events:
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(mask)

    def close(self) -> None:
        """Closes the epoll set; its sockets belong to others."""
        self._epoll.close()
