"""Each validity gate is caught under its own code, with the number it measured; an honest cell fails none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from analysis.figures.cells import Totals
from analysis.figures.gates import GATES, most_left_out
from analysis.figures.percentiles import Percentiles
from analysis.figures.refusals import refusals
from analysis.figures.spoilt import left_out_in_words
from analysis.figures.steadiness import Drift
from gatebench.results.schema import CeilingMeta, LevelPlan, RequestMeta, WorkloadMeta
from tests.support.slices import HONEST, NO_ERRORS, PLAN, WORKLOAD

OPEN = PLAN.replaced(workload="steady", level="r2000", model="open", rate_per_s=2_000.0)
PACED = WORKLOAD.replaced(name="steady", saturates=False)
PUNCTUAL = replace(HONEST, cpu_share=0.3, in_flight=None, lag_us=120.0, service=HONEST.percentiles)


def codes(totals: Totals, workload: WorkloadMeta = WORKLOAD, server_cores: int = 1) -> list[str]:
    return [refusal.gate.code for refusal in refusals(totals, workload, PLAN, server_cores)]


def found(totals: Totals, plan: LevelPlan, workload: WorkloadMeta = WORKLOAD) -> list[tuple[str, str]]:
    return [(each.gate.code, each.text) for each in refusals(totals, workload, plan, 1)]


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
    assert codes(replace(HONEST, closed_by_server=100_000), WORKLOAD.replaced(transport="close")) == []


def test_a_server_under_ninety_percent_of_its_cores_is_idle() -> None:
    assert codes(replace(HONEST, cpu_share=0.90)) == []
    assert codes(replace(HONEST, cpu_share=0.89)) == ["server-idle"]


def test_one_busy_core_of_two_is_an_idle_server() -> None:
    assert codes(HONEST, server_cores=2) == ["server-idle"]


def test_a_workload_that_only_waits_may_leave_the_server_idle() -> None:
    assert codes(replace(HONEST, cpu_share=0.1), WORKLOAD.replaced(saturates=False)) == []


def test_a_server_whose_cpu_could_not_be_read_is_not_called_idle() -> None:
    assert codes(replace(HONEST, cpu_share=None, cpu_us_per_request=None)) == []


def test_a_latency_locked_server_is_named_with_the_time_that_every_request_takes() -> None:
    locked = {**HONEST.percentiles.values, "p50": 44_000.0, "p90": 44_400.0}
    idle = replace(HONEST, cpu_share=0.12, percentiles=Percentiles(100_000, locked))

    assert "latency-locked: every request takes 44.0 ms" in refusals(idle, WORKLOAD, PLAN, 1)[0].text


def test_what_a_busy_line_would_take_is_divided_by_the_cores_that_work_it_off() -> None:
    cpu_us = HONEST.cpu_us_per_request
    assert cpu_us is not None
    line_us = cpu_us * PLAN.connections
    values = {**HONEST.percentiles.values, "p50": 1.5 * line_us, "p90": 1.5 * line_us}
    idle = replace(HONEST, cpu_share=0.12, percentiles=Percentiles(100_000, values))

    assert "latency-locked" not in refusals(idle, WORKLOAD, PLAN, 1)[-1].text
    assert "latency-locked" in refusals(idle, WORKLOAD, PLAN, 2)[-1].text


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

    failed = refusals(bad, WORKLOAD, PLAN, 1)

    assert len(failed) == 6
    for refusal in failed:
        assert refusal.reason.startswith(f"{refusal.gate.code}: ")
        assert refusal.reason.endswith(refusal.next_step or refusal.gate.next_step)
        assert refusal.reason.endswith(".")


def test_no_two_gates_share_a_code() -> None:
    assert len({gate.code for gate in GATES}) == len(GATES)


def test_connection_attempts_that_the_kernel_dropped_fail_backlog() -> None:
    (refusal,) = refusals(replace(HONEST, listen_drops=14), WORKLOAD, PLAN, 1)
    assert refusal.gate.code == "backlog"
    assert "dropped 14 connection attempts" in refusal.text


def test_an_honest_open_loop_fails_no_gate() -> None:
    assert found(PUNCTUAL, OPEN, PACED) == []


def calibrated(rate_per_s: float, **more: Any) -> LevelPlan:
    """The level, of which this was the engine's best slice in calibration."""
    rates_per_s = (rate_per_s / 2, rate_per_s)
    ceiling = CeilingMeta(workload=PLAN.workload, level=PLAN.level, rates_per_s=rates_per_s, **more)
    return PLAN.replaced(ceiling=ceiling)


