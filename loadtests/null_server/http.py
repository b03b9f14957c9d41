"""One HTTP/1.1 connection of the null responder."""

from __future__ import annotations

import socket
from collections.abc import Callable

from loadtests.null_server.answers import Plan, Plans
from loadtests.null_server.peer import Loop, Peer

RECEIVE_BYTES = 16_384
LARGEST_HEAD_BYTES = 16_384
SMALL_BYTES = 4096
"""Up to this size a request is looked up whole before it is searched for the end of its head, and an echo is
copied behind its head; above it, hashing and copying cost more than they save."""

Upgrade = Callable[["HttpPeer", Plan, bytes], None]


class HttpPeer(Peer):
    """Reads whole requests, in any number of pieces and several at once, and sends the planned answers."""

    __slots__ = ("_body", "_filled", "_got", "_known", "_plan", "_plans", "_upgrade")

    def __init__(self, loop: Loop, connection: socket.SocketType, plans: Plans, upgrade: Upgrade) -> None:
        super().__init__(loop, connection)
        self._plans = plans
        self._known = plans.known
        self._upgrade = upgrade
        self._got = b""
        self._plan: Plan | None = None
        self._body = bytearray()
        self._filled = 0

    def hand_over(self) -> tuple[socket.SocketType, int]:
        """The connection, for another protocol, and what it is watched for."""
        self._closing = True
        return self._socket, self._watched

    def _read(self) -> None:
        if self._plan is not None:
            self._read_body(self._plan)
            return
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self.finish()
            return
        if not self._got and len(data) <= SMALL_BYTES:
            plan = self._known.get(data)
            if plan is not None and not plan.body_bytes:
                self._answer(plan, b"")
                return
        self._take(self._got + data if self._got else data)

    def _take(self, data: bytes) -> None:
        """Answers every whole request in `data` and keeps the rest."""
        self._got = b""
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > LARGEST_HEAD_BYTES:
                    self.close()
                self._got = data
                return
            plan = self._plans.plan(data[:end])
            if plan.room:
                self._upgrade(self, plan, data[end:])
                return
            whole = end + plan.body_bytes
            if len(data) < whole:
                self._begin_body(plan, data[end:])
                return
            self._answer(plan, data[end:whole])
            if self._closing:
                return
            data = data[whole:]

    def _begin_body(self, plan: Plan, beginning: bytes) -> None:
        # The last body's memory serves again, unless a part of it is still to be sent.
        if len(self._body) != plan.body_bytes or self._unsent:
            self._body = bytearray(plan.body_bytes)
        self._body[: len(beginning)] = beginning
        self._filled = len(beginning)
        self._plan = plan

    def _read_body(self, plan: Plan) -> None:
        try:
            count = self._socket.recv_into(memoryview(self._body)[self._filled :])
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not count:
            self.finish()
            return
        self._filled += count
        if self._filled == plan.body_bytes:
            self._plan = None
            self._answer(plan, self._body)

    def _answer(self, plan: Plan, body: bytes | bytearray) -> None:
        # With MSG_MORE the end of the connection travels in the same packet as the end of the answer.
        last = socket.MSG_MORE if plan.closes else 0
        if not plan.echoes:
            self.send(plan.answer, last)
        elif len(body) <= SMALL_BYTES:
            self.send(plan.answer + body, last)
        else:
            self.send(plan.answer, socket.MSG_MORE)
            self.send(body, last)
        if plan.closes and not self._closing:
            self.finish()
