"""WebSocket handshakes that are unusual or hostile: one verdict each, and the slice ends."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
import wsproto
from wsproto.events import AcceptConnection

from tests.support.groups import failures
from tests.support.websockets import Writer, accepted, drive, in_time

HANDSHAKES = {
    "garbage": b"\x00\x01\x02garbage\r\n\r\n",
    "status-200": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    "status-101-without-a-proof": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "wrong-proof": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    "early-hints": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "not-ascii": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\xff\r\n\r\n",
    "long-head": b"HTTP/1.1 101 S\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "half": b"HTTP/1.1 101 Switching Pro",
    "nothing": b"",
}


@pytest.mark.parametrize("answer", HANDSHAKES.values(), ids=HANDSHAKES)
@pytest.mark.parametrize("then_close", [False, True], ids=["open", "closed"])
def test_a_handshake_that_fails_is_refused_and_the_slice_ends(answer: bytes, then_close: bool) -> None:
    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if not then_close:
            await reader.read()

    result = in_time(lambda: drive(behave))
    assert failures(result) == {"refused"}
    assert result.examples["refused"]


@pytest.mark.parametrize(
    "header",
    [
        b"Sec-WebSocket-Extensions: permessage-deflate",
        b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
        b"Sec-WebSocket-Extensions: \xff",
        b"Sec-WebSocket-Protocol: chat",
        b"Sec-WebSocket-Protocol: \xff",
    ],
)
def test_what_nobody_offered_in_the_handshake_is_refused(header: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        list(protocol.events())
        writer.write(protocol.send(AcceptConnection()).replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n"))
        await reader.read()

    assert failures(drive(behave)) == {"refused"}


def test_a_handshake_that_trickles_without_an_end_is_given_up() -> None:
    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.2)

    assert failures(in_time(lambda: drive(behave))) == {"refused"}


@pytest.mark.parametrize("answer", HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_timed_handshake_that_fails_is_one_failure(answer: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await reader.read()

    result = drive(behave, exchange="handshake")
    assert sum(result.failures.values()) == 1
    assert failures(result) <= {"status", "timeout"}
    assert result.completed + result.drained == 0


def test_a_head_without_an_end_is_a_wrong_handshake_before_the_timeout() -> None:
    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 S\r\nX: " + b"x" * 100_000)
        await reader.read()

    assert failures(drive(behave, exchange="handshake")) == {"status"}


def test_a_handshake_that_lacks_the_proof_is_refused_also_after_correct_ones() -> None:
    correct = 0

    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        nonlocal correct
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        list(protocol.events())
        answer = protocol.send(AcceptConnection())
        if correct:
            proof = answer.lower().split(b"sec-websocket-accept: ")[1].split(b"\r\n")[0]
            at = answer.lower().index(proof)
            answer = answer[:at] + b"<proof>" + answer[at + len(proof) :]
        correct += 1
        writer.write(answer)
        await reader.read()

    result = drive(behave, exchange="handshake", window_s=0.05)
    assert result.completed + result.drained == 1
    assert failures(result) == {"status"}


def test_a_server_that_resets_right_after_the_handshake_does_no_harm() -> None:
    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        await accepted(reader, writer)
        await writer.drain()
        raw_socket = writer.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    result = drive(behave, exchange="handshake", window_s=0.05)
    assert failures(result) <= {"reset"}
