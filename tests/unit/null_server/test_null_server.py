"""The null responder, driven by the engine over every transport, and by hand where a client may be odd."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Self

import pytest
import wsproto
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from gatebench.contract.file import load_contract
from gatebench.contract.site import wait_until_accepting
from gatebench.contract.verify import verify
from gatebench.load.targets import http_target
from gatebench.machine.kernel import fresh_port
from gatebench.words.model import Capability
from loadtests.engine.fleet import Fleet
from loadtests.engine.protocol import Target, Transport
from loadtests.engine.tally import SliceResult
from loadtests.null_server.answers import chunked

HOST = "127.0.0.1"
PATIENCE_S = 20.0
CONTRACT = load_contract()
ALL_OF_IT: frozenset[Capability] = frozenset({"close", "keep-alive", "websocket", "streaming"})
HELLO = CONTRACT.expect("GET", "/plaintext").body
GET_HELLO = b"GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    chosen = fresh_port(HOST, set())
    command = [sys.executable, "-m", "loadtests.null_server", "--port", str(chosen)]
    with subprocess.Popen(command) as process:
        try:
            wait_until_accepting(
                HOST, chosen, deadline_s=PATIENCE_S, alive=lambda: process.poll() is None, contract=CONTRACT
            )
            yield chosen
            assert process.poll() is None, "it has ended by itself"
        finally:
            process.terminate()


def asking(port: int, transport: Transport, path: str, *, method: str = "GET", body: bytes = b"") -> Target:
    return http_target(CONTRACT, HOST, port, transport, method, path, body)


def drive(target: Target, *, connections: int = 4) -> SliceResult:
    with Fleet() as fleet:
        fleet.add_group("null", target)
        for number in range(connections):
            fleet.open("null", str(number))
        fleet.prepare("null")
        return fleet.run_slice("null", 0.1)


def assert_no_failures(result: SliceResult) -> None:
    assert not any(result.failures.values()), result.examples
    assert result.completed + result.drained > 0


@pytest.mark.parametrize("transport", ["keep-alive", "close"])
@pytest.mark.parametrize(
    "path",
    ["/", "/plaintext", "/json", "/bytes/0", "/bytes/1024", "/bytes/1048576", "/stream/0", "/stream/1000"],
)
def test_the_engine_finds_no_fault_with_any_answer(port: int, transport: Transport, path: str) -> None:
    assert_no_failures(drive(asking(port, transport, path)))


@pytest.mark.parametrize("transport", ["keep-alive", "close"])
@pytest.mark.parametrize("size", [0, 13, 65_536, 1 << 20])
def test_the_engine_finds_no_fault_with_any_upload(port: int, transport: Transport, size: int) -> None:
    body = CONTRACT.expect("GET", f"/bytes/{size}").body
    assert_no_failures(drive(asking(port, transport, "/echo", method="POST", body=body)))


@pytest.mark.parametrize("size", [16, 64, 125, 126, 4096, 65_535, 65_536, 1 << 20])
def test_the_engine_finds_no_fault_with_any_echo(port: int, size: int) -> None:
    target = Target(HOST, port, "websocket", path="/ws/echo", message_bytes=size)
    assert_no_failures(drive(target))


def test_the_engine_finds_no_fault_with_a_window_of_messages_in_flight(port: int) -> None:
    assert_no_failures(drive(Target(HOST, port, "websocket", path="/ws/echo", window=32)))


def test_the_engine_finds_no_fault_with_broadcasts(port: int) -> None:
    target = Target(HOST, port, "websocket", path="/ws/broadcast", exchange="broadcast")
    assert_no_failures(drive(target, connections=16))


def test_the_engine_finds_no_fault_with_handshakes(port: int) -> None:
    assert_no_failures(drive(Target(HOST, port, "websocket", path="/ws/echo", exchange="handshake")))


def test_a_kept_connection_is_not_opened_again_and_a_closed_one_is(port: int) -> None:
    kept = drive(asking(port, "keep-alive", "/plaintext"))
    closed = drive(asking(port, "close", "/plaintext"))
    assert kept.closed_by_server == 0
    assert kept.opened == 0
    assert closed.opened == closed.completed + closed.drained


def test_it_holds_to_the_contract_where_no_application_is_asked(port: int) -> None:
    found = verify("asgi", ALL_OF_IT, HOST, port, CONTRACT, thorough=True, timeout_s=PATIENCE_S)
    # It waits for nothing, and was handed nothing that it could show.
    assert {each.case for each in found} == {"GET /wait/5", "GET /wait/200", "GET /interface"}
    assert {each.aspect for each in found if each.case.startswith("GET /wait")} == {"time"}


def test_a_stream_is_sent_in_a_chunk_for_each_piece() -> None:
    assert chunked(b"000000\n000001\n") == b"7\r\n000000\n\r\n7\r\n000001\n\r\n0\r\n\r\n"


class Client:
    """A plain connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> bytes:
        self.socket.sendall(request)
        return self.to_the_end()

    def to_the_end(self) -> bytes:
        received = bytearray()
        while piece := self.socket.recv(65_536):
            received += piece
        return bytes(received)


def closing(request: bytes) -> bytes:
    return request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


