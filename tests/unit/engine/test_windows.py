"""WebSockets with several messages in flight, against servers that answer well, badly, and in odd pieces."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
import wsproto
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage

from loadtests.engine.protocol import Target
from loadtests.engine.tally import SliceResult
from tests.support.groups import WINDOW_S, failures, group_of
from tests.support.scripted import Behaviour, ScriptedServer

WINDOW = 16
CONNECTIONS = 2

Server = wsproto.WSConnection
Answer = Callable[[Server, list[str]], bytes]


class Talk:
    """The server's end of one WebSocket: reads messages, however many come at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.protocol = Server(wsproto.ConnectionType.SERVER)
        self.pongs: list[bytes] = []

    async def read(self) -> list[str]:
        """The messages that came; raises `ConnectionError` at the end."""
        data = await self._reader.read(1 << 18)
        if not data:
            raise ConnectionError
        self.protocol.receive_data(data)
        return list(self._texts())

    def _texts(self) -> Iterator[str]:
        for event in self.protocol.events():
            if isinstance(event, Request):
                self.writer.write(self.protocol.send(AcceptConnection()))
            elif isinstance(event, TextMessage):
                assert event.message_finished
                yield event.data
            elif isinstance(event, Pong):
                self.pongs.append(bytes(event.payload))
            elif isinstance(event, CloseConnection):
                raise ConnectionError


def echoes(protocol: Server, texts: list[str]) -> bytes:
    return b"".join(protocol.send(TextMessage(text)) for text in texts)


def answering_all(answer: Answer) -> Behaviour:
    """Answers together what came together."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(reader, writer)
        while True:
            texts = await talk.read()
            if texts:
                writer.write(answer(talk.protocol, texts))

    return behave


def answering_full_windows(answer: Answer) -> Behaviour:
    """Answers as soon as it has as many messages as may be in flight, wherever they were cut."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk, texts = Talk(reader, writer), list[str]()
        while True:
            texts += await talk.read()
            if len(texts) >= WINDOW:
                writer.write(answer(talk.protocol, texts))
                texts.clear()

    return behave


def drive(behaviour: Behaviour, *, timeout_s: float = 5.0, slices: int = 1) -> SliceResult:
    """The result of the last slice."""
    with ScriptedServer(behaviour) as server:
        goal = Target(
            "127.0.0.1", server.port, "websocket", path="/ws/echo", window=WINDOW, timeout_s=timeout_s
        )
        with group_of(goal, CONNECTIONS) as group:
            for _ in range(slices):
                group.prepare()
                result = group.run_slice(WINDOW_S)
    return result


def test_every_message_is_counted_once_and_all_but_the_first_windows_are_timed() -> None:
    seen = 0

    def counting(protocol: Server, texts: list[str]) -> bytes:
        nonlocal seen
        seen += len(texts)
        return echoes(protocol, texts)

    result = drive(answering_all(counting))
    assert failures(result) == set()
    assert result.completed + result.drained == seen > WINDOW * CONNECTIONS
    assert sum(result.histogram.values()) == seen - WINDOW * CONNECTIONS


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 65, 67, 100, 131, 1000])
def test_echoes_that_come_back_split_at_odd_places_are_correct(piece_bytes: int) -> None:
    async def in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(reader, writer)
        while True:
            data = echoes(talk.protocol, await talk.read())
            for begin in range(0, len(data), piece_bytes):
                writer.write(data[begin : begin + piece_bytes])
                await writer.drain()
                await asyncio.sleep(0)

    result = drive(in_pieces)
    assert failures(result) == set()
    assert result.completed + result.drained >= WINDOW * CONNECTIONS


