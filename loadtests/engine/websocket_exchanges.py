"""What goes over the engine's WebSockets: echo, broadcast, handshakes, nothing."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import itertools
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from random import getrandbits, randrange
from typing import TYPE_CHECKING

import h11

from loadtests.engine.http_parser import Verdict
from loadtests.engine.slot import Slot, clock_ns, open_connection
from loadtests.engine.websocket import HANDSHAKE_LIMIT_BYTES, WebSocketSlot

if TYPE_CHECKING:
    from loadtests.engine.group import Group


MOST_CONTROL_BYTES = 125
"""The payload that a control frame may have; an unmasked one has its length in its second byte."""


def control_frame_end(data: bytes, position: int) -> int:
    """Where the control frame at `position` ends (RFC 6455, section 5.5); 0 where there is no whole one."""
    if len(data) < position + 2 or data[position] < 0x88 or data[position + 1] > MOST_CONTROL_BYTES:
        return 0
    end = position + 2 + data[position + 1]
    return end if end <= len(data) else 0


class EchoSlot(WebSocketSlot):
    """A WebSocket with one message in flight."""

    __slots__ = ("_messages", "_payload", "_place")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._messages = group.frames.messages
        self._place = randrange(len(self._messages))  # noqa: S311 - where to begin is no secret
        self._payload = b""

    def start(self, intended_ns: int = 0) -> None:
        """Sends the next numbered message."""
        self._begin(intended_ns)
        if self._socket is None:
            self._fail("refused", "no WebSocket: " + self._group.handshake_failure)
            return
        self._send_after(self._socket, self._another())

    def _another(self) -> bytes:
        self._place = place = (self._place + 1) % len(self._messages)
        self._payload, self._expected, frame = self._messages[place]
        return frame

    def _take(self, piece: bytes, now: int) -> None:
        if not piece:
            self._ended()
            return
        whole = self._got + piece if self._got else piece
        if self.in_flight and not self._parsing:
            if whole == self._expected:
                self._got = b""
                self._complete(now)
                return
            if self._expected.startswith(whole):
                self._got = whole
                return
        self._got = b""
        expected = self._expected
        self._read_in_full(whole, now)
        if not self._message and whole.endswith(expected):
            self._parsing = False  # wsproto holds no begun frame: it may be left out again

    def _on_message(self, message: bytes, *, is_text: bool, now: int) -> None:
        if message != self._payload or not is_text:
            self._fail("body", f"echo {message[:120]!r} instead of {self._payload[:120]!r}")
        else:
            self._complete(now)

    def _complete(self, now: int) -> None:
        group = self._group
        self._finish(now)
        self._next(now)
        self._repeats = (
            group.open_loop is None
            and group.comes_whole
            and self.in_flight
            and not (self._unsent or self._parsing)
        )


class EchoWindowSlot(WebSocketSlot):
    """A WebSocket with several messages in flight, in a closed loop; their echoes come back in order.

    Each echo makes room for another message, and those that have room leave together: a client that sends
    ahead does not wait for one echo at a time. `in_flight` says whether there is any.
    """

    __slots__ = ("_messages", "_pending", "_place")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._messages = group.frames.messages
        self._place = randrange(len(self._messages))  # noqa: S311 - where to begin is no secret
        self._pending: deque[tuple[bytes, bytes, int]] = deque()

    def start(self, intended_ns: int = 0) -> None:
        """Fills the window."""
        self._begin(intended_ns)
        if self._socket is None:
            self._fail("refused", "no WebSocket: " + self._group.handshake_failure)
            return
        self._send_more(self._group.target.window, timed=False)

    def close(self) -> None:
        """Closes the connection; what was in flight on it is forgotten."""
        super().close()
        self._pending.clear()

    def _fail(self, kind: str, example: str) -> None:
        """Counts every message in flight as failed, and closes the connection."""
        self._group.tally.failures[kind] += max(0, len(self._pending) - 1)
        super()._fail(kind, example)

    def _send_more(self, count: int, *, timed: bool = True) -> None:
        """Sends that many messages. Those that fill the window are not timed: queues still fill."""
        connection = self._socket
        if connection is None:
            return
        frames = []
        self._sent_ns = clock_ns()
        for _ in range(count):
            self._place = place = (self._place + 1) % len(self._messages)
            payload, expected, frame = self._messages[place]
            self._pending.append((payload, expected, self._sent_ns if timed else 0))
            frames.append(frame)
        data = b"".join(frames)
        self._send_after(connection, data)

    def _take(self, piece: bytes, now: int) -> None:
        if not piece:
            self._ended()
            return
        whole = self._got + piece if self._got else piece
        self._got = b""
        if self._parsing:
            self._read_in_full(whole, now)
            return
        pending, position, answered = self._pending, 0, 0
        while True:
            if pending and whole.startswith(pending[0][1], position):
                position += len(pending[0][1])
                self._count(now)
                answered += 1
            elif end := control_frame_end(whole, position):
                # A ping between two echoes is no reason to read all that follow in full.
                self._read_in_full(whole[position:end], now)
                if self._socket is None:
                    return
                self._parsing = False
                position = end
            else:
                break
        rest = whole[position:] if position else whole
        if rest:
            if pending and pending[0][1].startswith(rest):
                self._got = rest
            else:
                self._read_in_full(rest, now)
        self._refill(answered, now)

    def _on_message(self, message: bytes, *, is_text: bool, now: int) -> None:
        expected = self._pending[0][0] if self._pending else b""
        if not self._pending or message != expected or not is_text:
            self._fail("body", f"echo {message[:120]!r} instead of {expected[:120]!r}")
            return
        self._count(now)
        self._refill(1, now)
        self._parsing = bool(self._pending)

    def _count(self, now: int) -> None:
        """Counts one correct echo."""
        group, tally = self._group, self._group.tally
        _, _, sent_ns = self._pending.popleft()
        tally.completed_ns.append(now)
        if now <= group.deadline_ns:
            tally.completed += 1
        else:
            tally.drain()
        if sent_ns:
            tally.response_ns.append(now - sent_ns)

    def _refill(self, answered: int, now: int) -> None:
        if self._socket is None or not answered:
            return
        if now < self._group.deadline_ns:
            self._send_more(answered)
        elif not self._pending and self.in_flight:
            self.in_flight = False
            self._group.in_flight -= 1


class Broadcasts:
    """The broadcasts of one slice, one under way at a time, the next when everybody has heard the last.

    A broadcast that somebody did not hear counts as a failure of that subscriber, and is not completed.

    Attributes:
        payload, expected: the message under way, and the frame in which it comes.
    """

    def __init__(self, group: Group, slots: Sequence[BroadcastSlot]) -> None:
        self._group = group
        self._slots = slots
        self._sequence = getrandbits(40)
        self._waiting_for = 0
        self._sent_ns = 0
        self._missed = False
        self.payload = self.expected = b""

    def begin(self) -> None:
        """Has the first connection that is open make the next broadcast."""
        if not self._slots:
            return
        self._sequence += 1
        self.payload, self.expected, frame = self._group.frames.number(self._sequence)
        self._missed = False
        self._waiting_for = len(self._slots)
        self._sent_ns = clock_ns()
        for slot in self._slots:
            slot.listen(self._sent_ns)
        speaker = next((slot for slot in self._slots if slot.in_flight), None)
        if speaker is not None:
            speaker.publish(frame)

    def heard(self, now: int) -> None:
        """One subscriber more has heard it."""
        self._group.tally.response_ns.append(now - self._sent_ns)
        self._settle(now)

    def missed(self, now: int) -> None:
        """One subscriber will never hear it."""
        self._missed = True
        self._settle(now)

    def _settle(self, now: int) -> None:
        self._waiting_for -= 1
        if self._waiting_for:
            return
        group, tally = self._group, self._group.tally
        if self._missed:
            group.loop.rest(self._begin_again)
            return
        tally.last_ns.append(now - self._sent_ns)
        tally.completed_ns.append(now)
        if now <= group.deadline_ns:
            tally.completed += 1
            self._begin_again()
        else:
            tally.drain()

    def _begin_again(self) -> None:
        if clock_ns() < self._group.deadline_ns:
            self.begin()


class BroadcastSlot(WebSocketSlot):
    """A WebSocket that hears every broadcast of its group."""

    __slots__ = ()

    def start(self, intended_ns: int = 0) -> None:
        """Nothing: `Broadcasts` moves all connections together."""

    def listen(self, sent_ns: int) -> None:
        """From now on a broadcast is under way to this connection."""
        self._begin(0)
        self._sent_ns = sent_ns
        if self._socket is None:
            self._fail("refused", "no WebSocket: " + self._group.handshake_failure)

    def publish(self, frame: bytes) -> None:
        """Sends the broadcast, where the connection is open."""
        if self._socket is not None:
            self._send_after(self._socket, frame)

    def _take(self, piece: bytes, now: int) -> None:
        if not piece:
            self._ended()
            return
        whole = self._got + piece if self._got else piece
        self._got = b""
        if self.in_flight and not self._parsing:
            expected = self._broadcasts.expected
            if whole == expected:
                self._hear(now)
                return
            if expected.startswith(whole):
                self._got = whole
                return
        self._read_in_full(whole, now)

    def _on_message(self, message: bytes, *, is_text: bool, now: int) -> None:
        if message != self._broadcasts.payload or not is_text:
            self._fail("body", f"heard {message[:120]!r} instead of {self._broadcasts.payload[:120]!r}")
        else:
            self._parsing = False
            self._hear(now)

    def _hear(self, now: int) -> None:
        self.in_flight = False
        self._group.in_flight -= 1
        self._broadcasts.heard(now)

    def _after_failure(self) -> None:
        """A lost subscriber stays lost until the next `prepare`."""
        self._broadcasts.missed(clock_ns())

    @property
    def _broadcasts(self) -> Broadcasts:
        broadcasts = self._group.broadcasts
        if broadcasts is None:
            raise RuntimeError("a broadcast was heard of outside of a slice")
        return broadcasts


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
