"""WebSocket echoes that are unusual or hostile: one verdict each, and the slice ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
import wsproto
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage

from loadtests.engine.protocol import Exchange
from tests.support.groups import failures
from tests.support.scripted import Behaviour
from tests.support.websockets import PATIENCE_S, Writer, accepted, drive, reacting


def frame(first_byte: int, payload: bytes) -> bytes:
    """An unmasked frame of less than 126 bytes."""
    return bytes((first_byte, len(payload))) + payload


def raw(answer: Callable[[bytes], list[bytes]], seen: list[Event] | None = None) -> Behaviour:
    """Sends `answer(payload)`, piece by piece, for every message."""

    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        protocol = await accepted(reader, writer)
        while data := await reader.read(65536):
            protocol.receive_data(data)
            for event in protocol.events():
                if seen is not None:
                    seen.append(event)
                if isinstance(event, TextMessage):
                    for piece in answer(event.data.encode()):
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0.0002)
                elif isinstance(event, CloseConnection):
                    return

    return behave


@given(cuts=st.lists(st.integers(0, 64), max_size=8), pieces=st.integers(1, 5), pings=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_fragments_in_any_split_with_pings_between_are_one_echo(
    cuts: list[int], pieces: int, pings: bool
) -> None:
    seen: list[Event] = []

    def fragmented(payload: bytes) -> list[bytes]:
        edges = [0, *sorted(cuts), 64]
        parts = [payload[begin:end] for begin, end in pairwise(edges)]
        frames = []
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if pings:
                frames.append(frame(0x89, b"ping %d" % number))
            frames.append(frame((0x80 if last else 0) | (0 if number else 1), part))
        stream = b"".join(frames)
        step = max(1, len(stream) // pieces)
        return [stream[at : at + step] for at in range(0, len(stream), step)]

    result = drive(raw(fragmented, seen))
    assert failures(result) == set()
    assert result.completed + result.drained >= 1
    if pings:
        answered = [bytes(event.payload) for event in seen if isinstance(event, Pong)]
        asked = [b"ping %d" % number for number in range(len(cuts) + 1)] * (len(answered) + 1)
        assert answered == asked[: len(answered)]  # the last ones may still have been under way


@pytest.mark.parametrize("cut", range(1, 66, 5))
def test_an_echo_that_is_cut_anywhere_is_correct(cut: int) -> None:
    result = drive(raw(lambda payload: [frame(0x81, payload)[:cut], frame(0x81, payload)[cut:]]))
    assert failures(result) == set()


HOSTILE = {
    "masked": (lambda _: b"\x81\x85\0\0\0\0Hello", "status"),
    "reserved-bit-1": (lambda payload: frame(0xC1, payload), "status"),
    "reserved-bit-3": (lambda payload: frame(0x91, payload), "status"),
    "reserved-data-opcode": (lambda payload: frame(0x83, payload), "status"),
    "reserved-control-opcode": (lambda _: frame(0x8B, b""), "status"),
    "continuation-of-nothing": (lambda payload: frame(0x80, payload), "status"),
    "new-message-within-another": (lambda payload: frame(0x01, payload[:9]) + frame(0x81, payload), "status"),
    "fragmented-ping": (lambda _: frame(0x09, b"x"), "status"),
    "long-ping": (lambda _: b"\x89\x7e\x00\x80" + b"x" * 128, "status"),
    "length-not-minimal": (lambda payload: b"\x81\x7e\x00\x40" + payload, "status"),
    "length-of-64-bits-not-minimal": (lambda payload: b"\x81\x7f" + b"\0" * 7 + b"\x40" + payload, "status"),
    "length-over-63-bits": (lambda payload: b"\x81\x7f" + b"\xff" * 8 + payload, "status"),
    "not-utf-8": (lambda _: frame(0x81, b"\xff\xfe" * 32), "status"),
    "utf-8-cut-off": (lambda _: frame(0x81, b"\xc3"), "status"),
    "close-of-one-byte": (lambda _: frame(0x88, b"\x03"), "status"),
    "close-with-a-code-nobody-may-send": (lambda _: frame(0x88, b"\x03\xed"), "status"),
    "close-with-a-reason-that-is-not-utf-8": (lambda _: frame(0x88, b"\x03\xe8\xff"), "status"),
    "http-instead": (lambda _: b"HTTP/1.1 200 OK\r\n\r\n", "status"),
    "empty-message": (lambda _: frame(0x81, b""), "body"),
    "binary": (lambda payload: frame(0x82, payload), "body"),
    "last-byte-wrong": (lambda payload: frame(0x81, payload[:-1] + b"?"), "body"),
    "too-long": (lambda payload: frame(0x81, payload + b"="), "body"),
    "too-short": (lambda payload: frame(0x81, payload[:-1]), "body"),
}


@pytest.mark.parametrize(("answer", "kind"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("in_two", [False, True], ids=["whole", "cut"])
def test_what_is_no_echo_fails_once_and_as_one_kind(
    answer: Callable[[bytes], bytes], kind: str, in_two: bool
) -> None:
    def pieces(payload: bytes) -> list[bytes]:
        whole = answer(payload)
        return [whole[:1], whole[1:]] if in_two else [whole]

    result = drive(raw(pieces))
    assert {name: count for name, count in result.failures.items() if count} == {kind: 1}
    assert result.completed + result.drained == 0


@pytest.mark.parametrize("payload", [b"", b"\x03\xe9", b"\x03\xe9going away"], ids=["bare", "code", "reason"])
def test_a_close_frame_instead_of_the_echo_fails_the_message(payload: bytes) -> None:
    result = drive(raw(lambda _: [frame(0x88, payload)]))
    assert result.failures["short"] + result.failures["reset"] == 1 == sum(result.failures.values())
    assert result.closed_by_server == 1


def test_a_message_without_an_end_is_refused_before_the_timeout() -> None:
    def endless(payload: bytes) -> list[bytes]:
        return [frame(0x01, payload), *(frame(0x00, b"x" * 100) for _ in range(3))]

    assert drive(raw(endless)).failures["body"] == 1


def test_an_unfinished_echo_times_out_and_the_slice_ends() -> None:
    result = drive(raw(lambda payload: [frame(0x81, payload)[:-1]]))
    assert {name: count for name, count in result.failures.items() if count} == {"timeout": 1}


def test_an_empty_message_after_the_echo_is_a_failure() -> None:
    result = drive(raw(lambda payload: [frame(0x81, payload) + frame(0x81, b"")]), window_s=0.02)
    assert failures(result) == {"body"}


@pytest.mark.parametrize(
    "more", [frame(0x81, b"welcome"), frame(0x81, b"welcome")[:4]], ids=["whole", "part"]
)
def test_a_message_in_the_same_segment_as_the_handshake_is_a_failure(more: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        protocol = await accepted(reader, writer, more)
        await _echoing(reader, writer, protocol)

    result = drive(behave, window_s=0.02)
    assert sum(result.failures.values()) >= 1
    assert result.completed + result.drained == 0


def test_a_ping_in_the_same_segment_as_the_handshake_is_answered() -> None:
    seen: list[Event] = []

    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        protocol = await accepted(reader, writer, frame(0x89, b"there?"))
        await _echoing(reader, writer, protocol, seen)

    result = drive(behave, window_s=0.02)
    assert failures(result) == set()
    assert [event.payload for event in seen if isinstance(event, Pong)] == [b"there?"]


def test_a_pong_does_not_break_into_a_message_that_is_still_being_sent() -> None:
    size = 8 << 20

    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        protocol = await accepted(reader, writer)
        await reader.readexactly(1)  # the message has begun
        writer.write(frame(0x89, b"there?"))
        await asyncio.sleep(0.02)
        head = b"\x81" + await reader.readexactly(13)
        protocol.receive_data(head)
        received = 0
        while received < size:
            data = await reader.read(1 << 20)
            protocol.receive_data(data)
            for event in protocol.events():
                if isinstance(event, TextMessage):
                    received += len(event.data)
                    if event.message_finished:
                        writer.write(b"\x88\x02\x03\xe8")  # as far as this test goes
                        whole.append(received)
                        return

    whole: list[int] = []
    drive(behave, message_bytes=size, timeout_s=PATIENCE_S)
    assert whole == [size]


async def _echoing(
    reader: asyncio.StreamReader,
    writer: Writer,
    protocol: wsproto.WSConnection,
    seen: list[Event] | None = None,
) -> None:
    while data := await reader.read(65536):
        protocol.receive_data(data)
        for event in protocol.events():
            if seen is not None:
                seen.append(event)
            if isinstance(event, TextMessage):
                writer.write(protocol.send(TextMessage(event.data)))
            elif isinstance(event, CloseConnection):
                return


def test_pings_between_echoes_are_answered_in_their_order() -> None:
    seen: list[Event] = []

    def pinging(protocol: wsproto.WSConnection, text: str) -> bytes:
        return protocol.send(TextMessage(text)) + protocol.send(Ping(payload=text[:16].encode()))

    result = drive(reacting(pinging, seen), window_s=0.02)
    assert failures(result) == set()
    texts = [event.data[:16].encode() for event in seen if isinstance(event, TextMessage)]
    pongs = [bytes(event.payload) for event in seen if isinstance(event, Pong)]
    assert len(pongs) > 0
    assert pongs == texts[: len(pongs)]


@pytest.mark.parametrize("window", [1, 3])
def test_an_empty_message_after_every_echo_is_a_failure_with_any_window(window: int) -> None:
    behaviour = raw(lambda payload: [frame(0x81, payload) + frame(0x81, b"")])
    assert failures(drive(behaviour, window_s=0.02, window=window)) == {"body"}


@pytest.mark.parametrize("exchange", ["echo", "broadcast", "idle"])
def test_a_ping_between_slices_is_answered_and_no_failure(exchange: Exchange) -> None:
    async def behave(reader: asyncio.StreamReader, writer: Writer) -> None:
        protocol = await accepted(reader, writer)
        while data := await reader.read(65536):
            protocol.receive_data(data)
            for event in protocol.events():
                if isinstance(event, TextMessage):
                    writer.write(protocol.send(TextMessage(event.data)))
                    asyncio.get_running_loop().call_later(0.01, writer.write, frame(0x89, b"there?"))
                elif isinstance(event, CloseConnection):
                    return

    assert failures(drive(behave, exchange=exchange, slices=3)) == set()
