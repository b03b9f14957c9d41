"""Asks the kernel for the TCP connections towards one port (sock_diag(7)).

/proc/net/tcp has the same facts of every connection of the machine, as text: after a load that opens a new
connection for each request, tens of thousands of lines, which take a tenth of a second and more. Here the
kernel leaves out what was not asked for.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NETLINK_SOCK_DIAG = 4
EVERY_STATE = 0xFFF
BUFFER = 1 << 20

_HEADER = struct.Struct("=IHHII")
"""`nlmsghdr`: length, type, flags, sequence number, port ID."""
_REQUEST = struct.Struct("=BBBxI")
"""The head of `inet_diag_req_v2`: family, protocol, extensions, states."""
_SOCKET = struct.Struct("!HH16s16s")
"""`inet_diag_sockid` but for its end: source and destination port, both addresses; network byte order."""
_INTERFACE_AND_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_SOCKET_AT = 4
"""Where `inet_diag_sockid` begins in `inet_diag_msg`, after family, state, timer and retransmissions."""


def local_ports_towards(host: str, port: int) -> set[int]:
    """The local ports of IPv4 TCP connections to `host`:`port`, those in TIME_WAIT included.

    Raises:
        OSError: the kernel or its guard does not answer such questions.
    """
    address = socket.inet_aton(host)
    family = socket.AF_NETLINK
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as asked:
        asked.sendall(_question(port))
        return {source for source, destination in _answers(asked) if destination == address}


def _question(port: int) -> bytes:
    body = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, EVERY_STATE)
    body += _SOCKET.pack(0, port, b"", b"") + _INTERFACE_AND_COOKIE
    flags = NLM_F_REQUEST | NLM_F_DUMP
    return _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body


def _answers(asked: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Local port and remote address of each connection."""
    while True:
        data = asked.recv(BUFFER)
        at = 0
        while at < len(data):
            length, kind, *_ = _HEADER.unpack_from(data, at)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                (code,) = struct.unpack_from("=i", data, at + _HEADER.size)
                raise OSError(-code, "the kernel refused to list connections")
            source, _, _, destination = _SOCKET.unpack_from(data, at + _HEADER.size + _SOCKET_AT)
            yield source, destination[:4]
            at += (length + 3) & ~3
