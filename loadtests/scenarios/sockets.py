"""Counts the connections and bytes of Locust's own HTTP clients, which do not tell of them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import gevent.socket

from loadtests.engine.tally import Tally


@contextlib.contextmanager
def counting(tally: Tally) -> Iterator[None]:
    """Counts into `tally` what the sockets do that are made meanwhile.

    Both clients, geventhttpclient and urllib3, look the class up in its module for each new socket, so a
    class that counts can stand in its place for a while. TLS would pass it by; the lab speaks plain HTTP.
    """

    class CountedSocket(gevent.socket.socket):  # type: ignore[misc] # gevent ships no types
        """A gevent socket that counts."""

        def connect(self, address: Any) -> None:
            super().connect(address)
            tally.opened += 1

        def send(self, *args: Any, **named: Any) -> int:  # `sendall` is made of it
            sent = int(super().send(*args, **named))
            tally.bytes_sent += sent
            return sent

        def recv(self, *args: Any) -> bytes:
            data = bytes(super().recv(*args))
            tally.bytes_received += len(data)
            return data

        def recv_into(self, *args: Any) -> int:
            received = int(super().recv_into(*args))
            tally.bytes_received += received
            return received

    plain = gevent.socket.socket
    gevent.socket.socket = CountedSocket
    socket.socket = CountedSocket  # type: ignore[misc] # as gevent's own patch of the standard library does
    try:
        yield
    finally:
        gevent.socket.socket = plain
        socket.socket = plain  # type: ignore[misc] # back to what gevent's patch put there
