"""One HTTP connection slot in a closed loop: send, await the whole answer, check every byte, again."""

from __future__ import annotations

import errno
import select
import socket
from typing import TYPE_CHECKING

from loadtests.engine.http1 import AnswerReader, Verdict
from loadtests.engine.loop import clock_ns

if TYPE_CHECKING:
    from loadtests.engine.group import Group

READ, WRITE = select.EPOLLIN | select.EPOLLRDHUP, select.EPOLLOUT

REMEMBERED_BYTES = 64 * 1024
"""Answers up to this size are recognised whole; larger ones always go through the full parser."""


class HttpConnection:
    """A slot that holds one connection at a time, reopened after each answer where the transport says so.

    An answer that equals, byte for byte and head included, one that the full parser accepted before is
    accepted; everything else goes through the full parser.
    """

    __slots__ = (
        "_got",
        "_group",
        "_opening",
        "_reader",
        "_reused",
        "_sent_ns",
        "_socket",
        "_unsent",
        "in_flight",
    )

    def __init__(self, group: Group) -> None:
        self._group = group
        self._socket: socket.SocketType | None = None
        self._reader: AnswerReader | None = None
        self._got = b""
        self._unsent = b""
        self._sent_ns = 0
        self._opening = True
        self._reused = False
        self.in_flight = False

    @property
    def sent_ns(self) -> int:
        """When the request in flight was sent (for `close`: when its connection was begun)."""
        return self._sent_ns

    def prepare(self) -> None:
        """Gets ready for a slice: the next request is this slice's first on the connection."""
        self._opening = True
        if self._group.keeps_alive and self._socket is None:
            self._connect()

    @property
    def connected(self) -> bool:
        """Whether there is an open connection."""
        return self._socket is not None

    def start(self) -> None:
        """Sends the next request."""
        group = self._group
        self._sent_ns = clock_ns()
        self.in_flight = True
        group.in_flight += 1
        connection = self._socket
        if connection is None:
            self._connect()
            connection = self._socket
            if connection is None:
                return
        try:
            sent = connection.send(group.request)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._send_failed(error)
            return
        group.tally.bytes_sent += sent
        if sent < len(group.request):
            self._unsent = group.request[sent:]
            group.loop.rewatch(connection.fileno(), READ | WRITE)

    def close(self) -> None:
        """Closes the connection, whatever state it is in."""
        if self._socket is not None:
            self._group.loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._reader = None
        self._got = self._unsent = b""
        self._reused = False

    def time_out(self) -> None:
        """Gives up on the request in flight."""
        self._fail("timeout", f"no whole answer in {self._group.target.timeout_s:g} s")

    def _connect(self) -> None:
        group = self._group
        # The C type: what `socket.socket` adds to it costs a fifth of a connection's time.
        connection = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if group.keeps_alive:  # a connection's only request is never held back
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        status = connection.connect_ex(group.address)
        if status not in (0, errno.EINPROGRESS):
            connection.close()
            self._fail("refused", f"connect: {errno.errorcode.get(status, status)}")
            return
        self._socket = connection
        group.tally.opened += 1
        group.loop.watch(connection.fileno(), READ, self._on_event)

    def _send_failed(self, error: OSError) -> None:
        refused = isinstance(error, ConnectionRefusedError)
        self._fail("refused" if refused else "reset", f"send: {error}")

    def _on_event(self, mask: int) -> None:
        if mask & WRITE and self._unsent:
            self._send_rest()
            if self._socket is None:
                return
        if mask & ~WRITE:
            self._read()

    def _send_rest(self) -> None:
        connection, group = self._socket, self._group
        if connection is None:
            return
        try:
            sent = connection.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._send_failed(error)
            return
        group.tally.bytes_sent += sent
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            group.loop.rewatch(connection.fileno(), READ)

    def _read(self) -> None:
        connection, group = self._socket, self._group
        if connection is None:
            return
        try:
            piece = connection.recv(group.receive_bytes)
        except BlockingIOError:
            return
        except OSError as error:
            self._receive_failed(error)
            return
        now = clock_ns()
        group.tally.bytes_received += len(piece)
        if not self.in_flight:
            self._on_idle_data(piece)
            return
        if self._reader is None and piece:
            whole = self._got + piece if self._got else piece
            reusable = group.accepted.get(whole)
            if reusable is not None:
                self._got = b""
                self._complete(now, reusable=reusable)
                return
            if group.latest.startswith(whole):
                self._got = whole
                return
        self._read_in_full(piece, now)

    def _read_in_full(self, piece: bytes, now: int) -> None:
        """Feeds the full parser with what came so far and this piece; `b""` is the end of the connection."""
        verdict: Verdict | None = None
        if self._reader is None:
            if not piece and not self._got:
                self._closed_without_an_answer()
                return
            self._reader = AnswerReader(self._group.target)
            if self._got:
                verdict = self._reader.feed(self._got)
        if verdict is None:
            verdict = self._reader.feed(piece)
        if len(self._got) <= REMEMBERED_BYTES:
            self._got += piece
        if verdict is None:
            return
        if verdict.failure is not None:
            self._fail(verdict.failure, verdict.detail)
            return
        if not verdict.until_eof and len(self._got) <= REMEMBERED_BYTES:
            self._group.accept(self._got, reusable=verdict.reusable)
        self._reader = None
        self._got = b""
        self._complete(now, reusable=verdict.reusable and not verdict.until_eof)

    def _receive_failed(self, error: OSError) -> None:
        if not self.in_flight:
            self.close()
        elif isinstance(error, ConnectionRefusedError):
            self._fail("refused", f"connect: {error}")
        else:
            self._fail("reset", f"receive: {error}")

    def _closed_without_an_answer(self) -> None:
        if self._group.keeps_alive and self._reused:
            self._group.tally.closed_by_server += 1
        self._fail("reset", "the server closed the connection without an answer")

    def _complete(self, now: int, *, reusable: bool) -> None:
        group, tally = self._group, self._group.tally
        tally.completed_ns.append(now)
        self.in_flight = False
        group.in_flight -= 1
        if now <= group.deadline_ns:
            tally.completed += 1
        else:
            tally.drained += 1
        if self._opening:
            self._opening = False
        else:
            tally.latencies_ns.append(now - self._sent_ns)
        if group.keeps_alive and reusable:
            self._reused = True
        else:
            if group.keeps_alive:
                tally.closed_by_server += 1
            self.close()
        if now < group.deadline_ns:
            self.start()

    def _on_idle_data(self, data: bytes) -> None:
        if data:
            self._group.tally.fail("body", f"bytes that nobody asked for: {data[:120]!r}")
        self.close()

    def _fail(self, kind: str, example: str) -> None:
        group = self._group
        group.tally.fail(kind, example)
        self.close()
        if not self.in_flight:
            return
        self.in_flight = False
        group.in_flight -= 1
        group.loop.rest(self._resume)

    def _resume(self) -> None:
        if not self.in_flight and clock_ns() < self._group.deadline_ns:
            self.start()
