"""What one connection slot does whatever it speaks: send, wait, count, time, fail, rest."""

from __future__ import annotations

import errno
import select
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtests.engine.group import Group
    from loadtests.engine.pauses import Pauses


clock_ns = time.perf_counter_ns

ERROR_PAUSE_NS = 10_000_000
"""A connection rests this long after a failure, so that a dead server is not hammered in a tight loop."""

AWAKE_S = 0.002
"""So long before a moment a loop asks without waiting: epoll counts whole milliseconds and rounds up, and a
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
        awake_s: so long before a moment the loop asks for events without waiting.
        pauses: notes when the loop is held up, which then must not sleep; None where nobody asks.
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
        self.awake_s = AWAKE_S
        self.pauses: Pauses | None = None

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
            sleep_s = max(0.0, (wake_ns - now) / 1e9 - self.awake_s)
            events = poll(sleep_s, self.most_events)
            polled = self.polled_ns = clock_ns()
            for fd, mask in events:
                handler = handlers.get(fd)
                if handler is not None:
                    handler(mask)
            worked = bool(events)
            while resting and resting[0][0] <= polled:
                resting.popleft()[1]()
                worked = True
            now = clock_ns()
            if self.pauses is not None:
                self.pauses.look(now, worked=worked)
            if events:
                self.busy_ns += now - polled
                self.held_ns += (len(events) + 1) * (now - polled) // 2
                self.served += len(events)

    def has_worked(self, now: int) -> None:
        """Says that what was done between two times of `run` was work."""
        if self.pauses is not None:
            self.pauses.look(now, worked=True)

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


def open_connection(group: Group, fail: Callable[[str, str], None]) -> socket.SocketType | None:
    """A connection to the group's server that is open or being opened; None after calling `fail`."""
    try:
        # The C type: what `socket.socket` adds to it costs a fifth of a connection's time.
        connection = socket.SocketType(group.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:  # no file descriptor is left
        fail("refused", f"socket: {error}")
        return None
    if group.keeps_alive:  # a connection's only request is never held back
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    status = connection.connect_ex(group.address)
    if status in (0, errno.EINPROGRESS):
        return connection
    connection.close()
    group.tally.no_port += status == errno.EADDRNOTAVAIL
    fail("refused", f"connect: {errno.errorcode.get(status, status)}")
    return None


READ, WRITE = select.EPOLLIN | select.EPOLLRDHUP, select.EPOLLOUT


class Slot(ABC):
    """One connection at a time, with one request in flight at the most.

    A subclass opens it (`prepare`), sends (`start`, with `_send`), takes what came (`_take`) and calls
    `_finish` or `_fail` once for each request, and `_next` when it could send again.

    In a closed loop over an open connection most of this is the same again and again. While `_repeats`,
    nothing but `_expected` is due, byte for byte, for a timed request that was sent whole; `_on_event` then
    counts it and sends what `_another` gives, in one go.
    """

    __slots__ = (
        "_expected",
        "_group",
        "_intended_ns",
        "_opening",
        "_repeats",
        "_sent_ns",
        "_socket",
        "_unsent",
        "in_flight",
    )

    def __init__(self, group: Group) -> None:
        self._group = group
        self._socket: socket.SocketType | None = None
        self._unsent: bytes | memoryview = b""
        self._sent_ns = 0
        self._intended_ns = 0
        self._opening = True
        self._repeats = False
        self._expected = b""
        self.in_flight = False

    @property
    def sent_ns(self) -> int:
        """When the request in flight was sent (for `close`: when its connection was begun)."""
        return self._sent_ns

    @abstractmethod
    def prepare(self) -> None:
        """Gets ready for a slice, untimed: opens the connection where it stays open between requests.

        Raises:
            OSError: the server did not accept it; the next `start` counts that.
        """

    @abstractmethod
    def start(self, intended_ns: int = 0) -> None:
        """Sends the next request, which in an open loop was to be sent at `intended_ns`."""

    def time_out(self) -> None:
        """Gives up on the request in flight."""
        self._fail("timeout", f"no whole answer in {self._group.target.timeout_s:g} s")

    def close(self) -> None:
        """Closes the connection, whatever state it is in."""
        if self._socket is not None:
            self._group.loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._unsent = b""
        self._repeats = False

    @abstractmethod
    def _take(self, piece: bytes, now: int) -> None:
        """Takes what has arrived; `b""` is the end of the connection."""

    def _another(self) -> bytes:
        """The next request, where the slot repeats itself; sets `_expected`."""
        raise AssertionError("only a slot that repeats itself is asked")

    @abstractmethod
    def _after_failure(self) -> None:
        """What follows a failed request."""

    def _begin(self, intended_ns: int) -> None:
        """A request is on its way from now on."""
        self._sent_ns = clock_ns()
        self._intended_ns = intended_ns
        self.in_flight = True
        self._group.in_flight += 1

    def _watch(self, connection: socket.SocketType) -> None:
        """Takes an open connection, or one that is being opened."""
        self._socket = connection
        self._group.tally.opened += 1
        self._group.loop.watch(connection.fileno(), READ, self._on_event)

    def _send(self, connection: socket.SocketType, data: bytes | memoryview) -> None:
        """Sends, now as far as the kernel takes it, and the rest when it takes more."""
        try:
            sent = connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            self._fail("refused" if refused else "reset", f"send: {error}")
            return
        self._group.tally.bytes_sent += sent
        if sent < len(data):
            self._repeats = False
            self._unsent = memoryview(data)[sent:]
            self._group.loop.rewatch(connection.fileno(), READ | WRITE)
        elif self._unsent:
            self._unsent = b""
            self._group.loop.rewatch(connection.fileno(), READ)

    def _send_after(self, connection: socket.SocketType, data: bytes) -> None:
        """Sends behind what is still unsent: nothing may stand in the middle of a frame."""
        if self._unsent:
            self._unsent = bytes(self._unsent) + data
        else:
            self._send(connection, data)

    def _on_event(self, mask: int) -> None:
        if self._repeats and mask == select.EPOLLIN:
            self._repeat()
            return
        if mask & WRITE and self._unsent and self._socket is not None:
            self._send(self._socket, self._unsent)
        if mask & ~WRITE and self._socket is not None:
            self._read(self._socket)

    def _read(self, connection: socket.SocketType) -> None:
        group = self._group
        try:
            piece = connection.recv(group.receive_bytes)
        except OSError as error:
            self._receive_failed(error)
            return
        # What comes in one piece was there when it was asked for, and did not take the time that the engine
        # spent on others since. Of a large answer more may have come meanwhile.
        now = group.loop.polled_ns if group.comes_whole else clock_ns()
        group.tally.bytes_received += len(piece)
        self._take(piece, now)

    def _repeat(self) -> None:
        """The engine's inner loop, written out: every call that is left out is a percent of a request."""
        group, connection = self._group, self._socket
        try:
            piece = connection.recv(group.receive_bytes)  # type: ignore[union-attr]  # open while it repeats
        except OSError as error:
            self._repeats = False
            self._receive_failed(error)
            return
        tally, now = group.tally, group.loop.polled_ns
        tally.bytes_received += len(piece)
        if piece != self._expected:
            if not group.heads.again(piece):
                self._repeats = False
                self._take(piece, now)
                return
            group.latest = piece
        if now >= group.deadline_ns:
            self._repeats = False
            self._take(piece, now)
            return
        tally.completed += 1
        tally.completed_ns.append(now)
        tally.response_ns.append(now - self._sent_ns)
        data = self._another()
        self._sent_ns = clock_ns()
        try:
            sent = connection.send(data)  # type: ignore[union-attr]
        except OSError:
            sent = 0
        tally.bytes_sent += sent
        if sent < len(data):
            self._repeats = False
            self._send(connection, data[sent:])  # type: ignore[arg-type]  # says what is wrong, or waits

    def _receive_failed(self, error: OSError) -> None:
        if isinstance(error, BlockingIOError):
            return
        if not self.in_flight:
            self._take(b"", clock_ns())
        elif isinstance(error, ConnectionRefusedError):
            self._fail("refused", f"connect: {error}")
        else:
            self._fail("reset", f"receive: {error}")

    def _finish(self, now: int) -> None:
        """Counts a correct answer.

        In a closed loop a slice's first on a connection is not timed: queues still fill.
        """
        group, tally = self._group, self._group.tally
        self.in_flight = False
        group.in_flight -= 1
        tally.completed_ns.append(now)
        if now <= group.deadline_ns:
            tally.completed += 1
        else:
            tally.drain()
        if self._intended_ns:
            tally.answered_ns.append((self._intended_ns, self._sent_ns, now))
        elif self._opening:
            self._opening = False
        else:
            tally.response_ns.append(now - self._sent_ns)

    def _next(self, now: int) -> None:
        """Sends the next request, if this is its time."""
        if self._group.open_loop is not None:
            self._group.open_loop.release(self)
        elif now < self._group.deadline_ns:
            self.start()

    def _fail(self, kind: str, example: str) -> None:
        """Counts a failure and closes the connection."""
        group = self._group
        group.tally.fail(kind, example)
        self.close()
        if self.in_flight:
            self.in_flight = False
            group.in_flight -= 1
            self._after_failure()
