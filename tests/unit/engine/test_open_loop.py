"""The open loop: a stall is charged with what it held up, and every offered request is accounted for."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import wsproto

from loadtests.engine import group, pauses, slot
from loadtests.engine.protocol import ArrivalProcess, Arrivals, Target, Transport
from loadtests.engine.tally import SliceResult
from tests.support.groups import failures, group_of, target
from tests.support.scripted import ANSWER, Behaviour, ScriptedServer, answering, request
from tests.support.websockets import echo, reacting

WINDOW_S = 0.15
RATE_PER_S = 400.0
OFFERED = 60
FREEZE_S = 0.4


@pytest.fixture(autouse=True)
def _one_interpreter_for_engine_and_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share its lock here: the engine has to sleep to let go of it, and is held up by it."""
    monkeypatch.setattr(group, "AWAKE_S", slot.AWAKE_S)
    monkeypatch.setattr(pauses, "PAUSE_NS", 1 << 62)


def drive(
    goal: Target,
    *,
    rate_per_s: float = RATE_PER_S,
    process: ArrivalProcess = "poisson",
    connections: int = 4,
    window_s: float = WINDOW_S,
) -> SliceResult:
    with group_of(goal, connections) as group:
        group.prepare()
        return group.run_slice(window_s, Arrivals(rate_per_s, process, seed=1))


def drive_against(
    behaviour: Behaviour, transport: Transport = "keep-alive", *, timeout_s: float = 5.0, connections: int = 4
) -> SliceResult:
    with ScriptedServer(behaviour) as server:
        return drive(target(server.port, transport, timeout_s), connections=connections)


def accounted(result: SliceResult) -> int:
    """Every way in which an offered request can end."""
    return result.completed + result.drained + result.unsent + sum(result.failures.values())


def timed(result: SliceResult, clock: str) -> int:
    return sum(result.histograms.get(clock, {}).values())


def at_least(result: SliceResult, clock: str, least_s: float) -> int:
    return sum(count for latency_us, count in result.histograms[clock].items() if latency_us >= 1e6 * least_s)


@contextmanager
def patience(monkeypatch: pytest.MonkeyPatch, patience_s: float) -> Iterator[None]:
    """Lets the line leave for a shorter time than usual."""
    with monkeypatch.context() as patched:
        patched.setattr(group, "LINE_PATIENCE_NS", int(patience_s * 1e9))
        yield


@contextmanager
def dead_port() -> Iterator[int]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def one_at_a_time(service_s: float) -> Behaviour:
    lock = asyncio.Lock()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            async with lock:
                await asyncio.sleep(service_s)
                writer.write(ANSWER)

    return behave


@pytest.mark.parametrize("process", ["constant", "poisson"])
@pytest.mark.parametrize("transport", ["keep-alive", "close"])
def test_every_offered_request_reaches_the_server_once_and_is_timed(
    process: ArrivalProcess, transport: Transport
) -> None:
    seen = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        while True:
            await request(reader)
            seen += 1
            writer.write(ANSWER)
            if transport == "close":
                return

    with ScriptedServer(counting) as server:
        result = drive(target(server.port, transport), process=process)
    assert failures(result) == set()
    assert result.offered == OFFERED == seen == result.completed + result.drained
    assert timed(result, "response") == timed(result, "service") == OFFERED
    assert result.unsent == 0
    if transport == "close":
        assert result.opened == OFFERED


def test_websocket_echoes_of_an_open_loop_are_all_accounted_for() -> None:
    with ScriptedServer(reacting(echo)) as server:
        result = drive(Target("127.0.0.1", server.port, "websocket", path="/ws/echo"))
    assert failures(result) == set()
    assert result.completed + result.drained == result.offered == OFFERED


def test_a_request_is_never_sent_before_its_moment_and_never_answered_before_it_was_sent() -> None:
    result = drive_against(answering(ANSWER))
    assert 0 < timed(result, "lag") <= OFFERED
    for histogram in result.histograms.values():
        assert min(histogram) >= 0
    response, service = (
        sum(latency_us * count for latency_us, count in result.histograms[clock].items())
        for clock in ("response", "service")
    )
    assert response + OFFERED > service  # each is cut off to whole microseconds


def test_what_an_engine_is_late_for_is_kept_apart_in_the_latencies_and_counts_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pauses, "PAUSE_NS", -(1 << 62))  # it is held up whenever it looks
    result = drive_against(answering(ANSWER))
    assert failures(result) == set()
    assert result.left_out == result.offered == result.completed + result.drained == OFFERED
    assert result.histograms == {"response": {}}
    assert sum(result.late["response"].values()) == sum(result.late["service"].values()) == OFFERED
    assert (result.timed_in_window, result.timed_in_window_us) == (0, 0)


def test_a_server_that_freezes_is_charged_with_the_line_that_waited_for_it() -> None:
    served = 0

    async def freezing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while True:
            await request(reader)
            served += 1
            if served == 20:
                time.sleep(FREEZE_S)  # the whole server stands still
            writer.write(ANSWER)

    with ScriptedServer(freezing) as server:
        result = drive(target(server.port), connections=4, window_s=1.0, process="constant")
    assert failures(result) == set()
    assert result.completed + result.drained == result.offered == 400
    # What was to be sent in the first half of the freeze waited for the second half, at least.
    held_up = int(RATE_PER_S * FREEZE_S / 2) - 4
    assert at_least(result, "response", FREEZE_S / 2) >= held_up
    # Whoever times from the actual send sees the stall only where a request was already under way.
    assert at_least(result, "service", FREEZE_S / 2) < held_up / 4
    assert max(result.histograms["response"]) >= 1e6 * (FREEZE_S - 4 / RATE_PER_S)


