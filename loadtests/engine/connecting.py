"""Opens one TCP connection without waiting for it, and says what became of that."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtests.engine.group import Group


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
