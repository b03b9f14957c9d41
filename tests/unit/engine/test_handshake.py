"""WebSockets that are opened and closed again and again, against servers that shake hands well or badly."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Request

from gatebench.words.paths import HOST
from loadtests.engine.tally import SliceResult
from tests.support.groups import WINDOW_S, failures, group_of
from tests.support.scripted import ANSWER, Behaviour, ScriptedServer, request
from tests.support.websockets import Half, forbidding, goal, proof_of, shaking_hands

CONNECTIONS = 3


def accepting(proof: bytes) -> bytes:
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )


def with_header(line: bytes) -> Half:
    return lambda proof: accepting(proof).replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")


def storm(behaviour: Behaviour, *, timeout_s: float = 5.0) -> SliceResult:
    with (
        ScriptedServer(behaviour) as server,
        group_of(goal(server.port, "handshake", timeout_s), CONNECTIONS) as group,
    ):
        group.prepare()
        return group.run_slice(WINDOW_S)


def test_every_handshake_is_counted_once_and_opens_a_connection_of_its_own() -> None:
    seen: list[bytes] = []
    result = storm(shaking_hands(accepting, seen=seen))
    assert failures(result) == set()
    done = result.completed + result.drained
    heads = [head for head in seen if head.startswith(b"GET ")]
    assert done == result.opened == len(heads) > CONNECTIONS
    assert sum(result.histogram.values()) == done - CONNECTIONS


def test_the_client_asks_as_the_protocol_has_it_and_says_goodbye_with_a_close_frame() -> None:
    seen: list[bytes] = []
    storm(shaking_hands(accepting, seen=seen))
    server = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    server.receive_data(next(head for head in seen if head.startswith(b"GET ")))
    asked = next(server.events())
    assert isinstance(asked, Request)
    assert asked.target == "/ws/echo"
    assert asked.extensions == asked.subprotocols == []
    server.send(AcceptConnection())
    server.receive_data(next(rest for rest in seen if rest and not rest.startswith(b"GET ")))
    assert next(server.events()) == CloseConnection(code=1000, reason="")


def test_keys_change_from_one_handshake_to_the_next() -> None:
    seen: list[bytes] = []
    storm(shaking_hands(accepting, seen=seen))
    proofs = [proof_of(head) for head in seen[:100] if head.startswith(b"GET ")]
    assert len(set(proofs)) == len(proofs)


def test_an_acceptance_in_pieces_and_with_other_headers_every_time_is_correct() -> None:
    number = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        number += 1
        answer = with_header(b"X-Number: %d" % number)(proof_of(await request(reader)))
        for begin in range(0, len(answer), 50):
            writer.write(answer[begin : begin + 50])
            await asyncio.sleep(0.0005)
        await reader.read()

    result = storm(behave)
    assert failures(result) == set()
    assert result.completed > 0


@pytest.mark.parametrize(
    ("half", "quoted"),
    [
        pytest.param(lambda _: accepting(b"x" * 28), "proof", id="wrong proof"),
        pytest.param(lambda proof: accepting(proof.swapcase()), "proof", id="proof in other letters"),
        pytest.param(
            with_header(b"Sec-WebSocket-Extensions: permessage-deflate"), "permessage-deflate", id="extension"
        ),
        pytest.param(with_header(b"Sec-WebSocket-Protocol: chat"), "chat", id="subprotocol"),
        pytest.param(
            lambda proof: accepting(proof).replace(b"Upgrade: websocket", b"Upgrade: h2c"),
            "upgrade",
            id="another upgrade",
        ),
        pytest.param(
            lambda proof: accepting(proof).replace(b"Connection: Upgrade\r\n", b""),
            "connection",
            id="no Connection header",
        ),
        pytest.param(forbidding, "403", id="403"),
        pytest.param(lambda _: ANSWER, "200 OK", id="an ordinary answer"),
        pytest.param(lambda _: b"SSH-2.0-server\r\n\r\n", "not an HTTP/1.1 answer", id="not HTTP"),
        pytest.param(lambda proof: accepting(proof) + b"\x81\x02hi", "surplus", id="a message behind it"),
        pytest.param(lambda proof: accepting(proof) + b"\x81\x04\r\n\r\n", "surplus", id="a blank message"),
    ],
)
def test_an_acceptance_that_is_wrong_is_a_wrong_status(half: Half, quoted: str) -> None:
    result = storm(shaking_hands(half))
    assert failures(result) == {"status"}
    assert quoted in result.examples["status"]
    assert result.completed == result.drained == 0


def test_one_wrong_proof_after_right_ones_is_found() -> None:
    """The right ones have been recognised by their bytes: the wrong one must not pass for one of them."""
    number = 0

    def one_in_ten(proof: bytes) -> bytes:
        nonlocal number
        number += 1
        return accepting(b"<proof>" if number % 10 == 0 else proof)

    result = storm(shaking_hands(one_in_ten))
    assert number >= 10
    assert failures(result) == {"status"}
    assert result.failures["status"] == number // 10
    assert result.completed + result.drained == number - number // 10


def test_half_an_answer_and_then_the_end_is_short() -> None:
    assert failures(storm(shaking_hands(lambda proof: accepting(proof)[:60], then_close=True))) == {"short"}


def test_the_end_without_an_answer_is_a_reset() -> None:
    assert failures(storm(shaking_hands(lambda _: b"", then_close=True))) == {"reset"}


def test_silence_times_out() -> None:
    result = storm(shaking_hands(lambda _: b""), timeout_s=0.1)
    assert failures(result) == {"timeout"}


def test_a_port_where_nobody_listens_is_refused_and_not_hammered() -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        with group_of(goal(unused.getsockname()[1], "handshake"), CONNECTIONS) as group:
            group.prepare()
            result = group.run_slice(WINDOW_S)
    assert failures(result) == {"refused"}
    assert result.failures["refused"] <= CONNECTIONS * (WINDOW_S / 0.010 + 1)


@pytest.mark.parametrize("by_reset", [True, False])
def test_a_server_that_hangs_up_behind_its_acceptance_does_not_end_the_engine(by_reset: bool) -> None:
    async def hanging_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accepting(proof_of(await request(reader))))
        if by_reset:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    result = storm(hanging_up)
    assert result.completed + result.drained + sum(result.failures.values()) == result.opened > 0