def test_what_stands_in_line_at_the_end_of_the_window_is_sent_and_timed() -> None:
    service_s = 0.005
    with ScriptedServer(one_at_a_time(service_s)) as server:
        result = drive(target(server.port), connections=2)
    assert failures(result) == set()
    assert result.unsent == 0
    assert result.completed <= WINDOW_S / service_s + 1
    assert result.completed + result.drained == timed(result, "response") == OFFERED
    assert result.timed_in_window == result.completed
    assert result.elapsed_s >= OFFERED * service_s
    assert max(result.histogram) >= 1e6 * (OFFERED * service_s - WINDOW_S)


def test_what_is_given_up_is_unsent_and_has_the_time_it_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    with patience(monkeypatch, 0.2), ScriptedServer(one_at_a_time(0.3)) as server:
        result = drive(target(server.port), connections=1)
    assert failures(result) == set()
    assert result.unsent >= OFFERED - 4
    assert accounted(result) == OFFERED == timed(result, "response")
    assert timed(result, "service") == OFFERED - result.unsent
    assert result.timed_in_window == result.completed
    assert at_least(result, "response", 0.2) >= result.unsent


def test_a_request_that_left_the_line_at_last_still_has_its_whole_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with patience(monkeypatch, 0.6), ScriptedServer(one_at_a_time(0.05)) as server:
        result = drive(target(server.port, timeout_s=0.5), connections=1)
    assert failures(result) == set()
    assert result.unsent > 0
    assert accounted(result) == OFFERED


@pytest.mark.parametrize("transport", ["keep-alive", "close", "websocket"])
def test_a_port_where_nobody_listens_is_refused_for_every_request_that_was_sent(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dead_port() as port, patience(monkeypatch, 0.2):
        result = drive(target(port, transport), connections=1)
    assert failures(result) == {"refused"}
    assert result.completed == result.drained == 0
    assert result.unsent > 0
    assert accounted(result) == result.offered == OFFERED
    assert timed(result, "response") == result.unsent
    assert (result.timed_in_window, result.timed_in_window_us) == (0, 0)


def test_what_is_due_while_all_connections_rest_after_failures_waits_and_is_sent() -> None:
    """An answer in ten is wrong: its connection rests 10 ms, in which four more requests come due."""
    number = 0

    async def sometimes_wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        while True:
            await request(reader)
            number += 1
            writer.write(ANSWER.replace(b"World", b"Wor1d") if number % 10 == 0 else ANSWER)

    result = drive_against(sometimes_wrong, connections=1)
    assert failures(result) == {"body"}
    assert result.failures["body"] == OFFERED // 10
    assert result.unsent == 0
    assert accounted(result) == OFFERED
    assert at_least(result, "response", 0.005) > 0


def test_connections_that_are_lost_in_the_middle_account_for_what_was_due_later() -> None:
    seen = 0

    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        while True:
            await request(reader)
            seen += 1
            if seen > 20:
                return
            writer.write(ANSWER)

    result = drive_against(dying)
    assert result.completed + result.drained == 20
    assert accounted(result) == OFFERED
    assert failures(result) == {"reset"}


def test_websockets_that_are_lost_in_the_middle_account_for_what_was_due_later() -> None:
    heard = 0

    def ten_times(protocol: wsproto.WSConnection, text: str) -> bytes:
        nonlocal heard
        heard += 1
        if heard > 10:
            raise ConnectionError
        return echo(protocol, text)

    with ScriptedServer(reacting(ten_times)) as server:
        result = drive(Target("127.0.0.1", server.port, "websocket", path="/ws/echo"), connections=2)
    assert result.completed + result.drained == 10
    assert accounted(result) == OFFERED
    assert result.failures["refused"] > 0


def test_a_server_that_closes_after_every_answer_loses_none_of_them() -> None:
    closing = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    result = drive_against(answering(closing, then_close=True))
    assert failures(result) == set()
    assert result.completed + result.drained == OFFERED
    assert result.closed_by_server == OFFERED


def test_a_server_that_closes_behind_an_answer_accounts_for_every_request() -> None:
    """It says nothing of it: a request may be on its way to a connection that is being closed."""
    result = drive_against(answering(ANSWER, then_close=True))
    assert failures(result) <= {"reset"}
    assert result.completed + result.drained > 0
    assert accounted(result) == OFFERED


def test_a_server_that_never_answers_times_out_and_the_slice_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        await asyncio.sleep(30)

    with patience(monkeypatch, 0.2):
        result = drive_against(silent, timeout_s=0.1, connections=2)
    assert failures(result) == {"timeout"}
    assert result.completed == result.drained == 0
    assert accounted(result) == OFFERED


def test_a_request_that_is_overdue_within_the_window_gives_its_connection_back() -> None:
    first = True

    async def deaf_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(30)
        await answering(ANSWER)(reader, writer)

    with ScriptedServer(deaf_once) as server:
        result = drive(target(server.port, timeout_s=0.2), connections=1, window_s=1.0)
    assert result.failures["timeout"] == 1
    assert result.completed > 0
    assert accounted(result) == result.offered == 400


def test_an_open_loop_without_connections_gives_up_on_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    with dead_port() as port, patience(monkeypatch, 0.0):
        result = drive(target(port), connections=0)
    assert result.unsent == result.offered == OFFERED
    assert failures(result) == set()


def test_a_closed_loop_after_an_open_one_keeps_nothing_of_it() -> None:
    with ScriptedServer(answering(ANSWER)) as server, group_of(target(server.port), 2) as group:
        group.prepare()
        group.run_slice(WINDOW_S, Arrivals(RATE_PER_S, "poisson", seed=1))
        group.prepare()
        result = group.run_slice(0.05)
    assert result.offered == result.unsent == 0
    assert set(result.histograms) == {"response"}
    assert result.completed > 0
