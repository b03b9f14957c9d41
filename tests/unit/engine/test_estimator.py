"""The throughput estimator against servers that keep their own books: the figure must be what they did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gatebench.load.calibration import null_responder
from gatebench.machine.processes import Owner
from loadtests.engine.group import whole_turns
from loadtests.engine.tally import SliceResult
from tests.support.groups import group_of, target
from tests.support.lab import found_undisturbed
from tests.support.scripted import ANSWER, Behaviour, ScriptedServer, request

SERVICE_S = 0.005
CONNECTIONS = 32
WINDOW_S = 100 * SERVICE_S


def measure(behaviour: Behaviour) -> SliceResult:
    with ScriptedServer(behaviour) as server, group_of(target(server.port), CONNECTIONS) as group:
        group.prepare()
        group.run_slice(SERVICE_S)
        group.prepare()
        return group.run_slice(WINDOW_S)


def one_at_a_time(finished: list[float]) -> Behaviour:
    lock = asyncio.Lock()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            async with lock:
                await asyncio.sleep(SERVICE_S)
                finished.append(time.time())
                writer.write(ANSWER)

    return behave


def all_at_once(finished: list[float]) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            await asyncio.sleep(SERVICE_S)
            finished.append(time.time())
            writer.write(ANSWER)

    return behave


def all_together(finished: list[float]) -> Behaviour:
    """Moves every request it has forward at the same pace, and finishes them at the same time."""
    waiting: list[asyncio.Future[None]] = []
    worker: list[asyncio.Task[None]] = []

    async def work() -> None:
        while True:
            while len(waiting) < CONNECTIONS:
                await asyncio.sleep(0.0005)
            batch = waiting.copy()
            waiting.clear()
            await asyncio.sleep(8 * SERVICE_S)
            for request_done in batch:
                request_done.set_result(None)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not worker:
            worker.append(asyncio.create_task(work()))
        while True:
            await request(reader)
            turn = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            await turn
            finished.append(time.time())
            writer.write(ANSWER)

    return behave


def own_rate(finished: list[float], result: SliceResult) -> float:
    """Requests/s from the first send of the slice to its last whole turn, by the server's own books."""
    began = result.started_unix_ns / 1e9
    times = sorted(moment for moment in finished if moment >= began)
    steady = times[CONNECTIONS - 1 :]
    return (len(steady) - 1) / (steady[-1] - steady[0])


def in_somebody_s_hands(result: SliceResult) -> float:
    """Connections in flight on the average (Little's law), and those that the engine held."""
    mean_s = result.timed_in_window_us / result.timed_in_window / 1e6
    return result.counted / result.counted_s * mean_s + result.held_s / result.elapsed_s


@pytest.mark.parametrize("make", [one_at_a_time, all_at_once, all_together])
def test_filling_and_draining_bias_no_kind_of_server(make: Callable[[list[float]], Behaviour]) -> None:
    def ratio() -> float:
        finished: list[float] = []
        result = measure(make(finished))
        return result.counted / result.counted_s / own_rate(finished, result)

    assert found_undisturbed(ratio, lambda found: found == pytest.approx(1, rel=0.03))


def test_counting_in_the_window_alone_would_be_biased_against_a_server_that_works_on_all_together() -> None:
    def ratio() -> float:
        finished: list[float] = []
        result = measure(all_together(finished))
        return result.completed / result.window_s / own_rate(finished, result)

    assert found_undisturbed(ratio, lambda found: found < 0.97)


def test_whole_turns_are_the_nearest_to_what_the_window_held() -> None:
    every_ms = [number * 1_000_000 for number in range(1, 101)]
    answers = {
        in_window: whole_turns(every_ms, in_window=in_window, connections=10, window_ns=55_000_000)
        for in_window in (3, 44, 45, 54, 55)
    }
    assert answers == {
        3: (10, 10_000_000),
        44: (40, 40_000_000),
        45: (50, 50_000_000),
        54: (50, 50_000_000),
        55: (60, 60_000_000),
    }


def test_where_failures_left_too_few_answers_the_window_is_counted() -> None:
    assert whole_turns([5, 9], in_window=2, connections=4, window_ns=100) == (2, 100)
    assert whole_turns([], in_window=0, connections=4, window_ns=100) == (0, 100)


def test_a_server_that_serves_one_at_a_time_drains_after_the_window_and_not_in_it() -> None:
    finished: list[float] = []
    result = measure(one_at_a_time(finished))
    assert result.drained == CONNECTIONS
    assert result.elapsed_s > result.window_s + (CONNECTIONS - 2) * SERVICE_S


def test_latency_is_that_of_the_full_queue_from_the_first_timed_request_on() -> None:
    result = measure(one_at_a_time([]))
    least_s = min(result.histogram) / 1e6
    # Each timed request waits for the 31 others before it; an untimed first one would wait for fewer.
    assert least_s > (CONNECTIONS - 2) * SERVICE_S


@pytest.mark.parametrize("make", [one_at_a_time, all_at_once, all_together])
def test_every_connection_is_in_flight_or_in_the_hands_of_the_engine(
    make: Callable[[list[float]], Behaviour],
) -> None:
    def accounted_for() -> float:
        return in_somebody_s_hands(measure(make([])))

    assert found_undisturbed(accounted_for, lambda found: found == pytest.approx(CONNECTIONS, rel=0.05))


def test_what_the_engine_holds_is_not_in_flight(tmp_path: Path) -> None:
    # Under a close for every request the engine is busy for most of the time, and answers come in batches.
    with (
        null_responder(core=None, owner=Owner.this(), log=tmp_path / "log") as responder,
        group_of(target(responder.port, "close"), CONNECTIONS) as group,
    ):

        def accounted_for() -> float:
            group.prepare()
            result = group.run_slice(0.3)
            assert result.held_s > 0
            return in_somebody_s_hands(result)

        assert found_undisturbed(accounted_for, lambda found: found == pytest.approx(CONNECTIONS, rel=0.05))
