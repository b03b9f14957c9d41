"""The throughput estimator against servers that keep their own books: the figure must be what they did."""

from __future__ import annotations

import asyncio
import time

import pytest

from loadtests.engine.tally import SliceResult
from tests.scripted import ANSWER, Behaviour, ScriptedServer, request
from tests.test_engine_http import group_of, target

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


def own_rate(finished: list[float], result: SliceResult) -> float:
    """Requests/s between the first and the last answer that the server gave during the window."""
    began = result.started_unix_ns / 1e9
    times = sorted(moment for moment in finished if began <= moment <= began + result.window_s)
    return (len(times) - 1) / (times[-1] - times[0])


@pytest.mark.parametrize("make", [one_at_a_time, all_at_once])
def test_filling_and_draining_do_not_bias_the_figure(make) -> None:  # type: ignore[no-untyped-def]  # a parameter
    finished: list[float] = []
    result = measure(make(finished))
    # The window may cut off one service time in a hundred at its end.
    assert result.completed / result.window_s == pytest.approx(own_rate(finished, result), rel=0.03)


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
