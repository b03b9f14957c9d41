"""Watches the sockets of a Locust file's users: where their bytes go, who closes, what a connection carries.

Clients look the socket class up in its module for each new connection, so a class that watches stands in its
place as soon as this module's `install` has run. Sockets of greenlets that belong to no user pass unwatched,
and so does TLS once its connection is open; the lab speaks plain HTTP.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import gevent.socket

HEAD_BYTES = 16_384
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True)
class Contact:
    """What one piece of a user's work touched.

    Attributes:
        sockets: over which bytes went.
        tried: addresses that a connection was asked for.
        fresh: connections that it opened.
        sent: sockets over which it sent.
        began_ns: when it first asked for a connection, or sent.
    """

    sockets: dict[Any, None] = field(default_factory=dict)
    tried: list[Any] = field(default_factory=list)
    fresh: int = 0
    sent: set[Any] = field(default_factory=set)
    began_ns: int = 0

    def exchange_ns(self) -> tuple[int, int] | None:
        """The least and the most that one exchange took; None where more, or less, than one was going on.

        Who clocks it begins before the call that sends, and ends after the one that receives.
        """
        if len(self.sockets) != 1 or not self.began_ns:
            return None
        (own,) = self.sockets
        if own not in self.sent or own.unanswered != 1 or own.received_ns < own.sent_ns:
            return None
        return own.received_ns - own.sent_ns, time.perf_counter_ns() - self.began_ns

    def settle(self) -> None:
        """What was sent here is answered."""
        for each in self.sent:
            each.unanswered = max(0, each.unanswered - 1)

    @property
    def to_subject(self) -> list[Any]:
        """The sockets to the subject."""
        return [each for each in self.sockets if each.to_subject]

    @property
    def elsewhere(self) -> str:
        """The first other address, `127.0.0.1:8000`; empty without one."""
        return next((each.peer for each in self.sockets if not each.to_subject), "")

    @property
    def upgraded(self) -> bool:
        """Whether bytes went over a WebSocket of the subject."""
        return any(each.upgraded for each in self.to_subject)


class Watch(Protocol):
    """Hears of the sockets of one scenario."""

    def contact(self) -> Contact:
        """What the running greenlet's present work has touched."""

    def is_subject(self, address: Any) -> bool:
        """Whether a connection to that address is one to the subject."""

    def opened(self, watched: Any) -> None:
        """A connection was opened."""

    def moved(self, *, sent: int = 0, received: int = 0) -> None:
        """Bytes went to or from the subject."""

    def ended_by_server(self) -> None:
        """The subject ended a connection, or said that it would."""

    def asked_to_end(self) -> None:
        """A request asked the subject to end its connection."""


def address_text(address: Any) -> str:
    """`127.0.0.1:8000`, `[::1]:8000`, or the path of a Unix socket."""
    if not isinstance(address, tuple):
        return f"the Unix socket {address!r}"
    host, port = str(address[0]).removeprefix("::ffff:"), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_plain = gevent.socket.socket


