"""WebSockets that are held open and carry nothing: kept, pinged, ended by the server."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Pong, Request, TextMessage

from gatebench.contract.file import load_contract
from gatebench.contract.site import wait_until_accepting
from gatebench.machine.kernel import fresh_port, raise_open_file_limit
from gatebench.words.paths import HOST
from loadtests.engine.fleet import Fleet
from loadtests.engine.protocol import Target
from loadtests.engine.tally import SliceResult
from tests.support.groups import WINDOW_S, failures, group_of
from tests.support.groups import target as http_target
from tests.support.scripted import ANSWER, ScriptedServer, answering
from tests.support.websockets import forbidding, goal, shaking_hands

CONNECTIONS = 3
SOON_S = 10.0
MANY = 5000
MOST_MIB = 200


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)


class Holder:
    """A server that accepts WebSockets and keeps them; what it gets is in `seen`."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.protocols: list[wsproto.WSConnection] = []
        self.seen: list[Event] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    async def behave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.loop = asyncio.get_running_loop()
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        while data := await reader.read(65536):
            protocol.receive_data(data)
            for event in protocol.events():
                if isinstance(event, Request):
                    writer.write(protocol.send(AcceptConnection()))
                    self.writers.append(writer)
                    self.protocols.append(protocol)
                else:
                    self.seen.append(event)

    def send(self, number: int, event: Event) -> None:
        """Sends from another thread, while nothing else is under way on that connection."""
        self.writers[number].get_extra_info("socket")._sock.send(self.protocols[number].send(event))

    def ping_all(self) -> None:
        for number in range(len(self.writers)):
            self.send(number, Ping(payload=b"there?"))

    @property
    def pongs(self) -> int:
        return sum(isinstance(event, Pong) and event.payload == b"there?" for event in self.seen)


def idle_slice_in_which(what: Callable[[Holder], None]) -> tuple[SliceResult, SliceResult]:
    """The result of a slice in whose middle this happens, and that of the next."""
    holder = Holder()
    with ScriptedServer(holder.behave) as server, group_of(goal(server.port, "idle"), CONNECTIONS) as group:
        group.prepare()
        happening = threading.Timer(WINDOW_S, what, [holder])
        happening.start()
        result = group.run_slice(4 * WINDOW_S)
        happening.join()
        group.prepare()
        return result, group.run_slice(WINDOW_S)


def test_idle_connections_are_held_and_counted_and_nothing_is_sent() -> None:
    first, second = idle_slice_in_which(lambda _: None)
    for result in (first, second):
        assert failures(result) == set()
        assert result.completed == CONNECTIONS
        assert (result.opened, result.bytes_sent, result.bytes_received) == (0, 0, 0)


def test_pings_are_answered_within_a_slice() -> None:
    holders: list[Holder] = []

    def ping(holder: Holder) -> None:
        holder.ping_all()
        holders.append(holder)
        wait_until(lambda: holder.pongs == CONNECTIONS)

    first, second = idle_slice_in_which(ping)
    assert failures(first) == failures(second) == set()
    assert holders[0].pongs == CONNECTIONS


@pytest.mark.parametrize("way", ["end", "reset", "close frame"])
def test_a_server_that_ends_an_idle_connection_is_seen_and_the_next_slice_has_it_again(way: str) -> None:
    def end_one(holder: Holder) -> None:
        raw = holder.writers[1].get_extra_info("socket")._sock
        if way == "close frame":
            holder.send(1, CloseConnection(code=1001))
        elif way == "end":
            raw.shutdown(socket.SHUT_WR)
        else:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            assert holder.loop is not None
            holder.loop.call_soon_threadsafe(holder.writers[1].transport.abort)

    first, second = idle_slice_in_which(end_one)
    assert failures(first) == {"reset"}
    assert first.failures["reset"] == first.closed_by_server == 1
    assert failures(second) == set()
    assert second.completed == CONNECTIONS


def test_a_message_to_an_idle_connection_is_a_wrong_body() -> None:
    first, _ = idle_slice_in_which(lambda holder: holder.send(1, TextMessage("by the way")))
    assert first.failures["body"] == 1
    assert "by the way" in first.examples["body"]