def test_no_more_messages_are_in_flight_than_the_window_and_the_window_is_kept_full() -> None:
    most: list[int] = []

    async def hoarding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one message at a time, and only when no room is left, or when no more come."""
        talk, held = Talk(reader, writer), list[str]()
        while True:
            try:
                held += await asyncio.wait_for(talk.read(), 0.2)
            except TimeoutError:
                writer.write(echoes(talk.protocol, held))
                held.clear()
            most.append(len(held))
            if len(held) >= WINDOW:
                writer.write(echoes(talk.protocol, [held.pop(0)]))

    result = drive(hoarding)
    assert failures(result) == set()
    assert max(most) == WINDOW
    assert most.count(WINDOW) > 2 * CONNECTIONS
    assert result.drained == WINDOW * CONNECTIONS


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda texts: [texts[1], texts[0], *texts[2:]], id="reordered"),
        pytest.param(lambda texts: [texts[0], *texts], id="duplicated at once"),
        pytest.param(lambda texts: [*texts, texts[-1]], id="duplicated at the end"),
        pytest.param(lambda texts: texts[1:], id="one left out"),
        pytest.param(lambda texts: [*texts[:-1], texts[-1][:-1] + "!"], id="last byte of the last"),
    ],
)
def test_echoes_that_are_not_the_messages_in_their_order_are_a_wrong_body(
    wrong: Callable[[list[str]], list[str]],
) -> None:
    result = drive(answering_full_windows(lambda protocol, texts: echoes(protocol, wrong(texts))))
    assert failures(result) == {"body"}


def test_a_binary_echo_among_text_is_a_wrong_body() -> None:
    def one_binary(protocol: Server, texts: list[str]) -> bytes:
        return echoes(protocol, texts[:5]) + protocol.send(BytesMessage(texts[5].encode()))

    result = drive(answering_full_windows(one_binary))
    assert failures(result) == {"body"}
    assert result.completed + result.drained == 5 * CONNECTIONS
    assert result.failures["body"] == (WINDOW - 5) * CONNECTIONS


def test_a_ping_in_the_middle_is_answered_and_disturbs_no_echo() -> None:
    talks: list[Talk] = []
    seen = 0

    async def pinging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        talk = Talk(reader, writer)
        talks.append(talk)
        while True:
            texts = await talk.read()
            seen += len(texts)
            half = len(texts) // 2
            ping = talk.protocol.send(Ping(payload=b"there?"))
            writer.write(echoes(talk.protocol, texts[:half]) + ping + echoes(talk.protocol, texts[half:]))

    result = drive(pinging)
    assert failures(result) == set()
    assert result.completed + result.drained == seen
    assert all(b"there?" in talk.pongs for talk in talks)


def test_echoes_in_fragments_are_correct() -> None:
    def fragmented(protocol: Server, texts: list[str]) -> bytes:
        return b"".join(
            protocol.send(TextMessage(text[:10], message_finished=False))
            + protocol.send(TextMessage(text[10:]))
            for text in texts
        )

    result = drive(answering_all(fragmented))
    assert failures(result) == set()
    assert result.completed > 0


def test_a_reset_fails_every_message_in_flight() -> None:
    async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk, held = Talk(reader, writer), 0
        while held < WINDOW:
            held += len(await talk.read())
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    result = drive(resetting)
    assert failures(result) == {"reset"}
    assert result.failures["reset"] == WINDOW * CONNECTIONS
    assert result.completed == result.drained == 0


def test_a_close_frame_after_four_echoes_fails_the_twelve_others() -> None:
    def four(protocol: Server, texts: list[str]) -> bytes:
        return echoes(protocol, texts[:4]) + protocol.send(CloseConnection(code=1001))

    result = drive(answering_full_windows(four))
    assert result.completed + result.drained == 4 * CONNECTIONS
    assert failures(result) == {"reset"}
    assert result.failures["reset"] == 12 * CONNECTIONS
    assert result.closed_by_server == CONNECTIONS


def test_silence_times_out_for_every_message_in_flight() -> None:
    result = drive(answering_all(lambda _protocol, _texts: b""), timeout_s=0.1)
    assert failures(result) == {"timeout"}
    assert result.failures["timeout"] == WINDOW * CONNECTIONS


def test_the_windows_are_empty_between_slices_and_the_next_slice_uses_the_same_connections() -> None:
    result = drive(answering_all(echoes), slices=3)
    assert failures(result) == set()
    assert result.opened == 0
    assert sum(result.histogram.values()) == result.completed + result.drained - WINDOW * CONNECTIONS


def test_a_message_between_slices_that_nobody_asked_for_is_a_wrong_body_of_the_next_slice() -> None:
    talks: list[Talk] = []

    async def keeping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(reader, writer)
        talks.append(talk)
        while True:
            writer.write(echoes(talk.protocol, await talk.read()))

    with ScriptedServer(keeping) as server:
        goal = Target("127.0.0.1", server.port, "websocket", path="/ws/echo", window=WINDOW)
        with group_of(goal, CONNECTIONS) as group:
            group.prepare()
            assert failures(group.run_slice(WINDOW_S)) == set()
            raw = talks[0].writer.get_extra_info("socket")
            socket.socket.send(raw._sock, talks[0].protocol.send(TextMessage("by the way")))
            group.prepare()
            result = group.run_slice(WINDOW_S)
    assert result.failures["body"] == 1
