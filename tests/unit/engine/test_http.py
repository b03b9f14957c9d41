"""The engine against HTTP servers that answer well, badly, in pieces, or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest

from loadtests.engine.protocol import Transport
from loadtests.engine.tally import SliceResult
from tests.support.groups import WINDOW_S, failures, group_of, target
from tests.support.scripted import ANSWER, BODY, Behaviour, ScriptedServer, answering, request


def drive(
    behaviour: Behaviour,
    *,
    transport: Transport = "keep-alive",
    connections: int = 2,
    timeout_s: float = 2.0,
    slices: int = 1,
) -> SliceResult:
    """The result of the last slice against a server that behaves so."""
    with (
        ScriptedServer(behaviour) as server,
        group_of(target(server.port, transport, timeout_s), connections) as group,
    ):
        for _ in range(slices):
            group.prepare()
            result = group.run_slice(WINDOW_S)
    return result


def test_correct_answers_are_counted_and_nothing_fails() -> None:
    result = drive(answering(ANSWER))
    assert result.completed > 2
    assert failures(result) == set()


def test_every_request_is_counted_once_as_completed_or_drained() -> None:
    seen = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        while True:
            await request(reader)
            seen += 1
            writer.write(ANSWER)

    result = drive(counting, connections=8)
    assert result.completed + result.drained == seen
    assert result.drained <= 8


def test_the_first_request_of_each_connection_is_not_timed() -> None:
    result = drive(answering(ANSWER), connections=4)
    assert sum(result.histogram.values()) == result.completed + result.drained - 4


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_an_answer_that_is_split_anywhere_is_correct(cut: int) -> None:
    result = drive(answering(ANSWER[:cut], ANSWER[cut:]), connections=1)
    assert failures(result) == set()
    assert result.completed + result.drained >= 1


def test_an_answer_that_arrives_byte_by_byte_is_correct() -> None:
    result = drive(answering(*(bytes([byte]) for byte in ANSWER)), connections=1)
    assert failures(result) == set()
    assert result.completed + result.drained >= 1


def test_a_chunked_answer_is_correct() -> None:
    chunked = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nHello\r\n8\r\n, World!\r\n0\r\n\r\n"
    )
    result = drive(answering(chunked))
    assert failures(result) == set()
    assert result.completed > 0


def test_a_header_that_changes_with_every_answer_is_correct() -> None:
    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(100_000):
            await request(reader)
            writer.write(ANSWER.replace(b"\r\n\r\n", b"\r\nX-Number: %d\r\n\r\n" % number))

    result = drive(counting)
    assert failures(result) == set()
    assert result.completed > 0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (ANSWER.replace(b"World", b"Wor1d"), "body"),
        (ANSWER.replace(b"200 OK", b"500 Oh"), "status"),
        (ANSWER.replace(b"text/plain", b"text/wrong"), "status"),
        (ANSWER.replace(b"HTTP/1.1", b"HTPP/1.1"), "status"),
        (ANSWER.replace(b"Length: 13", b"Length: 14") + b"!", "body"),
        (ANSWER + b"surplus", "body"),
    ],
)
def test_a_wrong_answer_is_counted_under_its_own_kind(answer: bytes, kind: str) -> None:
    result = drive(answering(answer))
    assert failures(result) == {kind}
    assert result.completed == 0


def test_one_wrong_byte_among_correct_answers_is_found() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(100_000):
            await request(reader)
            writer.write(ANSWER.replace(b"d!", b"d?") if number == 20 else ANSWER)

    result = drive(once, connections=1)
    assert result.failures["body"] >= 1
    assert "World?" in result.examples["body"]


def test_an_answer_that_ends_early_is_short() -> None:
    result = drive(answering(ANSWER[:-3], then_close=True))
    assert failures(result) == {"short"}


def test_a_connection_closed_without_an_answer_is_a_reset() -> None:
    result = drive(answering(then_close=True))
    assert failures(result) == {"reset"}


def test_a_reset_in_the_middle_is_a_reset() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    assert failures(drive(reset)) == {"reset"}


@pytest.mark.parametrize("transport", ["keep-alive", "close"])
def test_a_port_where_nobody_listens_is_refused_and_not_hammered(transport: Transport) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with group_of(target(unused.getsockname()[1], transport), 2) as group:
            group.prepare()
            result = group.run_slice(WINDOW_S)
    assert failures(result) == {"refused"}
    assert result.failures["refused"] <= 2 * (WINDOW_S / 0.010 + 1)


def test_a_server_that_never_answers_times_out_and_the_slice_ends() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.get_extra_info("peername")
        await asyncio.sleep(30)

    result = drive(silent, connections=3, timeout_s=0.1)
    assert failures(result) == {"timeout"}
    assert result.failures["timeout"] >= 3


def test_a_connection_closed_while_idle_is_neither_an_error_nor_missing() -> None:
    async def closes_when_idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.wait_for(request(reader), 0.02)
            writer.write(ANSWER)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await closes_when_idle(reader, writer)
        except TimeoutError:
            return

    with ScriptedServer(behave) as server, group_of(target(server.port), 2) as group:
        group.prepare()
        first = group.run_slice(WINDOW_S)
        with socket.create_connection(("127.0.0.1", server.port)) as other:
            assert other.recv(1) == b""  # as long as an idle connection lives there
        group.prepare()
        second = group.run_slice(WINDOW_S)
    assert failures(first) == failures(second) == set()
    assert second.completed > 0


def test_bytes_that_come_after_the_last_answer_of_a_slice_count_in_the_next() -> None:
    async def babbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(ANSWER)
            asyncio.get_running_loop().call_later(2 * WINDOW_S, writer.write, b"by the way")

    with ScriptedServer(babbles) as server, group_of(target(server.port), 1) as group:
        group.prepare()
        group.run_slice(0.0001)
        time.sleep(4 * WINDOW_S)
        group.prepare()
        assert group.run_slice(0.0001).failures["body"] == 1


def test_a_keep_alive_server_that_announces_the_close_is_reconnected_to_and_reported() -> None:
    closing = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    result = drive(answering(closing, then_close=True))
    assert failures(result) == set()
    assert result.closed_by_server == result.completed + result.drained
    assert result.opened >= result.completed - 2


def test_a_connection_that_ends_with_an_answer_is_not_asked_again_whatever_others_expect() -> None:
    last = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    connections = iter(range(1_000_000))

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Out of step, so that some connections go on while others end.
        for number in range(3 + next(connections) % 5, -1, -1):
            await request(reader)
            writer.write(ANSWER if number else last)

    result = drive(behave, connections=8)
    assert failures(result) == set()
    assert result.closed_by_server > 8


def test_close_opens_a_connection_for_each_request_and_says_so_to_the_server() -> None:
    heads: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request(reader))
        writer.write(ANSWER)

    result = drive(behave, transport="close")
    assert result.opened == result.completed + result.drained == len(heads)
    assert all(b"Connection: close\r\n" in head for head in heads)


def test_a_body_that_ends_with_the_connection_is_correct() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + BODY
    result = drive(answering(endless, then_close=True), transport="close")
    assert failures(result) == set()
    assert result.completed > 0