def test_where_nobody_accepts_all_are_refused_and_the_reason_is_kept() -> None:
    with (
        ScriptedServer(shaking_hands(forbidding)) as server,
        group_of(goal(server.port, "idle"), CONNECTIONS) as group,
    ):
        group.prepare()
        result = group.run_slice(WINDOW_S)
    assert failures(result) == {"refused"}
    assert result.failures["refused"] == CONNECTIONS
    assert "403" in result.examples["refused"]
    assert result.completed == 0


def open_all(fleet: Fleet, group: str, target: Target, connections: int) -> None:
    fleet.add_group(group, target)
    for number in range(connections):
        fleet.open(group, str(number))
    fleet.prepare(group)


def test_pings_are_answered_while_it_is_the_turn_of_another_group() -> None:
    holder = Holder()
    with (
        ScriptedServer(holder.behave) as idle,
        ScriptedServer(answering(ANSWER)) as other,
        Fleet() as fleet,
    ):
        open_all(fleet, "idle", goal(idle.port, "idle"), CONNECTIONS)
        open_all(fleet, "other", http_target(other.port), 1)
        holder.ping_all()

        def answered_after_a_turn() -> bool:
            fleet.prepare("other")
            assert failures(fleet.run_slice("other", 0.01)) == set()
            return holder.pongs == CONNECTIONS

        wait_until(answered_after_a_turn)
        result = fleet.run_slice("idle", 0.01)
    assert failures(result) == set()
    assert result.completed == CONNECTIONS


def test_a_message_between_slices_counts_in_the_next_although_another_group_had_its_turn() -> None:
    holder = Holder()
    with (
        ScriptedServer(holder.behave) as idle,
        ScriptedServer(answering(ANSWER)) as other,
        Fleet() as fleet,
    ):
        open_all(fleet, "idle", goal(idle.port, "idle"), CONNECTIONS)
        open_all(fleet, "other", http_target(other.port), 1)
        fleet.run_slice("idle", 0.01)
        holder.send(1, TextMessage("by the way"))
        fleet.prepare("other")
        fleet.run_slice("other", 0.01)
        fleet.prepare("idle")
        result = fleet.run_slice("idle", 0.01)
    assert result.failures["body"] == 1
    assert result.completed == CONNECTIONS


@pytest.fixture
def many_files() -> Iterator[None]:
    """Lets this process, and those that it starts, have as many open files as they may."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if raise_open_file_limit() < MANY + 100:
        pytest.skip(f"needs {MANY + 100} open files: raise the hard limit with `ulimit -Hn`")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def null_server(many_files: None) -> Iterator[int]:
    contract, port = load_contract(), fresh_port(HOST, set())
    with subprocess.Popen([sys.executable, "-m", "loadtests.null_server", "--port", str(port)]) as process:
        try:
            wait_until_accepting(
                HOST, port, deadline_s=20, alive=lambda: process.poll() is None, contract=contract
            )
            yield port
        finally:
            process.terminate()


def test_one_engine_holds_five_thousand_websockets_in_little_memory(null_server: int) -> None:
    with Fleet() as fleet:
        engine = psutil.Process(fleet.pids[0])
        open_all(fleet, "idle", goal(null_server, "idle"), MANY)
        result = fleet.run_slice("idle", 0.2)
        memory_mib = engine.memory_info().rss / 2**20
    assert failures(result) == set()
    assert result.completed == MANY
    assert memory_mib < MOST_MIB


def test_more_connections_than_one_poll_serves_are_all_seen_to_have_been_closed_while_idle(
    many_files: None,
) -> None:
    """Unless it is asked for more, epoll hands out 1,023 events at a time."""
    many = 1200
    with (
        socket.create_server((HOST, 0), backlog=4096) as listener,
        group_of(http_target(listener.getsockname()[1]), many) as group,
    ):
        for _ in range(3):
            group.prepare()
            assert close_all(listener) == many


def close_all(listener: socket.socket) -> int:
    """Accepts the connections that are there and closes them; returns how many they were."""
    listener.setblocking(False)
    accepted = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            accepted += 1
    return accepted
