"""One accepted connection: what HTTP and WebSocket have in common, and the loop that serves all of them."""

from __future__ import annotations

import select
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
ENDED = select.EPOLLHUP | select.EPOLLERR
BACKLOG = 4096
ACCEPTED_AT_ONCE = 64
"""Connections accepted before those that are open get their turn again."""

Buffer = bytes | bytearray | memoryview


class Loop:
    """One epoll set with a handler for each connection."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.register = self._epoll.register
        self.modify = self._epoll.modify

    def serve(self, host: str, port: int, begin: Callable[[socket.SocketType], None]) -> None:
        """Listens there and serves without an end; `begin` gets each new connection."""
        with socket.create_server((host, port), backlog=BACKLOG) as listener:
            listener.setblocking(False)
            # Accepted connections inherit this one, which saves a system call for each.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.handlers[listener.fileno()] = lambda _mask: _accept(listener, begin)
            self.register(listener.fileno(), READ)
            poll, handlers = self._epoll.poll, self.handlers
            while True:
                for fd, mask in poll():
                    handler = handlers.get(fd)
                    if handler is not None:  # it may have been closed by an event before this one
                        handler(mask)


def _accept(listener: socket.socket, begin: Callable[[socket.SocketType], None]) -> None:
    """Takes what waits in the backlog, without what `socket.accept` adds to each connection in Python."""
    for _ in range(ACCEPTED_AT_ONCE):
        try:
            fd, _address = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        except BlockingIOError:
            return
        except ConnectionAbortedError:
            continue
        connection = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        connection.setblocking(False)
        begin(connection)


class Peer(ABC):
    """One connection. What the kernel does not take at once is sent when it does."""

    __slots__ = ("_closing", "_fd", "_loop", "_socket", "_unsent", "_watched")

    def __init__(self, loop: Loop, connection: socket.SocketType, *, watched: int = 0) -> None:
        self._loop = loop
        self._socket = connection
        self._fd = connection.fileno()
        self._watched = watched
        self._unsent: deque[Buffer] = deque()
        self._closing = False
        loop.handlers[self._fd] = self.on_event

    @abstractmethod
    def _read(self) -> None:
        """Takes what has arrived."""

    def begin(self) -> None:
        """Takes what a new connection has brought along; only one that lasts is watched."""
        if not self._closing:
            self._read()
        if not self._closing and not self._watched:
            self._watch(READ)

    def on_event(self, mask: int) -> None:
        """Sends and takes what is possible now."""
        if mask & WRITE:
            self._flush()
        if self._closing:
            if mask & ENDED:
                self.close()
        elif mask & ~WRITE:
            self._read()

    def send(self, data: Buffer, flags: int = 0) -> None:
        """Sends `data` after what is unsent; the end of the other side closes this one."""
        if not self._unsent:
            try:
                sent = self._socket.send(data, flags)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._watch(READ | WRITE)
        if not self._closing:
            self._unsent.append(data)

    def finish(self) -> None:
        """Closes as soon as everything is sent; what still arrives is not read."""
        if self._unsent:
            self._closing = True
            self._watch(WRITE)
        else:
            self.close()

    def close(self) -> None:
        """Closes at once."""
        self._closing = True
        self._unsent.clear()
        self._loop.handlers.pop(self._fd, None)
        self._socket.close()

    def _flush(self) -> None:
        unsent = self._unsent
        while unsent:
            try:
                sent = self._socket.send(unsent[0])
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            if sent < len(unsent[0]):
                unsent[0] = memoryview(unsent[0])[sent:]
                return
            unsent.popleft()
        if self._closing:
            self.close()
        else:
            self._watch(READ)

    def _watch(self, mask: int) -> None:
        if self._watched:
            self._loop.modify(self._fd, mask)
        else:
            self._loop.register(self._fd, mask)
        self._watched = mask