UNREAD = replace(HONEST, cpu_share=None, cpu_us_per_request=None)
"""A cell of which nobody knows whether its server's core was full."""


def test_a_figure_over_half_of_the_engines_own_is_too_near_to_its_ceiling() -> None:
    at_limit, over = calibrated(24_000.0), calibrated(20_000.0)

    assert found(UNREAD, at_limit) == []
    ((code, text),) = found(UNREAD, over)
    assert code == "ceiling"
    assert "12,000 a second is 60% of the 20,000" in text
    assert "reached against a responder that does nothing" in text


def test_a_server_with_a_full_core_and_an_engine_with_time_left_is_its_own_limit() -> None:
    over = calibrated(13_000.0)
    at_limit = replace(HONEST, cpu_share=0.90, busy_share=0.85)

    assert found(at_limit, over) == []
    idle = replace(at_limit, cpu_share=0.89)
    assert [code for code, _ in found(idle, over)] == ["ceiling", "server-idle"]
    busy = replace(at_limit, busy_share=0.86)
    assert [code for code, _ in found(busy, over)] == ["generator-busy", "ceiling"]


def test_a_server_of_two_cores_is_its_own_limit_where_both_are_full() -> None:
    over = calibrated(13_000.0)
    gates = [
        [each.gate.code for each in refusals(replace(HONEST, cpu_share=share), WORKLOAD, over, 2)]
        for share in (1.80, 1.79)
    ]

    assert gates == [[], ["ceiling", "server-idle"]]


def test_a_calibration_that_was_disturbed_refuses_nothing() -> None:
    assert found(UNREAD, calibrated(20_000.0, disturbed=True)) == []


def test_a_ceiling_names_what_the_engine_drove_in_calibration() -> None:
    ((_, text),) = found(UNREAD, calibrated(20_000.0, responder="nginx"))

    assert "reached against nginx (limit 50%)" in text


@pytest.mark.parametrize(("in_flight", "off"), [(60.0, "-6%"), (68.0, "+6%")])
def test_throughput_and_latency_that_contradict_each_other_fail_little(in_flight: float, off: str) -> None:
    ((code, text),) = found(replace(HONEST, in_flight=in_flight), PLAN)

    assert code == "uneven"
    assert f"gives {in_flight:.1f} requests in flight, and 64 were ({off}" in text


def test_little_allows_five_percent_and_counts_every_message_in_flight() -> None:
    windowed = PLAN.replaced(window=16)

    assert found(replace(HONEST, in_flight=61.0), PLAN) == []
    assert found(replace(HONEST, in_flight=1_024.0), windowed) == []
    assert [code for code, _ in found(HONEST, windowed)] == ["uneven"]


def test_connections_that_rest_after_a_failure_are_not_held_to_little() -> None:
    assert found(replace(HONEST, in_flight=30.0, errors=NO_ERRORS | {"reset": 1}), PLAN) == []
    assert [code for code, _ in found(replace(HONEST, in_flight=30.0, listen_drops=1), PLAN)] == ["backlog"]


def test_a_broadcast_has_one_message_in_flight_and_is_not_held_to_little() -> None:
    broadcast = WORKLOAD.replaced(transport="websocket", request=RequestMeta(exchange="broadcast"))

    assert found(replace(HONEST, in_flight=30.0), PLAN, broadcast) == []


def test_a_server_that_falls_behind_its_rate_is_overloaded() -> None:
    assert found(replace(PUNCTUAL, missed_share=0.01), OPEN, PACED) == []
    ((code, text),) = found(replace(PUNCTUAL, missed_share=0.254), OPEN, PACED)
    assert code == "rate-missed"
    assert "overloaded: at 2,000 requests/s the server was 25.4% behind" in text


def test_a_search_may_try_rates_that_are_too_high() -> None:
    search = OPEN.replaced(model="objective", rate_per_s=None, objective="p99-10ms")

    assert found(replace(PUNCTUAL, missed_share=0.5), search, PACED) == []


