"""An HTTP server that answers after a known delay and logs how long each request really took it.

One request at a time on each connection, as a closed loop sends them. It prints `ready` when it listens. When
its standard input ends it prints its log and ends: a line per request, with the time it was read in
microseconds since 1970, 1 for a connection's first request or else 0, and its service time in microseconds,
from reading its last byte to writing the answer.
"""

from __future__ import annotations

import argparse
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass

HOST = "127.0.0.1"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!"

clock_ns = time.perf_counter_ns


@dataclass(slots=True)
class Connection:
    """One accepted connection and the request that it is reading or waiting with."""

    socket: socket.socket
    received: bytes = b""
    answered: int = 0
    read_ns: int = 0
    read_unix_us: int = 0


class DelayServer:
    """All connections; answers are due in the order of the requests, because the delay is fixed."""

    def __init__(self, port: int, delay_ms: float) -> None:
        self._delay_ns = int(delay_ms * 1e6)
        self._listener = socket.create_server((HOST, port), backlog=1024)
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._due: deque[Connection] = deque()
        self._log: list[tuple[int, int, int]] = []

    def serve(self, control: int) -> None:
        """Serves until the file descriptor `control` is readable or at its end."""
        listening = self._listener.fileno()
        self._epoll.register(listening, select.EPOLLIN)
        self._epoll.register(control, select.EPOLLIN)
        while True:
            for fd, _ in self._epoll.poll(self._patience_s()):
                if fd in self._connections:
                    self._on_data(fd)
                elif fd == listening:
                    self._accept()
                else:
                    return
            # One at a time: while several answers were written, requests would wait unread and unlogged.
            if self._due and clock_ns() >= self._due[0].read_ns + self._delay_ns:
                self._answer(self._due.popleft())

    def print_log(self) -> None:
        """Prints a line per answered request."""
        sys.stdout.writelines(f"{unix_us}\t{first}\t{took_us}\n" for unix_us, first, took_us in self._log)

    def _patience_s(self) -> float | None:
        """Until the next answer is due. epoll rounds up to a millisecond: the last one is polled through."""
        if not self._due:
            return None
        remaining_s = (self._due[0].read_ns + self._delay_ns - clock_ns()) / 1e9
        return remaining_s - 0.001 if remaining_s > 0.001 else 0

    def _accept(self) -> None:
        accepted, _ = self._listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[accepted.fileno()] = Connection(accepted)
        self._epoll.register(accepted.fileno(), select.EPOLLIN)

    def _on_data(self, fd: int) -> None:
        connection = self._connections[fd]
        try:
            piece = connection.socket.recv(4096)
        except OSError:
            piece = b""
        if not piece:
            del self._connections[fd]
            connection.socket.close()
            return
        connection.received += piece
        if connection.received.endswith(b"\r\n\r\n"):
            connection.received = b""
            connection.read_ns, connection.read_unix_us = clock_ns(), time.time_ns() // 1000
            self._due.append(connection)

    def _answer(self, connection: Connection) -> None:
        took_us = (clock_ns() - connection.read_ns) // 1000
        try:
            connection.socket.sendall(ANSWER)
        except OSError:
            return  # it hung up while it waited; reading from it will tell
        self._log.append((connection.read_unix_us, int(not connection.answered), took_us))
        connection.answered += 1


def main() -> None:
    """Serves on the port that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-ms", type=float, required=True)
    arguments = parser.parse_args()
    server = DelayServer(arguments.port, arguments.delay_ms)
    print("ready", flush=True)
    server.serve(sys.stdin.fileno())
    server.print_log()


if __name__ == "__main__":
    main()