class WatchedSocket(_plain):  # type: ignore[misc, valid-type] # gevent ships no types
    """A gevent socket that tells its watch what it does.

    Attributes:
        peer: the address that it is connected to, as text.
        to_subject: whether that is the subject's.
        upgraded: the server has answered 101 on it.
        carried: requests that it has carried.
        unanswered: what was sent over it and no event has told of.
        sent_ns, received_ns: when it was last told to send, and when bytes last came.
    """

    watch: Watch | None = None
    watch_of: Callable[[], Watch | None] = staticmethod(lambda: None)
    peer = ""
    to_subject = False
    upgraded = False
    carried = 0
    unanswered = 0
    sent_ns = received_ns = 0
    _head = b""
    _head_over = False
    _server_ended = False
    _ours_ended = False
    _asked_to_end = False

    def connect(self, address: Any) -> None:
        """Opens the connection, and notes whose address it is."""
        watch = type(self).watch_of()
        if watch is None or self.type != socket.SOCK_STREAM:
            super().connect(address)
            return
        contact = watch.contact()
        contact.tried.append(address)
        contact.began_ns = contact.began_ns or time.perf_counter_ns()
        super().connect(address)
        self.watch = watch
        actual = address
        if isinstance(address, tuple):
            with contextlib.suppress(OSError):
                actual = self.getpeername()
        self.peer = address_text(actual)
        self.to_subject = watch.is_subject(actual)
        watch.contact().fresh += self.to_subject
        watch.opened(self)

    def send(self, data: Any, *args: Any, **named: Any) -> int:  # `sendall` is made of it
        """Sends, and starts to look for the head of an answer."""
        began_ns = time.perf_counter_ns()
        try:
            sent = int(super().send(data, *args, **named))
        except OSError as error:
            self._broke(error)
            raise
        self._touch()
        if self.watch is not None:
            self._sent(data, sent, began_ns)
        return sent

    def sendmsg(self, buffers: Any, *args: Any) -> int:
        """As `send`."""
        began_ns = time.perf_counter_ns()
        sent = int(super().sendmsg(buffers, *args))
        self._touch()
        if self.watch is not None:
            self._sent(next(iter(buffers), b""), sent, began_ns)
        return sent

    def recv(self, size: int, *args: Any) -> bytes:
        """Receives, and looks into the head of an answer."""
        try:
            data = bytes(super().recv(size, *args))
        except OSError as error:
            self._broke(error)
            raise
        if self.watch is not None:
            self._received(data, asked=size)
        return data

    def recv_into(self, buffer: Any, *args: Any) -> int:
        """As `recv`."""
        try:
            received = int(super().recv_into(buffer, *args))
        except OSError as error:
            self._broke(error)
            raise
        if self.watch is not None:
            needs_head = not self._head_over and not self.upgraded
            data = bytes(memoryview(buffer)[:received]) if needs_head else b""
            self._received(data, asked=len(memoryview(buffer)), received=received)
        return received

    def shutdown(self, how: Any) -> None:
        """Ends the connection from here."""
        self._ours_ended = True
        super().shutdown(how)

    def close(self, *args: Any, **named: Any) -> None:
        """Closes it; by the server's doing where its end has come already."""
        if self.watch is not None and not self._server_ended and not self._ours_ended:
            self._look_for_end()
        self._ours_ended = True
        super().close(*args, **named)

    def _touch(self) -> None:
        if self.watch is not None:
            self.watch.contact().sockets.setdefault(self)

    def _sent(self, data: Any, count: int, began_ns: int) -> None:
        """Starts to look for the head of an answer, and reads that of a request.

        Args:
            data: what was to be sent.
            count: how many bytes of it were.
            began_ns: when.
        """
        self._head, self._head_over = b"", False
        if not self.to_subject or self.watch is None:
            return
        self.watch.moved(sent=count)
        self.sent_ns = began_ns
        contact = self.watch.contact()
        contact.sent.add(self)
        contact.began_ns = contact.began_ns or began_ns
        if self.upgraded:
            self.unanswered += 1
            return
        line, found, rest = bytes(memoryview(data)[:HEAD_BYTES]).partition(b"\r\n")
        if not found or not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
            return  # a body
        self.unanswered += 1
        head = rest.partition(_END_OF_HEAD)[0]
        if not self._asked_to_end and _closes(head, by_default=line.endswith(b"0")):
            self._asked_to_end = True
            self.watch.asked_to_end()

    def _received(self, data: bytes, *, asked: int, received: int | None = None) -> None:
        count = len(data) if received is None else received
        if not count:
            if asked and not self._ours_ended:
                self._ended()
            return
        self._touch()
        self.received_ns = time.perf_counter_ns()
        if self.to_subject and self.watch is not None:
            self.watch.moved(received=count)
        if data and not self._head_over and not self.upgraded:
            self._read_head(data)

    def _read_head(self, data: bytes) -> None:
        """Looks for an upgrade, and for the server's word that it will close."""
        self._head += data
        head, found, rest = self._head.partition(_END_OF_HEAD)
        if not found:
            self._head_over = len(self._head) > HEAD_BYTES or not b"HTTP/1.".startswith(self._head[:7])
            return
        status = head[9:12]
        if status.startswith(b"1") and status != b"101":
            self._head = b""
            self._read_head(rest)
            return
        self._head_over = True
        if not head.startswith(b"HTTP/1."):
            return
        if status == b"101":
            self.upgraded, self.unanswered = True, 0
            return
        if _closes(head.partition(b"\r\n")[2], by_default=head.startswith(b"HTTP/1.0")):
            self._ended()

    def _look_for_end(self) -> None:
        """Before our own close: whether the server's is there already, unread."""
        try:
            # gevent's own socket below it never waits; what there is stays for whoever reads it.
            if self._sock.recv(1, socket.MSG_PEEK) == b"":
                self._ended()
        except BlockingIOError:
            pass
        except (ConnectionError, OSError) as error:
            self._broke(error)

    def _broke(self, error: OSError) -> None:
        if isinstance(error, ConnectionError) and not self._ours_ended:
            self._ended()

    def _ended(self) -> None:
        if self._server_ended or self.watch is None:
            return
        self._server_ended = True
        if self.to_subject and not self._asked_to_end:
            self.watch.ended_by_server()


def _closes(headers: bytes, *, by_default: bool) -> bool:
    """Whether the headers of a message say that its connection ends with it.

    Args:
        headers: without the first line.
        by_default: whether it ends where nothing is said, as in HTTP/1.0.
    """
    said = [
        value.strip().lower()
        for key, _, value in (line.partition(b":") for line in headers.split(b"\r\n"))
        if key.strip().lower() == b"connection"
    ]
    if any(b"close" in value for value in said):
        return True
    return by_default and not any(b"keep-alive" in value for value in said)


def install(watch_of: Callable[[], Watch | None]) -> None:
    """Has every socket that is made from now on ask `watch_of` who watches it."""
    WatchedSocket.watch_of = staticmethod(watch_of)
    gevent.socket.socket = WatchedSocket
    socket.socket = WatchedSocket  # type: ignore[misc] # as gevent's own patch of the standard library does