def test_a_request_may_come_byte_by_byte(port: int) -> None:
    with Client(port) as client:
        for byte in closing(GET_HELLO):
            client.socket.sendall(bytes((byte,)))
        answer = client.to_the_end()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n" + HELLO)


def test_several_requests_in_one_packet_are_answered_in_order(port: int) -> None:
    upload = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nback"
    with Client(port) as client:
        answers = client.ask(GET_HELLO + upload + closing(GET_HELLO)).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [HELLO, b"back", HELLO]


def test_two_uploads_of_the_same_size_are_not_mixed_up(port: int) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with Client(port) as client:
        answers = client.ask(head + b"a" * 100_000 + closing(head) + b"b" * 100_000)
    assert answers.count(b"a" * 100_000) == 1
    assert answers.endswith(b"b" * 100_000)


def test_a_client_that_reads_late_gets_the_whole_answer_and_then_the_end(port: int) -> None:
    request = closing(b"GET /bytes/16777216 HTTP/1.1\r\nHost: x\r\n\r\n")
    with Client(port) as slow:
        slow.socket.sendall(request)
        with Client(port) as other:  # who is served meanwhile
            assert other.ask(closing(GET_HELLO)).endswith(HELLO)
        assert slow.to_the_end().endswith(CONTRACT.expect("GET", "/bytes/16777216").body)


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
    ],
)
def test_a_request_that_it_cannot_read_is_refused_and_ends_the_connection(
    port: int, request_head: bytes, status: int
) -> None:
    with Client(port) as client:
        assert client.ask(request_head).startswith(b"HTTP/1.1 %d " % status)


class SocketClient(Client):
    """An open WebSocket."""

    def __init__(self, port: int, path: str = "/ws/echo") -> None:
        super().__init__(port)
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.socket.sendall(self.protocol.send(Request(host=HOST, target=path)))
        self.events(AcceptConnection, 1)

    def events(self, kind: type[Event], count: int) -> list[Event]:
        """Every event up to the one that is the `count`-th of its kind; a message in parts counts once."""
        found: list[Event] = []
        while count:
            found += (fresh := list(self.protocol.events()))
            count -= sum(isinstance(each, kind) and getattr(each, "message_finished", True) for each in fresh)
            if count > 0:
                piece = self.socket.recv(65_536)
                assert piece, f"the connection ended, {count} events too early"
                self.protocol.receive_data(piece)
        return found

    def texts(self, count: int) -> list[str]:
        return [event.data for event in self.events(TextMessage, count) if isinstance(event, TextMessage)]


def test_many_messages_in_flight_come_back_in_order(port: int) -> None:
    texts = [f"message {number}" for number in range(2000)]
    with SocketClient(port) as client:
        client.socket.sendall(b"".join(client.protocol.send(TextMessage(text)) for text in texts))
        assert client.texts(len(texts)) == texts


@pytest.mark.parametrize("size", [0, 5, 126, 70_000])
def test_a_frame_may_come_in_any_pieces(port: int, size: int) -> None:
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    with SocketClient(port) as client:
        frames = client.protocol.send(BytesMessage(payload)) + client.protocol.send(TextMessage("next"))
        for start in range(20):
            client.socket.sendall(frames[start : start + 1])
        client.socket.sendall(frames[20:])
        events = client.events(TextMessage, 1)
    assert b"".join(event.data for event in events if isinstance(event, BytesMessage)) == payload
    assert [event.data for event in events if isinstance(event, TextMessage)] == ["next"]


def test_a_message_in_fragments_comes_back_whole_with_a_ping_between_them(port: int) -> None:
    with SocketClient(port) as client:
        first = client.protocol.send(TextMessage("one ", message_finished=False))
        ping = client.protocol.send(Ping(b"there?"))
        second = client.protocol.send(TextMessage("message", message_finished=True))
        client.socket.sendall(first + ping + second)
        events = client.events(TextMessage, 1)
    assert [bytes(event.payload) for event in events if isinstance(event, Pong)] == [b"there?"]
    assert [event.data for event in events if isinstance(event, TextMessage)] == ["one message"]


def test_a_close_right_behind_a_message_is_answered_after_it(port: int) -> None:
    with SocketClient(port) as client:
        message = client.protocol.send(TextMessage("last words"))
        client.socket.sendall(message + client.protocol.send(CloseConnection(code=1000)))
        assert [type(event) for event in client.events(CloseConnection, 1)] == [TextMessage, CloseConnection]
        assert client.to_the_end() == b""


def test_an_unmasked_frame_ends_the_websocket(port: int) -> None:
    with SocketClient(port) as client:
        assert client.ask(b"\x81\x02hi") == b""


def test_a_broadcast_reaches_every_socket_that_is_open_and_only_those(port: int) -> None:
    with SocketClient(port, "/ws/broadcast") as sender, SocketClient(port, "/ws/broadcast") as other:
        with SocketClient(port, "/ws/broadcast") as gone:
            assert gone.protocol
        for text in ("one", "two"):
            sender.socket.sendall(sender.protocol.send(TextMessage(text)))
        assert sender.texts(2) == ["one", "two"]
        assert other.texts(2) == ["one", "two"]


def test_a_port_that_is_taken_is_an_error(port: int) -> None:
    command = [sys.executable, "-m", "loadtests.null_server", "--port", str(port)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode != 0
    assert "Address already in use" in ended.stderr
