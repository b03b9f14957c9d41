"""Answers `GET /plaintext` in one bare epoll loop: after a known time, at a known cost, with known faults.

asyncio costs more than an answer here and its timers know whole milliseconds only, so this loop has neither.
Every other request, and what follows it on its connection, goes to somebody else.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NoReturn

Fault = Literal["wrong", "short", "reset", "mute", "overflow"]
FAULTS: tuple[Fault, ...] = ("wrong", "short", "reset", "mute", "overflow")
HandOver = Callable[[socket.socket, bytes], None]

BACKLOG, SHORT_BACKLOG = 512, 1
_SHORT_BACKLOG_NS = 100_000_000
_ASKED = b"GET /plaintext HTTP/1.1\r\n"
_CLOSE = b"\r\nConnection: close\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_FOREVER_NS = 1 << 62
_SO_TIMESTAMPNS = 35
"""By it Linux tells each `recvmsg` when the kernel had the bytes (socket(7)). Python has no name for it."""
_TIMESPEC = struct.Struct("qq")
_CONTROL_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What is known of the answers; by default they come at once and are right.

    Attributes:
        delay_ns: each answer comes that long after its request was there, independently of the others.
        spin_ns: CPU time that each answer costs beside what the loop itself costs.
        freeze_ns: how long the loop stands still at the end of every `freeze_every_ns` from its start.
        fault: `wrong` byte, `short` answer, `reset` instead of an answer, `mute` from then on, or
            `overflow`: for 100 ms the listen queue holds no more than two connections.
        first: number of the first answer with the fault.
        every: it comes again after so many more.
    """

    delay_ns: int = 0
    spin_ns: int = 0
    freeze_ns: int = 0
    freeze_every_ns: int = 0
    fault: Fault | None = None
    first: int = 0
    every: int = 0


@dataclass(frozen=True, slots=True)
class Served:
    """One answer.

    Attributes:
        arrived_unix_us: when the kernel had its request, which the loop may read later.
        service_us: from then to the moment the answer was handed to the kernel.
        cpu_us: what the loop used since the answer before, all of its work included.
    """

    arrived_unix_us: int
    service_us: int
    cpu_us: int


class BareLoop:
    """The loop.

    Args:
        listener: accepts one connection a turn, so that those which wait do so in the kernel's queue.
        answers: what to send, on a connection that is kept and on one that is not.
        behaviour: what to do with it.
        hand_over: gets a connection with another request than `GET /plaintext`, and that request's bytes.
        served: gets every answer, or is None.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        answers: tuple[bytes, bytes],
        behaviour: Behaviour,
        hand_over: HandOver,
        served: list[Served] | None,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._answers = answers
        self._does = behaviour
        self._hand_over = hand_over
        self._served = served
        self._epoll = select.epoll()
        self._epoll.register(listener.fileno(), select.EPOLLIN)
        self._connections: dict[int, socket.socket] = {}
        self._waiting: deque[tuple[int, int, socket.socket, bool]] = deque()
        self._number = 0
        self._next_number = behaviour.first
        self._next_freeze_ns = _FOREVER_NS
        self._short_until_ns = _FOREVER_NS
        self._cpu_ns = 0

    def run(self) -> NoReturn:
        """Serves until the process ends."""
        does = self._does
        if does.freeze_ns:
            self._next_freeze_ns = time.monotonic_ns() + does.freeze_every_ns - does.freeze_ns
        self._cpu_ns = time.thread_time_ns()
        while True:
            self._wait()
            now = time.monotonic_ns()
            if now >= self._next_freeze_ns:
                self._next_freeze_ns += does.freeze_every_ns
                tell("freeze")
                time.sleep(does.freeze_ns / 1e9)
                continue
            if now >= self._short_until_ns:
                self._short_until_ns = _FOREVER_NS
                self._listener.listen(BACKLOG)
            for fd, _ in self._epoll.poll(0):
                if fd in self._connections:
                    self._read(fd, now)
                else:
                    self._accept()
            # One answer a turn: a request that comes while many are due is seen, and its clock runs, at once.
            if self._waiting and self._waiting[0][0] + does.delay_ns <= time.monotonic_ns():
                _, arrived_unix_ns, connection, last = self._waiting.popleft()
                self._answer(connection, last=last)
                if self._served is not None:
                    self._served.append(self._measure(arrived_unix_ns))

    def _wait(self) -> None:
        """Waits for a request, or until something is due; `select` counts microseconds, `epoll` does not."""
        due_ns = min(self._next_freeze_ns, self._short_until_ns)
        if self._waiting:
            due_ns = min(due_ns, self._waiting[0][0] + self._does.delay_ns)
        left_ns = due_ns - time.monotonic_ns()
        if left_ns > 0:
            select.select([self._epoll], [], [], None if due_ns == _FOREVER_NS else left_ns / 1e9)

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._connections[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _forget(self, connection: socket.socket) -> None:
        if self._connections.pop(connection.fileno(), None) is not None:
            self._epoll.unregister(connection.fileno())

    def _read(self, fd: int, now: int) -> None:
        connection = self._connections[fd]
        try:
            asked, controls, _, _ = connection.recvmsg(65536, _CONTROL_BYTES)
        except OSError:
            asked, controls = b"", []
        if not asked:
            self._forget(connection)
            connection.close()
        elif asked.startswith(_ASKED) and asked.endswith(b"\r\n\r\n"):
            self._waiting.append((now, _arrived_unix_ns(controls), connection, _CLOSE in asked))
        else:
            self._forget(connection)
            self._hand_over(connection, asked)

    def _answer(self, connection: socket.socket, *, last: bool) -> None:
        spin_until_ns = time.thread_time_ns() + self._does.spin_ns
        while time.thread_time_ns() < spin_until_ns:
            pass
        self._number += 1
        answer: bytes | None = self._answers[last]
        if self._number == self._next_number:
            self._next_number += self._does.every
            answer, last = self._plant(connection, self._answers[last], last=last)
        if answer is not None:
            with suppress(OSError):  # the client has gone
                connection.send(answer)
        if last:
            self._forget(connection)
            connection.close()

    def _plant(self, connection: socket.socket, answer: bytes, *, last: bool) -> tuple[bytes | None, bool]:
        """What to send instead of an answer, and whether the connection ends with it."""
        fault = self._does.fault
        tell(str(fault))
        if fault == "wrong":
            return answer[:-1] + bytes((answer[-1] ^ 1,)), last
        if fault == "short":
            return answer[:-6], True
        if fault == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            return None, True
        if fault == "mute":
            time.sleep(3600)
        if fault == "overflow":
            self._listener.listen(SHORT_BACKLOG)
            self._short_until_ns = time.monotonic_ns() + _SHORT_BACKLOG_NS
        return answer, last

    def _measure(self, arrived_unix_ns: int) -> Served:
        """What the answer that has just been given took."""
        service_ns = time.time_ns() - arrived_unix_ns
        cpu_ns, before_ns = time.thread_time_ns(), self._cpu_ns
        self._cpu_ns = cpu_ns
        return Served(arrived_unix_ns // 1000, service_ns // 1000, (cpu_ns - before_ns) // 1000)


def _arrived_unix_ns(controls: list[tuple[int, int, bytes]]) -> int:
    """The kernel's time of arrival, or the present where it gives none."""
    for level, kind, data in controls:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


def tell(fault: str) -> None:
    """Says in the log, at once, that a fault comes now."""
    os.write(1, b"planted %d %s\n" % (time.time_ns() // 1000, fault.encode()))