def test_requests_that_left_late_with_a_connection_free_fail_send_lag() -> None:
    ((code, text),) = found(replace(PUNCTUAL, lag_us=501.0), OPEN, PACED)

    assert code == "send-lag"
    assert "501 µs or more after their moment" in text


def test_a_tenth_of_a_long_response_time_may_be_lag() -> None:
    slow = Percentiles(100_000, {**HONEST.percentiles.values, "p50": 20_000.0})

    assert found(replace(PUNCTUAL, lag_us=1_999.0, percentiles=slow), OPEN, PACED) == []
    assert [code for code, _ in found(replace(PUNCTUAL, lag_us=2_001.0, percentiles=slow), OPEN, PACED)] == [
        "send-lag"
    ]


def test_an_engine_that_was_late_for_over_a_fifth_is_judged_by_how_late_that_made_the_requests() -> None:
    assert found(replace(PUNCTUAL, late_share=0.34), OPEN, PACED) == []
    ((code, text),) = found(replace(PUNCTUAL, late_share=0.34, lag_us=1_200.0), OPEN, PACED)
    assert code == "send-lag"
    assert "held up at the moments of 34% of them; up to 20% would have been left out" in text


def test_a_cell_says_which_share_of_its_requests_an_engine_left_out() -> None:
    assert left_out_in_words(PUNCTUAL, OPEN, 1) == ()
    (said,) = left_out_in_words(replace(PUNCTUAL, late_share=0.031), OPEN, 1)
    assert "held up at the moments of 3.1% of the requests" in said
    assert left_out_in_words(replace(PUNCTUAL, late_share=0.34), OPEN, 1) == ()


def test_local_ports_that_run_out_fail_ports() -> None:
    assert found(replace(HONEST, port_use=0.80), PLAN) == []
    ((code, text),) = found(replace(HONEST, port_use=0.91), PLAN)
    assert code == "ports"
    assert "91% of the local ports" in text


def test_a_connection_without_a_local_port_fails_ports_however_many_were_seen_free() -> None:
    ((code, text),) = found(replace(HONEST, no_port=3, port_use=0.2), PLAN)

    assert code == "ports"
    assert "3 connections found no free local port" in text


def test_a_core_that_others_had_in_over_a_fifth_of_the_slices_is_refused_with_who_it_was() -> None:
    shared = replace(HONEST, slices=40, others_share=0.38, others={"uvicorn+busy": 8, "cc1 (process 7)": 1})
    assert found(replace(shared, shared=8), PLAN) == []
    ((code, text),) = found(replace(shared, shared=9), PLAN)
    assert code == "shared-core"
    assert "in 9 of 40 slices" in text
    assert "in the mean of these 38%; among them uvicorn+busy (8 slices), cc1 (process 7) (1 slice)" in text
    assert "up to 8 would have been left out" in text


@pytest.mark.parametrize(("slices", "most"), [(1, 0), (2, 0), (3, 1), (4, 1), (9, 1), (10, 2), (40, 8)])
def test_a_fifth_of_the_slices_may_be_left_out_and_of_three_or_four_one(slices: int, most: int) -> None:
    assert most_left_out(slices) == most
    hit = replace(HONEST, slices=slices, others_share=0.38)
    assert found(replace(hit, shared=most), PLAN) == []
    assert [code for code, _ in found(replace(hit, shared=most + 1), PLAN)] == ["shared-core"]


def test_others_share_of_several_cores_is_of_all_of_them() -> None:
    shared = replace(HONEST, cpu_share=3.9, slices=4, shared=4, others_share=0.4)
    (refusal,) = refusals(shared, WORKLOAD, PLAN, 4)
    assert "of its cores, in the mean of these 10%" in refusal.text


def test_memory_of_idle_connections_is_the_same_whoever_has_the_core() -> None:
    idle = PLAN.replaced(model="idle")
    shared = replace(HONEST, slices=4, shared=4, others_share=0.4)
    assert found(shared, idle, WORKLOAD.replaced(saturates=False)) == []


