"""Each validity gate is caught under its own code, with the number it measured; an honest cell fails none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.cells import Totals
from analysis.gates import GATES, refusals
from analysis.meta import LevelPlan, WorkloadMeta
from analysis.percentiles import Percentiles

PLAN = LevelPlan("keep-alive", "c64", 64, 20, 0.1)
WORKLOAD = WorkloadMeta("keep-alive", "", "keep-alive", {}, frozenset({"keep-alive"}), True, 0.0)
NO_ERRORS = dict.fromkeys(("refused", "reset", "short", "status", "body", "timeout"), 0)
HONEST = Totals(
    subject="uvicorn",
    blocks=5,
    requests=100_000,
    errors=NO_ERRORS,
    closed_by_server=0,
    listen_drops=0,
    requests_per_connection=312.5,
    busy_share=0.4,
    cpu_share=0.99,
    cpu_us_per_request=80.0,
    memory_mib=30.0,
    typical_completed=1_000.0,
    percentiles=Percentiles(100_000, {"p50": 5_000, "p90": 6_000, "p99": 7_000, "p999": 8_000, "max": 9_000}),
)


def codes(totals: Totals, workload: WorkloadMeta = WORKLOAD, server_cores: int = 1) -> list[str]:
    return [refusal.gate.code for refusal in refusals(totals, workload, PLAN, server_cores)]


def test_an_honest_cell_fails_no_gate() -> None:
    assert codes(HONEST) == []


@pytest.mark.parametrize("kind", ["refused", "reset", "short", "status"])
def test_failed_requests_are_errors_from_one_in_ten_thousand_on(kind: str) -> None:
    assert codes(replace(HONEST, errors=NO_ERRORS | {kind: 10})) == []
    assert codes(replace(HONEST, errors=NO_ERRORS | {kind: 11})) == ["errors"]


def test_a_single_timeout_is_an_error() -> None:
    (refusal,) = refusals(replace(HONEST, errors=NO_ERRORS | {"timeout": 1}), WORKLOAD, PLAN, 1)

    assert "1 of 100,001 requests failed (0.001%: 1 timeout)" in refusal.reason


def test_a_cell_without_one_correct_answer_fails_for_its_errors_and_its_emptiness() -> None:
    broken = replace(HONEST, requests=0, typical_completed=0.0, errors=NO_ERRORS | {"refused": 50})

    assert codes(broken) == ["errors", "too-few-samples"]


def test_a_single_wrong_body_is_caught_under_its_own_code() -> None:
    assert codes(replace(HONEST, errors=NO_ERRORS | {"body": 1})) == ["wrong-body"]


def test_an_engine_busy_beyond_its_limit_measures_itself() -> None:
    assert codes(replace(HONEST, busy_share=0.85)) == []
    assert codes(replace(HONEST, busy_share=0.86)) == ["generator-busy"]


def test_a_server_that_closes_after_every_answer_does_not_reuse() -> None:
    (refusal,) = refusals(replace(HONEST, closed_by_server=100_000), WORKLOAD, PLAN, 1)

    assert (refusal.gate.code, refusal.measured) == ("reuse", 1.0)


def test_a_server_that_recycles_connections_after_a_hundred_requests_still_reuses() -> None:
    assert codes(replace(HONEST, closed_by_server=1_000)) == []


def test_connections_that_close_by_design_are_not_held_against_the_server() -> None:
    assert codes(replace(HONEST, closed_by_server=100_000), replace(WORKLOAD, transport="close")) == []


def test_a_server_under_ninety_percent_of_its_cores_is_idle() -> None:
    assert codes(replace(HONEST, cpu_share=0.90)) == []
    assert codes(replace(HONEST, cpu_share=0.89)) == ["server-idle"]


def test_one_busy_core_of_two_is_an_idle_server() -> None:
    assert codes(HONEST, server_cores=2) == ["server-idle"]


def test_a_workload_that_only_waits_may_leave_the_server_idle() -> None:
    assert codes(replace(HONEST, cpu_share=0.1), replace(WORKLOAD, saturates=False)) == []


def test_a_server_whose_cpu_could_not_be_read_is_not_called_idle() -> None:
    assert codes(replace(HONEST, cpu_share=None, cpu_us_per_request=None)) == []


def test_a_latency_locked_server_is_named_with_the_time_that_every_request_takes() -> None:
    locked = {**HONEST.percentiles.values, "p50": 44_000.0, "p90": 44_400.0}
    idle = replace(HONEST, cpu_share=0.12, percentiles=Percentiles(100_000, locked))

    assert "latency-locked: every request takes 44.0 ms" in refusals(idle, WORKLOAD, PLAN, 1)[0].text


def test_an_idle_server_with_scattered_latencies_is_not_called_latency_locked() -> None:
    scattered = {**HONEST.percentiles.values, "p50": 20_000.0, "p90": 90_000.0}
    idle = replace(HONEST, cpu_share=0.5, percentiles=Percentiles(100_000, scattered))

    text = refusals(idle, WORKLOAD, PLAN, 1)[0].text
    assert "latency-locked" not in text
    assert "a lock" in text


def test_an_idle_server_with_hardly_any_latencies_gets_no_diagnosis() -> None:
    few = Percentiles(10, dict.fromkeys(HONEST.percentiles.values))

    assert (
        "too few latencies"
        in refusals(replace(HONEST, cpu_share=0.5, percentiles=few), WORKLOAD, PLAN, 1)[0].text
    )


def test_slices_with_a_handful_of_answers_give_no_rate() -> None:
    assert codes(replace(HONEST, typical_completed=9.5)) == ["too-few-samples"]


def test_every_refusal_begins_with_its_code_and_ends_with_its_next_step() -> None:
    bad = replace(
        HONEST,
        errors=dict.fromkeys(NO_ERRORS, 100),
        busy_share=1.0,
        closed_by_server=100_000,
        cpu_share=0.1,
        typical_completed=1.0,
    )

    found = refusals(bad, WORKLOAD, PLAN, 1)

    assert len(found) == 6
    for refusal in found:
        assert refusal.reason.startswith(f"{refusal.gate.code}: ")
        assert refusal.reason.endswith(refusal.gate.next_step)


def test_no_two_gates_share_a_code() -> None:
    assert len({gate.code for gate in GATES}) == len(GATES)


def test_connection_attempts_that_the_kernel_dropped_fail_backlog() -> None:
    (refusal,) = refusals(replace(HONEST, listen_drops=14), WORKLOAD, PLAN, 1)
    assert refusal.gate.code == "backlog"
    assert "dropped 14 connection attempts" in refusal.text
