"""Several engine processes that are one load: dealt evenly, counted exactly, begun and ended together."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import psutil
import pytest

from loadtests.engine import fleet as fleet_of_engines
from loadtests.engine.fleet import EngineError, Fleet
from loadtests.engine.protocol import Arrivals, Target
from loadtests.engine.tally import SliceResult
from tests.support.groups import failures, target
from tests.support.rooms import Room
from tests.support.rooms import target as broadcast_target
from tests.support.scripted import ANSWER, Behaviour, ScriptedServer, answering, request

WINDOW_S = 0.1
SUBSCRIBERS = 5
SOON_S = 10.0
TWO = (None, None)
THREE = (None, None, None)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def open_all(fleet: Fleet, goal: Target, connections: int) -> None:
    fleet.add_group("cell", goal)
    for number in range(connections):
        fleet.open("cell", str(number))
    assert fleet.prepare("cell") == connections


def held_by(pid: int, port: int) -> int:
    """How many connections to this port a process has."""
    connections = psutil.Process(pid).net_connections("tcp4")
    return sum(
        bool(one.raddr) and one.raddr.port == port and one.status == "ESTABLISHED" for one in connections
    )


class Counting:
    """A server that keeps its own books: answers and bytes, by connection."""

    def __init__(self) -> None:
        self.answered: Counter[int] = Counter()
        self.request_bytes = 0

    async def behave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        while True:
            head = await request(reader)
            self.request_bytes += len(head)
            self.answered[port] += 1
            writer.write(ANSWER)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[list[SliceResult]]:
    """What each engine counted, slice by slice, before it was merged."""
    seen: list[list[SliceResult]] = []
    merge = SliceResult.merge

    def watched(results: Sequence[SliceResult]) -> SliceResult:
        seen.append(list(results))
        return merge(results)

    monkeypatch.setattr(SliceResult, "merge", watched)
    return seen


def test_connections_are_dealt_out_evenly() -> None:
    with ScriptedServer(answering(ANSWER)) as server, Fleet(THREE) as fleet:
        open_all(fleet, target(server.port), 8)
        fleet.run_slice("cell", WINDOW_S)
        assert [held_by(pid, server.port) for pid in fleet.pids] == [3, 3, 2]


def test_each_engine_is_a_process_of_its_own_on_the_core_that_it_was_given() -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    with Fleet((*cores, None)) as fleet:
        fleet.add_group("cell", target(1))  # answered only once the engine has pinned itself
        assert len(set(fleet.pids)) == len(cores) + 1
        pinned = [os.sched_getaffinity(pid) for pid in fleet.pids]
    assert pinned == [*({core} for core in cores), os.sched_getaffinity(0)]


def test_merged_counts_are_exactly_what_the_server_saw(parts: list[list[SliceResult]]) -> None:
    books = Counting()
    with ScriptedServer(books.behave) as server, Fleet(TWO) as fleet:
        open_all(fleet, target(server.port), 6)
        result = fleet.run_slice("cell", WINDOW_S)
    answered = sum(books.answered.values())
    assert failures(result) == set()
    assert result.completed + result.drained == answered > 6
    assert result.bytes_sent == books.request_bytes
    assert result.bytes_received == answered * len(ANSWER)
    assert sum(result.histogram.values()) == answered - 6
    assert len(parts[0]) == 2
    assert result.completed == sum(part.completed for part in parts[0])
    assert result.counted / result.counted_s == pytest.approx(
        sum(part.counted / part.counted_s for part in parts[0])
    )


def test_two_engines_begin_a_slice_together(parts: list[list[SliceResult]]) -> None:
    with ScriptedServer(answering(ANSWER)) as server, Fleet(TWO) as fleet:
        open_all(fleet, target(server.port), 2)
        for _ in range(10):
            fleet.run_slice("cell", 0.01)
    apart_ns = [abs(first.started_unix_ns - second.started_unix_ns) for first, second in parts]
    assert min(apart_ns) < 50_000_000  # the closest of ten: a busy machine may hold up any one of them


def test_an_open_loop_over_two_engines_offers_the_whole_schedule_once(parts: list[list[SliceResult]]) -> None:
    books = Counting()
    with ScriptedServer(books.behave) as server, Fleet(TWO) as fleet:
        open_all(fleet, target(server.port), 4)
        result = fleet.run_slice("cell", WINDOW_S, Arrivals(1010, "poisson", seed=1))
    assert failures(result) == set()
    assert [part.offered for part in parts[0]] == [51, 50]
    assert result.offered == 101 == sum(books.answered.values()) == result.completed + result.drained
    assert sum(result.histograms.get("service", {}).values()) + result.left_out == 101


def test_an_open_loop_begins_a_moment_after_it_was_told_and_not_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet_of_engines, "TOGETHER_S", 0.2)
    with ScriptedServer(answering(ANSWER)) as server, Fleet() as fleet:
        open_all(fleet, target(server.port), 2)
        told_ns = time.time_ns()
        result = fleet.run_slice("cell", WINDOW_S, Arrivals(100, "poisson", seed=1))
    assert result.started_unix_ns >= told_ns + 190_000_000  # the clocks of day and of measuring may differ


def test_an_engine_without_connections_takes_no_part_and_no_share_of_the_schedule(
    parts: list[list[SliceResult]],
) -> None:
    with ScriptedServer(answering(ANSWER)) as server, Fleet(THREE) as fleet:
        open_all(fleet, target(server.port), 2)
        result = fleet.run_slice("cell", WINDOW_S, Arrivals(1000, "poisson", seed=1))
    assert len(parts[0]) == 2
    assert result.unsent == 0
    assert result.completed + result.drained == result.offered == 100


def test_a_connection_is_discarded_where_it_was_opened() -> None:
    with ScriptedServer(answering(ANSWER)) as server, Fleet(TWO) as fleet:
        open_all(fleet, target(server.port), 4)
        fleet.discard("cell", "1")
        fleet.discard("cell", "3")
        assert fleet.prepare("cell") == 2
        assert failures(fleet.run_slice("cell", WINDOW_S)) == set()
        assert [held_by(pid, server.port) for pid in fleet.pids] == [2, 0]


def test_a_group_that_is_removed_leaves_no_connection_on_any_engine() -> None:
    with ScriptedServer(answering(ANSWER)) as server, Fleet(TWO) as fleet:
        open_all(fleet, target(server.port), 4)
        fleet.remove_group("cell")
        assert [held_by(pid, server.port) for pid in fleet.pids] == [0, 0]
        open_all(fleet, target(server.port), 2)
        assert failures(fleet.run_slice("cell", WINDOW_S)) == set()


def test_a_broadcast_stays_on_one_engine_and_everybody_hears_it() -> None:
    room = Room()
    with ScriptedServer(room.behave) as server, Fleet(TWO) as fleet:
        open_all(fleet, broadcast_target(server.port), SUBSCRIBERS)
        result = fleet.run_slice("cell", WINDOW_S)
        assert [held_by(pid, server.port) for pid in fleet.pids] == [SUBSCRIBERS, 0]
    assert failures(result) == set()
    assert result.completed + result.drained == len(room.said) > 0
    assert sum(result.histogram.values()) == len(room.said) * SUBSCRIBERS


def test_bytes_that_come_between_slices_count_in_the_next() -> None:
    sockets: list[asyncio.StreamWriter] = []

    async def keeping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sockets.append(writer)
        await answering(ANSWER)(reader, writer)

    with ScriptedServer(keeping) as server, Fleet(TWO) as fleet:
        open_all(fleet, target(server.port), 2)
        assert failures(fleet.run_slice("cell", WINDOW_S)) == set()
        for writer in sockets:
            writer.get_extra_info("socket")._sock.send(b"by the way")
        fleet.prepare("cell")
        result = fleet.run_slice("cell", WINDOW_S)
    assert result.failures["body"] == 2
    assert result.completed > 0


def killed_in_the_middle(behaviour: Behaviour, victim: int) -> tuple[list[BaseException], tuple[int, ...]]:
    """Kills one of two engines while a slice is under way; what the slice raised, and the engines."""
    raised: list[BaseException] = []
    with ScriptedServer(behaviour) as server, Fleet(TWO) as fleet:
        open_all(fleet, target(server.port), 2)

        def run() -> None:
            try:
                fleet.run_slice("cell", 1.0)
            except EngineError as error:
                raised.append(error)

        running = threading.Thread(target=run)
        running.start()
        time.sleep(0.2)
        os.kill(fleet.pids[victim], signal.SIGKILL)
        running.join(SOON_S)
        assert not running.is_alive(), "the slice hangs"
        pids = fleet.pids
    return raised, pids


@pytest.mark.parametrize("victim", [0, 1])
def test_an_engine_that_is_killed_in_the_middle_of_a_slice_is_an_error_and_the_other_ends(
    victim: int,
) -> None:
    raised, pids = killed_in_the_middle(answering(ANSWER), victim)
    assert len(raised) == 1
    assert "exit status -9" in str(raised[0])
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_fleet_of_which_an_engine_is_gone_says_so_at_every_command() -> None:
    ended = threading.Event()
    with ScriptedServer(answering(ANSWER)) as server, Fleet(TWO, on_end=ended.set) as fleet:
        open_all(fleet, target(server.port), 2)
        os.kill(fleet.pids[1], signal.SIGKILL)
        assert ended.wait(SOON_S)
        for command in (
            lambda: fleet.prepare("cell"),
            lambda: fleet.run_slice("cell", 0.01),
            lambda: fleet.remove_group("cell"),
        ):
            with pytest.raises(EngineError):
                command()


def test_closing_a_fleet_ends_every_engine_and_is_no_loss() -> None:
    ends: list[None] = []
    with Fleet(THREE, on_end=lambda: ends.append(None)) as fleet:
        pids = fleet.pids
        fleet.add_group("cell", target(1))
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert ends == []


def test_endless_load_is_reported_by_every_engine_and_nothing_is_lost_of_it() -> None:
    books, reports = Counting(), list[SliceResult]()
    with (
        ScriptedServer(books.behave) as server,
        Fleet(TWO, on_report=lambda _, result: reports.append(result)) as fleet,
    ):
        fleet.add_group("cell", target(server.port), endless=True)
        for number in range(4):
            fleet.open("cell", str(number))
        fleet.drive("cell")
        wait_until(lambda: len(reports) >= 4)
        for number in range(4):
            fleet.discard("cell", str(number))
        last = fleet.report("cell")
    counted = sum(result.completed for result in (*reports, last))
    answered = sum(books.answered.values())
    # A request that was under way on a connection when it was discarded is nobody's.
    assert answered - 4 <= counted <= answered
