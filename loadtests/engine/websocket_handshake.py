"""WebSockets that carry nothing: opened and closed again and again, or held open."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import itertools
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import h11

from loadtests.engine.connecting import open_connection
from loadtests.engine.http1 import Verdict
from loadtests.engine.loop import clock_ns
from loadtests.engine.slot import Slot
from loadtests.engine.websocket_connection import HANDSHAKE_LIMIT_BYTES, WebSocketSlot

if TYPE_CHECKING:
    from loadtests.engine.group import Group

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASKED_CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
"""A close frame with status 1000 and a mask of zeros (RFC 6455, sections 5.5.1 and 7.4.1)."""
_KEYS = 256
_PROOF = b"<proof>"


@functools.cache
def _keys() -> Iterator[tuple[bytes, bytes]]:
    """Random keys with their proofs (RFC 6455, section 4.2.2), made once: hashing is not what is measured."""
    keys = [base64.b64encode(secrets.token_bytes(16)) for _ in range(_KEYS)]
    return itertools.cycle([(key, _proof(key)) for key in keys])


def _proof(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())


def upgrade_request(host: str, path: str, key: bytes) -> bytes:
    """The client's half of the opening handshake, without extensions."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    )
    return head.encode("latin-1") + key + b"\r\n\r\n"


def judge_acceptance(head: bytes, proof: bytes) -> str:
    """Empty where these bytes are a server's whole and correct half of the handshake; else what is wrong."""
    parser = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method="GET", target="/", headers=[("Host", "x"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    )
    parser.send(request)
    parser.send(h11.EndOfMessage())
    try:
        parser.receive_data(head)
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        return f"not an HTTP/1.1 answer: {error}"
    if not isinstance(event, h11.InformationalResponse) or event.status_code != 101:
        return f"the upgrade was refused: {head[:60]!r}"
    headers = {name.lower(): value for name, value in event.headers}
    upgrade, connection = headers.get(b"upgrade", b""), headers.get(b"connection", b"")
    extensions, protocol = headers.get(b"sec-websocket-extensions"), headers.get(b"sec-websocket-protocol")
    options = {option.strip() for option in connection.lower().split(b",")}
    demands = (  # RFC 6455, section 4.1
        (upgrade.lower() == b"websocket", f"header upgrade: {upgrade!r}"),
        (b"upgrade" in options, f"header connection: {connection!r}"),
        (headers.get(b"sec-websocket-accept") == proof, "the proof is not that of the key"),
        (not extensions, f"extensions nobody asked for: {extensions!r}"),
        (not protocol, f"a subprotocol nobody asked for: {protocol!r}"),
    )
    return next((what for met, what in demands if not met), "")


class HandshakeSlot(Slot):
    """Opens a WebSocket, checks the server's half of the handshake, closes it, and begins again.

    The clock runs from before `connect` to the whole answer.
    """

    __slots__ = ("_expected_proof", "_got")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._got = b""
        self._expected_proof = b""

    def prepare(self) -> None:
        """The next handshake is this slice's first."""
        self._opening = True

    def start(self, intended_ns: int = 0) -> None:
        """Begins the next handshake."""
        group = self._group
        self._begin(intended_ns)
        connection = open_connection(group, self._fail)
        if connection is None:
            return
        self._watch(connection)
        key, self._expected_proof = next(_keys())
        target = group.target
        self._send(connection, upgrade_request(target.host_header, target.path, key))

    def close(self) -> None:
        """Closes the connection, whatever state it is in."""
        super().close()
        self._got = b""

    def _take(self, piece: bytes, now: int) -> None:
        if not piece:
            kind, what = ("short", "in the middle of the handshake") if self._got else ("reset", "at once")
            self._fail(kind, f"the server closed the connection {what}")
            return
        self._got += piece
        if b"\r\n\r\n" not in self._got:
            if len(self._got) > HANDSHAKE_LIMIT_BYTES:
                self._fail("status", f"a handshake of more than {HANDSHAKE_LIMIT_BYTES} bytes")
            return
        heads, form = self._group.heads, self._got.replace(self._expected_proof, _PROOF, 1)
        if _PROOF in self._got or self._expected_proof not in self._got or heads.get(form) is None:
            wrong = judge_acceptance(self._got, self._expected_proof)
            if wrong or self._got.index(b"\r\n\r\n") + 4 < len(self._got):
                self._fail("status", wrong or f"surplus bytes after the handshake: {self._got[-60:]!r}")
                return
            heads.learn(Verdict(reusable=False, head=form))
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the server may be gone already
                self._socket.send(_MASKED_CLOSE)
        self.close()
        self._finish(now)
        self._next(now)

    def _after_failure(self) -> None:
        self._group.loop.rest(self._resume)

    def _resume(self) -> None:
        if not self.in_flight:
            self._next(clock_ns())


class IdleSlot(WebSocketSlot):
    """A WebSocket that is held open and answers pings."""

    __slots__ = ()

    def start(self, intended_ns: int = 0) -> None:
        """Counts the connection as held, or as refused."""
        del intended_ns
        if self._socket is None:
            self._group.tally.fail("refused", "no WebSocket: " + self._group.handshake_failure)
        else:
            self._group.tally.completed += 1

    def _take(self, piece: bytes, now: int) -> None:
        if piece:
            self._read_in_full(piece, now)
            self._parsing = False
        else:
            self._ended()

    def _ended(self) -> None:
        self._group.tally.closed_by_server += 1
        self._fail("reset", "the server ended an idle connection")

    def _fail(self, kind: str, example: str) -> None:
        """Counts the connection as lost instead of held."""
        if clock_ns() < self._group.deadline_ns:
            self._group.tally.completed -= 1
        super()._fail(kind, example)

    def _on_message(self, message: bytes, *, is_text: bool, now: int) -> None:
        del is_text, now
        self._fail("body", f"a message that nobody asked for: {message[:120]!r}")
