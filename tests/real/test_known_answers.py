"""Runs of servers of which the truth is known: what they planted is caught, what they say is confirmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.known import Numbers, Truth
from tests.support.lab import (
    OF_THE_MACHINE,
    OWN_FOLDERS,
    Ended,
    Results,
    assert_done,
    assert_went_well,
    blamed,
    gatebench,
)
from tests.support.small_server.faults import DYING_WORDS

pytestmark = pytest.mark.alone
"""Ten percent of CPU time want a quiet core, and the kernel counts the overflows of all servers together."""

CONNECTIONS = 64
SIGNIFICANCE = 0.05
WIDENED = 2.5
"""A 95 % interval misses the truth one time in twenty, which no test may. This much wider, one time in 400
(Student's t with the four degrees of freedom of five blocks)."""


def run(folder: Path, servers: str, workloads: str, profile: str, budget: str) -> tuple[Ended, Results]:
    chosen = ("--servers", servers, "--workloads", workloads, "--profile", profile, "--budget", budget)
    out = folder / "run"
    return gatebench(folder, "run", *OWN_FOLDERS, *chosen, "--out", str(out)), Results(out)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Five blocks, of one slice each, of honest servers among some with a fault in single answers."""
    known = "known-delay known-rare-byte known-short known-reset faulty-hangs-up faulty-dies"
    ended, results = run(
        tmp_path_factory.mktemp("faults"), f"honest-asgi {known}", "known-times", "standard", "1s"
    )
    assert ended.status == 1, ended.said
    return results


@pytest.fixture(scope="module")
def waits(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One slice each of servers that keep their clients waiting."""
    workloads = "known-idleness known-queue"
    servers = "known-locked known-mute known-overflow"
    ended, results = run(tmp_path_factory.mktemp("waits"), servers, workloads, "smoke", "1s")
    assert results.events[-1]["outcome"] == "complete", ended.said
    return results


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Five blocks of three servers that compute a known time on each request."""
    servers = "known-spin known-spin-twin known-spin-slower"
    ended, results = run(tmp_path_factory.mktemp("costs"), servers, "known-capacity", "standard", "14s")
    assert_done(ended, results)
    return results


def failures(cell: dict[str, Any]) -> dict[str, int]:
    return {kind: count for kind, count in cell["errors"].items() if count}


def percentile(values: Numbers, percent: float) -> float:
    return float(np.percentile(values, percent, method="inverted_cdf"))


@pytest.mark.parametrize("subject", ["honest-asgi", "known-delay"])
def test_a_server_without_a_fault_is_blamed_for_none_among_faulty_ones(faults: Results, subject: str) -> None:
    cell = faults.cell(subject, "known-times")
    assert blamed(cell) == set()
    assert failures(cell) == {}


@pytest.mark.parametrize(
    ("subject", "planted", "kind", "code"),
    [
        ("known-rare-byte", "wrong", "body", "wrong-body"),
        ("known-short", "short", "short", "errors"),
        ("known-reset", "reset", "reset", "errors"),
    ],
)
def test_every_single_fault_is_counted_under_its_kind_and_code(
    faults: Results, subject: str, planted: str, kind: str, code: str
) -> None:
    cell = faults.cell(subject, "known-times")
    count = Truth(faults, subject).planted(planted)
    assert count > 0
    assert failures(cell) == {kind: count}
    assert cell["lead"]["status"] in {"limited", "withheld"}
    assert blamed(cell) == {code}
    # No byte may be wrong; other failures are withheld from where they are many.
    assert code != "wrong-body" or cell["status"] == "withheld"


def test_a_keep_alive_that_is_not_kept_is_refused(faults: Results) -> None:
    cell = faults.cell("faulty-hangs-up", "known-times")
    assert cell["lead"]["status"] in {"limited", "withheld"}
    assert blamed(cell) == {"reuse"}
    assert failures(cell) == {}


def test_a_crash_in_the_middle_is_a_failure_with_the_last_words(faults: Results) -> None:
    cell = faults.cell("faulty-dies", "known-times")
    assert (cell["status"], blamed(cell)) == ("failed", {"died"})
    assert DYING_WORDS in "".join(cell["reasons"])


def test_every_request_that_a_delaying_server_answered_is_in_the_latencies(faults: Results) -> None:
    truth = Truth(faults, "known-delay")
    measured = truth.measured_us()
    for block, service_us in truth.service_us(CONNECTIONS).items():
        assert len(measured[block]) == len(service_us)


def assert_as_logged(results: Results, percent: float, *, rel: float, within_us: float = 0.0) -> None:
    """In one block at least, what the lab measured is what the server itself logged.

    Others on the engine's core can only delay it, and seldom in every block; a fault of the engine is in
    every one. Where they were at work all the time, which the cell then says, it may be late, but not early.
    """
    truth, cell = Truth(results, "known-delay"), results.cell("known-delay", "known-times")
    assert_went_well(cell)
    measured = truth.measured_us()
    pairs = [
        (percentile(measured[block], percent), percentile(service_us, percent))
        for block, service_us in truth.service_us(CONNECTIONS).items()
    ]
    seen_us, logged_us = min(pairs, key=lambda pair: abs(pair[0] / pair[1] - 1))
    assert seen_us >= logged_us * (1 - rel) - within_us
    if cell["figures"]["latency_us"]["status"] == "ok":
        assert seen_us <= logged_us * (1 + rel) + within_us


def test_the_median_latency_is_what_the_server_itself_logged(faults: Results) -> None:
    assert_as_logged(faults, 50, rel=0.02, within_us=50)


def test_the_tail_latency_is_what_the_server_itself_logged(faults: Results) -> None:
    assert_as_logged(faults, 99, rel=0.05)


def assert_at_least(cell: dict[str, Any], name: str, least_us: float) -> None:
    """A percentile is shown and so high; only what others did to the machine may withhold it."""
    times = cell["figures"]["latency_us"]
    if times["status"] == "withheld":
        assert {reason.partition(":")[0] for reason in times["reasons"]} & OF_THE_MACHINE
    else:
        assert times[name] > least_us


def test_a_server_that_makes_each_request_wait_40_ms_is_called_latency_locked(waits: Results) -> None:
    cell = waits.cell("known-locked", "known-idleness")
    assert cell["lead"]["status"] in {"limited", "withheld"}
    # A core that others had filled tells nothing of how idle a server is.
    found = blamed(cell, "server-idle", "shared-core")
    assert found
    assert found <= {"server-idle", "shared-core"}
    assert "server-idle" not in found or "latency-locked" in "".join(cell["reasons"])
    assert_at_least(cell, "p50", 40_000)


def test_a_server_that_stops_reading_times_out_on_every_connection(waits: Results) -> None:
    cell = waits.cell("known-mute", "known-idleness")
    assert cell["status"] == "withheld"
    assert "errors" in blamed(cell)
    assert failures(cell) == {"timeout": CONNECTIONS}
    assert cell["requests"] > 0


def test_a_listen_queue_that_overflows_is_told_apart_from_a_slow_server(waits: Results) -> None:
    cell = waits.cell("known-overflow", "known-queue")
    assert Truth(waits, "known-overflow").planted("overflow") > 0
    assert cell["lead"]["status"] in {"limited", "withheld"}
    assert blamed(cell) == {"backlog"}
    assert_at_least(cell, "max", 1_000_000)
    assert blamed(waits.cell("known-locked", "known-queue")) == set()


def compared(results: Results, left: str, right: str) -> dict[str, Any]:
    """The comparison of two subjects; skips where the machine has left one of them without a figure."""
    cells = [results.cell(each, "known-capacity") for each in (left, right)]
    for cell in cells:
        assert_went_well(cell)
    if any(cell["lead"]["status"] != "ok" for cell in cells):
        pytest.skip(f"others kept this machine too busy: {[cell['reasons'] for cell in cells]}")
    (found,) = (
        each for each in results.summary["comparisons"] if (each["left"], each["right"]) == (left, right)
    )
    return dict(found)


def widened(pair: dict[str, Any]) -> tuple[float, float]:
    """The ratio's interval, made `WIDENED` times as wide on the scale of its logarithm."""
    ratio = pair["ratio"]
    return ratio * (pair["low"] / ratio) ** WIDENED, ratio * (pair["high"] / ratio) ** WIDENED


def test_the_same_server_twice_is_a_tie(costs: Results) -> None:
    assert compared(costs, "known-spin", "known-spin-twin")["verdict"] == "tie"


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        ("known-spin", "known-spin-slower", "higher"),
        ("known-spin-slower", "known-spin-twin", "lower"),
    ],
)
def test_ten_percent_of_cpu_time_are_ten_percent_of_throughput(
    costs: Results, left: str, right: str, verdict: str
) -> None:
    pair = compared(costs, left, right)
    truth = Truth(costs, right).cpu_us_per_request() / Truth(costs, left).cpu_us_per_request()
    low, high = widened(pair)
    assert low < truth < high
    (noise,) = (each["band"] for each in costs.summary["noise"])
    # A machine that is busy with others may be too noisy to tell; the run's own twin says how noisy it was.
    quiet = pair["p"] < SIGNIFICANCE and max(pair["ratio"], 1 / pair["ratio"]) > noise
    assert pair["verdict"] in ({verdict} if quiet else {verdict, "tie"})


def test_a_freeze_of_a_second_in_ten_is_in_the_tail_of_an_open_loop(tmp_path: Path) -> None:
    ended, results = run(tmp_path, "known-freeze", "known-rate", "smoke", "1s")
    assert results.events[-1]["outcome"] == "complete", ended.said
    (measured_us,) = Truth(results, "known-freeze").measured_us().values()
    assert percentile(measured_us, 99) >= 800_000
