"""Watches the sockets of a Locust file's users: where their bytes go, who closes, what a connection carries.

Clients look the socket class up in its module for each new connection, so a class that watches stands in its
place as soon as this module's `install` has run. Sockets of greenlets that belong to no user pass unwatched,
and so does TLS once its connection is open; the lab speaks plain HTTP.
"""

from __future__ import annotations

import contextlib
import socket
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
    """

    sockets: dict[Any, None] = field(default_factory=dict)
    tried: list[Any] = field(default_factory=list)
    fresh: int = 0

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
    """

    watch: Watch | None = None
    watch_of: Callable[[], Watch | None] = staticmethod(lambda: None)
    peer = ""
    to_subject = False
    upgraded = False
    carried = 0
    _head = b""
    _head_over = False
    _server_ended = False
    _ours_ended = False

    def connect(self, address: Any) -> None:
        """Opens the connection, and notes whose address it is."""
        watch = type(self).watch_of()
        if watch is None or self.type != socket.SOCK_STREAM:
            super().connect(address)
            return
        watch.contact().tried.append(address)
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
        try:
            sent = int(super().send(data, *args, **named))
        except OSError as error:
            self._broke(error)
            raise
        self._touch()
        if self.watch is not None:
            self._head, self._head_over = b"", False
            if self.to_subject:
                self.watch.moved(sent=sent)
        return sent

    def sendmsg(self, buffers: Any, *args: Any) -> int:
        """As `send`."""
        sent = int(super().sendmsg(buffers, *args))
        self._touch()
        if self.watch is not None and self.to_subject:
            self._head, self._head_over = b"", False
            self.watch.moved(sent=sent)
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

    def _received(self, data: bytes, *, asked: int, received: int | None = None) -> None:
        count = len(data) if received is None else received
        if not count:
            if asked and not self._ours_ended:
                self._ended()
            return
        self._touch()
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
            self.upgraded = True
            return
        said = [
            value.strip().lower()
            for key, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
            if key.strip().lower() == b"connection"
        ]
        closes = any(b"close" in value for value in said)
        if closes or (head.startswith(b"HTTP/1.0") and not any(b"keep-alive" in value for value in said)):
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
        if self.to_subject:
            self.watch.ended_by_server()


def install(watch_of: Callable[[], Watch | None]) -> None:
    """Has every socket that is made from now on ask `watch_of` who watches it."""
    WatchedSocket.watch_of = staticmethod(watch_of)
    gevent.socket.socket = WatchedSocket
    socket.socket = WatchedSocket  # type: ignore[misc] # as gevent's own patch of the standard library does
