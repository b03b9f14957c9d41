"""The engine's WebSocket echo against servers that echo well, badly, or in other shapes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import wsproto
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from loadtests.engine.protocol import Target
from loadtests.engine.tally import SliceResult
from loadtests.engine.websocket import MESSAGES, frame_head
from tests.support.groups import WINDOW_S, failures, group_of
from tests.support.scripted import Behaviour, ScriptedServer
from tests.support.websockets import echo, reacting


def drive(
    behaviour: Behaviour, *, message_bytes: int = 64, timeout_s: float = 2.0, connections: int = 2
) -> SliceResult:
    with ScriptedServer(behaviour) as server:
        goal = Target(
            "127.0.0.1",
            server.port,
            "websocket",
            path="/ws/echo",
            message_bytes=message_bytes,
            timeout_s=timeout_s,
        )
        with group_of(goal, connections) as group:
            group.prepare()
            return group.run_slice(WINDOW_S)


@pytest.mark.parametrize("message_bytes", [16, 17, 64, 125, 126, 5000, 65_535, 65_536])
def test_an_echo_of_any_size_is_correct(message_bytes: int) -> None:
    result = drive(reacting(echo), message_bytes=message_bytes)
    assert failures(result) == set()
    assert result.completed > 0


def test_messages_are_masked_numbered_text_of_the_asked_size() -> None:
    seen: list[Event] = []
    drive(reacting(echo, seen), connections=1)  # wsproto refuses unmasked frames from a client
    texts = [event.data for event in seen if isinstance(event, TextMessage)][:MESSAGES]
    assert len(texts) > 2
    assert len(set(texts)) == len(texts)
    assert {len(text) for text in texts} == {64}


def test_an_echo_in_fragments_is_correct() -> None:
    def fragmented(protocol: wsproto.WSConnection, text: str) -> bytes:
        first = protocol.send(TextMessage(text[:10], message_finished=False))
        return first + protocol.send(TextMessage(text[10:], message_finished=True))

    result = drive(reacting(fragmented))
    assert failures(result) == set()
    assert result.completed > 0


def test_a_ping_before_the_echo_is_answered() -> None:
    seen: list[Event] = []

    def pinging(protocol: wsproto.WSConnection, text: str) -> bytes:
        return protocol.send(Ping(payload=b"there?")) + protocol.send(TextMessage(text))

    result = drive(reacting(pinging, seen))
    assert failures(result) == set()
    assert any(isinstance(event, Pong) and event.payload == b"there?" for event in seen)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda text: TextMessage("x" + text[1:]),
        lambda text: TextMessage(text + "!"),
        lambda text: BytesMessage(text.encode()),
    ],
)
def test_an_echo_that_differs_is_a_wrong_body(wrong: Callable[[str], Event]) -> None:
    result = drive(reacting(lambda protocol, text: protocol.send(wrong(text))))
    assert failures(result) == {"body"}


def test_an_echo_of_an_earlier_message_is_a_wrong_body() -> None:
    earlier: dict[int, str] = {}

    def late(protocol: wsproto.WSConnection, text: str) -> bytes:
        answer = earlier.get(id(protocol), text)
        earlier[id(protocol)] = text
        return protocol.send(TextMessage(answer))

    assert failures(drive(reacting(late))) == {"body"}


def test_a_masked_frame_from_the_server_is_a_protocol_error() -> None:
    result = drive(reacting(lambda _, text: frame_head(64, masked=True) + b"\0\0\0\0" + text.encode()))
    assert failures(result) == {"status"}


def test_a_close_frame_instead_of_the_echo_is_a_reset_and_counts_as_closed_by_the_server() -> None:
    result = drive(reacting(lambda protocol, _: protocol.send(CloseConnection(code=1001))))
    assert result.completed == 0
    assert result.failures["reset"] + result.failures["short"] == 2 + result.failures["refused"]
    assert result.closed_by_server == 2


def test_a_refused_upgrade_is_refused_and_the_reason_is_kept() -> None:
    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    result = drive(refusing)
    assert failures(result) == {"refused"}
    assert "403" in result.examples["refused"]


def test_compression_that_nobody_asked_for_is_refused() -> None:
    async def compressing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        list(protocol.events())
        accept = protocol.send(wsproto.events.AcceptConnection())
        writer.write(accept.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))
        await reader.read()

    assert failures(drive(compressing)) == {"refused"}


def test_a_message_that_is_never_echoed_times_out() -> None:
    result = drive(reacting(lambda _protocol, _text: b""), timeout_s=0.1)
    assert failures(result) == {"timeout"}
