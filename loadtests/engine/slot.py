"""What one connection slot does whatever it speaks: send, wait, count, time, fail, rest."""

from __future__ import annotations

import select
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from loadtests.engine.loop import clock_ns

if TYPE_CHECKING:
    from loadtests.engine.group import Group

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
            tally.response_ns.append(now - self._intended_ns)
            tally.service_ns.append(now - self._sent_ns)
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
