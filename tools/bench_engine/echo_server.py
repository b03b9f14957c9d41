"""A WebSocket echo server for the benchmark: one raw epoll loop, quick rather than complete.

It knows what a load client sends: unfragmented messages of up to 125 bytes, and a close. At anything else it
hangs up, which the client sees as an error. Several can share a port (SO_REUSEPORT), one a core.
It prints `ready` when it listens and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import select
import socket
import sys

HOST = "127.0.0.1"
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""
HEAD_BYTES, KEY_BYTES = 2, 4
LONGEST = 125
FINAL_TEXT, FINAL_BINARY = 0x81, 0x82
REPEATED_BYTES = 128
REPEAT_KEY = int.from_bytes(b"\0\0\0\1" * (REPEATED_BYTES // KEY_BYTES), "big")


def upgrade(request: bytes) -> bytes:
    """The answer to a client's handshake (RFC 6455, section 4.2.2).

    Raises:
        ValueError: it is none.
    """
    match = re.search(rb"^sec-websocket-key: *(\S+)\r$", request, re.IGNORECASE | re.MULTILINE)
    if match is None:
        raise ValueError("no WebSocket handshake")
    accept = base64.b64encode(hashlib.sha1(match[1] + ACCEPT_GUID, usedforsecurity=False).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"


def echo(received: bytes) -> tuple[bytes, int]:
    """The unmasked echoes of all whole frames in `received`, and how many of its bytes they took.

    Raises:
        ValueError: a frame that this server does not know, a close among them.
    """
    echoes, position, end = b"", 0, len(received)
    while end - position >= HEAD_BYTES:
        kind, length = received[position], received[position + 1] & 0x7F
        if kind not in (FINAL_TEXT, FINAL_BINARY) or length > LONGEST or not received[position + 1] & 0x80:
            raise ValueError("not a short masked message")
        start = position + HEAD_BYTES + KEY_BYTES
        if end < start + length:
            break
        key = int.from_bytes(received[start - KEY_BYTES : start], "big")
        mask = key * REPEAT_KEY >> 8 * (REPEATED_BYTES - length)
        payload = int.from_bytes(received[start : start + length], "big") ^ mask
        echoes += bytes((kind, length)) + payload.to_bytes(length, "big")
        position = start + length
    return echoes, position


class EchoServer:
    """The listening socket and all that were accepted from it."""

    def __init__(self, port: int) -> None:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._listener.bind((HOST, port))
        self._listener.listen(1024)
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._received: dict[int, bytes] = {}
        self._upgraded: set[int] = set()

    def serve(self, control: int) -> None:
        """Serves until the file descriptor `control` is readable or at its end."""
        listening = self._listener.fileno()
        self._epoll.register(listening, select.EPOLLIN)
        self._epoll.register(control, select.EPOLLIN)
        while True:
            for fd, _ in self._epoll.poll():
                if fd in self._sockets:
                    self._on_data(fd)
                elif fd == listening:
                    self._accept()
                else:
                    return

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fd = connection.fileno()
        self._sockets[fd], self._received[fd] = connection, b""
        self._epoll.register(fd, select.EPOLLIN)

    def _on_data(self, fd: int) -> None:
        connection = self._sockets[fd]
        try:
            piece = connection.recv(4096)
            answer, self._received[fd] = self._answer(fd, self._received[fd] + piece)
            if answer:
                connection.sendall(answer)
        except (ValueError, OSError):
            piece = b""
        if not piece:
            del self._sockets[fd], self._received[fd]
            self._upgraded.discard(fd)
            connection.close()

    def _answer(self, fd: int, received: bytes) -> tuple[bytes, bytes]:
        """What to send, and what of `received` to keep for later."""
        if fd in self._upgraded:
            echoes, taken = echo(received)
            return echoes, received[taken:]
        if not received.endswith(b"\r\n\r\n"):
            return b"", received
        self._upgraded.add(fd)
        return upgrade(received), b""


def main() -> None:
    """Serves on the port that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    server = EchoServer(parser.parse_args().port)
    print("ready", flush=True)
    server.serve(sys.stdin.fileno())


if __name__ == "__main__":
    main()
