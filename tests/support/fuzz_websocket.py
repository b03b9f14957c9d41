"""The WebSocket half of the fuzzer: mutated echoes, through a socket pair, to the engine's echo slot."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from random import Random

import wsproto
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage

from loadtests.engine.group import Group
from loadtests.engine.protocol import Target
from loadtests.engine.slot import Loop
from loadtests.engine.websocket_exchanges import EchoSlot

TARGET = Target("127.0.0.1", 1, "websocket", path="/ws/echo", message_bytes=40)
BREACHES = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError)
"""What a parser that met the unexpected would raise."""


def opened_pair() -> tuple[wsproto.WSConnection, wsproto.WSConnection]:
    """Both ends of an open WebSocket, without a network."""
    client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    server = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    server.receive_data(client.send(Request(host="x", target="/")))
    list(server.events())
    client.receive_data(server.send(AcceptConnection()))
    list(client.events())
    return client, server


class PairSlot(EchoSlot):
    """An echo slot whose connection is one end of a socket pair, open already; `far` is the other."""

    far: socket.socket
    far_protocol: wsproto.WSConnection

    def _connect(self) -> None:
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self._protocol, self.far_protocol = opened_pair()
        self._watch(near)


def frames_for(random: Random, payload: str, far: wsproto.WSConnection) -> bytes:
    """A correct echo: whole or in fragments, with pings between, or one of the wrong kind."""
    out = b""
    if random.random() < 0.3:
        out += far.send(Ping(payload=b"there?"))
    at = random.randrange(len(payload))
    match random.randrange(6):
        case 0:
            out += far.send(TextMessage(payload[:at], message_finished=False))
            out += far.send(Pong(payload=b"unasked"))
            out += far.send(TextMessage(payload[at:]))
        case 1:
            out += far.send(BytesMessage(payload.encode()))
        case 2:
            out += far.send(TextMessage("é" + payload[:at] + "é"))
        case _:
            out += far.send(TextMessage(payload))
    if random.random() < 0.2:
        out += far.send(CloseConnection(code=1001, reason="bye"))
    return out


def accepts(pieces: list[bytes], payload: str) -> bool:
    """Whether wsproto alone reads the payload as the first message of these pieces."""
    protocol, _ = opened_pair()
    text: list[str] = []
    for piece in pieces:
        protocol.receive_data(piece)
        for event in protocol.events():
            if isinstance(event, (CloseConnection, BytesMessage)):
                return False
            if isinstance(event, TextMessage):
                text.append(event.data)
                if event.message_finished:
                    return "".join(text) == payload
    return False


def websocket_violation(
    random: Random,
    mutated: Callable[[Random, bytes, list[bytes]], bytes],
    pieces_of: Callable[[Random, bytes], list[bytes]],
) -> tuple[str, list[bytes], str | None]:
    """Drives one message and its mutated echo; returns a name, the pieces, and what went wrong or None."""
    loop = Loop()
    group = Group(TARGET, loop)
    slot = PairSlot(group)
    slot.prepare()
    slot.start()
    slot.far_protocol.receive_data(slot.far.recv(4096))
    payload = "".join(event.data for event in slot.far_protocol.events() if isinstance(event, TextMessage))
    valid = frames_for(random, payload, slot.far_protocol)
    others = [
        valid,
        b"\x88\x00",
        b"\x88\x02\x03\xe8",
        b"\xc1\x05Hello",
        b"\x8b\x00",
        b"\x81\x7f" + b"\xff" * 8,
    ]
    pieces = pieces_of(random, mutated(random, valid, others))
    name = f"websocket (payload {payload})"
    try:
        _deliver(slot.far, loop, pieces)
        return name, pieces, _complaint(slot, group, pieces, payload)
    except (*BREACHES, OSError, wsproto.utilities.ProtocolError) as error:
        return name, pieces, f"raised {error!r}"
    finally:
        slot.close()
        slot.far.close()
        loop.close()


def _deliver(far: socket.socket, loop: Loop, pieces: list[bytes]) -> None:
    """Sends the pieces one by one and ends the connection; the slot may have closed its end before that."""
    for piece in pieces:
        with contextlib.suppress(OSError):
            far.sendall(piece)
        loop.poll_once()
    with contextlib.suppress(OSError):
        far.shutdown(socket.SHUT_WR)
    loop.poll_once()


def _complaint(slot: PairSlot, group: Group, pieces: list[bytes], payload: str) -> str | None:
    tally = group.tally
    correct, failed = tally.completed + tally.drained, sum(tally.failures.values())
    if slot.in_flight or group.in_flight:
        return "still in flight after the end of the connection"
    if correct + failed == 0 or correct > 1 or failed > 1:
        return f"{correct} correct and {failed} failed of one message: {tally.failures}"
    if correct != accepts(pieces, payload):
        return f"correct: {correct}, but wsproto alone disagrees; {tally.examples}"
    return None