def test_a_server_whose_core_somebody_else_had_is_not_blamed_for_what_they_did() -> None:
    slow = replace(PUNCTUAL, missed_share=0.4, slices=10, shared=10, others_share=0.6)
    assert [code for code, _ in found(slow, OPEN, PACED)] == ["shared-core"]
    idle = replace(HONEST, cpu_share=0.4, slices=10, shared=10, others_share=0.6)
    assert codes(idle) == ["shared-core"]


def test_a_server_that_could_not_do_it_with_the_core_to_itself_is_blamed_beside_the_others() -> None:
    overloaded = replace(
        PUNCTUAL, missed_share=0.4, cpu_us_per_request=500.0, slices=10, shared=10, others_share=0.6
    )
    assert [code for code, _ in found(overloaded, OPEN, PACED)] == ["shared-core", "rate-missed"]
    idle = replace(HONEST, cpu_share=0.3, slices=10, shared=10, others_share=0.2)
    assert codes(idle) == ["shared-core", "server-idle"]


def test_time_that_the_hypervisor_took_fails_steal() -> None:
    assert found(replace(HONEST, steal_share=0.05), PLAN) == []
    ((code, text),) = found(replace(HONEST, steal_share=0.12), PLAN)
    assert code == "steal"
    assert "took 12% of the time" in text


def test_slices_from_which_the_hypervisor_took_much_are_left_out_up_to_a_fifth_of_them() -> None:
    hit = replace(HONEST, slices=40, stolen=8)
    assert found(hit, PLAN) == []
    (said,) = left_out_in_words(hit, PLAN, 1)
    assert "in 8 of 40 slices the hypervisor took over 5% of the time" in said
    ((code, text),) = found(replace(hit, stolen=9), PLAN)
    assert code == "steal"
    assert "in 9 of 40 slices the hypervisor took over 5%" in text
    assert "up to 8 would have been left out" in text
    assert left_out_in_words(replace(hit, stolen=9), PLAN, 1) == ()


def test_a_cell_names_every_kind_of_what_was_left_out() -> None:
    hit = replace(PUNCTUAL, slices=40, stolen=1, shared=2, others_share=0.1, late_share=0.01)
    assert len(left_out_in_words(hit, OPEN, 1)) == 3


def test_memory_of_idle_connections_is_the_same_whatever_the_hypervisor_took() -> None:
    stolen = replace(HONEST, slices=4, stolen=4)
    assert found(stolen, PLAN.replaced(model="idle"), WORKLOAD.replaced(saturates=False)) == []


def test_a_cpu_quota_that_held_up_the_container_for_any_time_fails_throttled() -> None:
    (refusal,) = refusals(replace(HONEST, throttled_share=0.0003), WORKLOAD, PLAN, 1)

    assert (refusal.gate.code, refusal.measured) == ("throttled", 0.0003)
    assert "held up the server's container for 0.03% of the slices' time" in refusal.text
    assert "pin it to its cores instead (cpuset)" in refusal.reason


def test_a_throttled_server_is_not_first_of_all_called_idle() -> None:
    assert codes(replace(HONEST, throttled_share=0.4, cpu_share=0.6)) == ["throttled", "server-idle"]


def test_what_the_machine_does_not_tell_is_not_held_against_a_cell() -> None:
    untold = replace(HONEST, steal_share=None, port_use=None, in_flight=None, throttled_share=None)

    assert found(untold, PLAN) == []


def test_a_lost_locust_worker_fails_workers() -> None:
    ((code, text),) = found(replace(HONEST, workers_missing=2), PLAN)

    assert code == "workers"
    assert "2 Locust workers gave no count" in text


def test_an_engine_spoils_the_latencies_of_an_open_loop_before_the_throughput_of_a_closed_one() -> None:
    busy = replace(PUNCTUAL, busy_share=0.71)

    assert found(replace(PUNCTUAL, busy_share=0.70), OPEN, PACED) == []
    ((code, text),) = found(busy, OPEN, PACED)
    assert code == "generator-busy"
    assert "busy 71% of the time (limit 70%)" in text
    assert found(replace(HONEST, busy_share=0.71), PLAN) == []


def test_idle_connections_give_few_answers_by_design() -> None:
    idle = PLAN.replaced(model="idle")
    unused = replace(HONEST, typical_completed=0.0, in_flight=None)

    assert found(unused, idle, WORKLOAD.replaced(saturates=False)) == []


