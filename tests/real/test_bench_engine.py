"""The fidelity benchmark's own servers, with real clients."""

from __future__ import annotations

import os

import pytest

from tools.bench_engine import clients
from tools.bench_engine.latency import run_engine
from tools.bench_engine.outputs import BenchmarkError
from tools.bench_engine.servers import DelayServer, echo_server

CORE = min(os.sched_getaffinity(0))


def test_the_engine_and_picows_echo_through_the_same_server() -> None:
    with echo_server([CORE]) as server:
        for client in (clients.engine("websocket", (CORE,)), clients.picows(CORE)):
            done = client(server, 0.3)
            assert done.requests >= clients.CONNECTIONS
            assert done.cpu_us_per_request > 0
            assert done.server_busy > 0


def test_the_engine_never_sees_less_than_a_servers_own_delay() -> None:
    done = run_engine(CORE, CORE, 0.3)
    assert done.server_us["p50"] >= 10_000
    assert done.client_us["p50"] >= 10_000
    assert done.requests >= clients.CONNECTIONS


def test_a_server_that_ended_is_noticed_whatever_the_client_says() -> None:
    with DelayServer(CORE, 10.0) as server:
        server.log()
        with pytest.raises(BenchmarkError, match="delay server ended while it was being driven"):
            server.responder.cpu_s()