FALLING = Drift(0.88, 0.83, 0.93, blocks=5, shared=True)


def unsteady(drift: Drift | None, plan: LevelPlan = PLAN) -> list[str]:
    return [refusal.reason for refusal in refusals(HONEST, WORKLOAD, plan, 1, drift)]


def test_a_rate_that_falls_in_every_block_is_unsteady() -> None:
    (reason,) = unsteady(FALLING)

    assert reason.startswith("unsteady: from the first to the last third of a block the rate moves by -12% ")
    assert "(-17% to -7% over 5 blocks; limit 5%), against the servers of the same rounds" in reason


@pytest.mark.parametrize(("ratio", "refused"), [(1.049, False), (1.051, True), (0.953, False), (0.952, True)])
def test_a_rate_may_move_by_five_percent_either_way(ratio: float, refused: bool) -> None:
    assert bool(unsteady(Drift(ratio, ratio - 0.01, ratio + 0.01, 5, shared=False))) is refused


def test_a_movement_that_may_be_chance_is_not_held_against_a_server() -> None:
    assert unsteady(replace(FALLING, high=1.01)) == []


def test_a_drift_that_cannot_be_judged_and_that_of_an_open_loop_refuse_nothing() -> None:
    assert unsteady(None) == []
    assert [code for code in unsteady(FALLING, PLAN.replaced(model="objective")) if "unsteady" in code] == []


def test_a_rate_over_too_few_pauses_is_refused_with_the_slice_that_would_do() -> None:
    few = replace(HONEST, blocks=2, counted=90, counted_s=6.0, pause_variance=64.0)
    (refusal,) = refusals(few, WORKLOAD, PLAN, 1)
    assert refusal.gate.code == "few-turns"
    assert "±17%" in refusal.text
    # 1.96 · 8 / 90 is 3.48 times the limit, so 12.1 times the 6 s are needed, half of them in each block.
    assert 'slice = "37s" in the workload.toml of keep-alive' in refusal.text
    assert "2 blocks" in refusal.text


def test_a_rate_over_many_pauses_is_not_refused() -> None:
    # ±5 % of 1,000 answers is 50, or 25.5 standard errors of one.
    assert codes(replace(HONEST, counted=1_000, pause_variance=25.0**2)) == []
    assert codes(replace(HONEST, counted=1_000, pause_variance=26.0**2)) == ["few-turns"]


def test_a_full_database_beside_a_server_that_is_not_full_is_the_limit_in_place_of_the_server() -> None:
    full = replace(HONEST, cpu_share=0.6, database_share=0.95, database_core_share=0.97)
    assert codes(full) == ["database-busy"]
    (refusal,) = refusals(full, WORKLOAD, PLAN, 1)
    assert (refusal.withholds, refusal.limits) == ((), ("rps", "latency_us"))
    assert "busy for 97% of the time (limit 90%), 95% with the database itself" in refusal.reason


def test_a_database_that_shares_its_core_is_the_limit_once_the_core_is_full() -> None:
    shared = replace(HONEST, cpu_share=0.6, database_share=0.5, database_core_share=0.95)
    (refusal,) = refusals(shared, WORKLOAD, PLAN, 1)
    assert (refusal.gate.code, refusal.finding) == ("database-busy", True)
    (taken,) = refusals(replace(shared, database_share=0.2), WORKLOAD, PLAN, 1)
    assert taken.withholds == ("rps", "latency_us")
    assert "the figure is that of whatever else had the database's time" in taken.reason
    assert "Keep other programs off that core" in taken.reason
    assert codes(replace(shared, database_core_share=None)) == ["server-idle"]


def test_a_full_database_is_not_the_limit_of_a_server_that_is_full_itself_or_of_more_cores() -> None:
    both = replace(HONEST, cpu_share=0.97, database_share=0.95, database_core_share=0.97)
    assert codes(both) == []
    half = replace(both, cpu_share=0.6)
    found = refusals(half, WORKLOAD, PLAN, 1, database_cores=2)
    assert [each.gate.code for each in found] == ["server-idle"]


def test_a_cell_without_a_database_has_none_that_could_be_busy() -> None:
    assert HONEST.database_share is None
    assert codes(replace(HONEST, cpu_share=0.6)) == ["server-idle"]
