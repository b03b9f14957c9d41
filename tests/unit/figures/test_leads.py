"""The figure that leads each kind of load, against runs whose truth is known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.figures.cells import LevelData, level_data, totals
from analysis.figures.leads import MIN_SETTLED, fit, lead_table, typical_percentiles
from analysis.figures.results import CellResult, LevelResult, standings
from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from gatebench.results.schema import LevelPlan
from gatebench.words.plan import Search
from tests.support.synthetic import BROADCAST, IDLE, SEARCH, STEADY, SUBJECTS, VISIT, make_run
from tests.support.synthetic_model import Load, Plan, Truth

UVICORN = next(truth for truth in SUBJECTS if truth.id == "uvicorn")
QUIET = Plan(blocks=4, rounds=24, drift=0.003, slice_noise=0.01, block_noise=0.003)
OPEN = LevelPlan(
    workload="steady",
    level="r2000",
    connections=64,
    model="open",
    rate_per_s=2_000.0,
    rounds=1,
    slice_s=0.1,
)
SEARCHING = OPEN.replaced(model="objective", rate_per_s=None, objective="p99-10ms")
HOLDING = OPEN.replaced(model="idle", rate_per_s=None)


def subject(name: str, load: Load, figure: float, **more: Any) -> Truth:
    return replace(UVICORN, id=name, server=name, rates={load.name: figure}, **more)


def measured(tmp_path: Path, load: Load, *subjects: Truth) -> LevelResult:
    return summarize(load_run(make_run(tmp_path / "run", QUIET, subjects, [load]))).levels[0]


def cell(level: LevelResult, name: str) -> CellResult:
    return next(found for found in level.cells if found.subject == name)


def estimate(level: LevelResult, name: str) -> float:
    lead = cell(level, name).lead
    assert lead is not None
    return lead.estimate


def data(plan: LevelPlan, slices: pd.DataFrame, histograms: pd.DataFrame | None = None) -> LevelData:
    return LevelData(plan, slices, pd.DataFrame() if histograms is None else histograms, partial=False)


def test_the_p99_of_an_open_loop_is_the_true_one_and_the_lower_one_ranks_first(tmp_path: Path) -> None:
    slow = subject("slow", STEADY, 9_000, p99_us={"steady": 8_000.0})
    fast = subject("fast", STEADY, 9_000, p99_us={"steady": 4_000.0})

    level = measured(tmp_path, STEADY, slow, fast)

    assert estimate(level, "fast") == pytest.approx(4_000, rel=0.1)
    (pair,) = level.comparisons
    assert (pair.left, pair.verdict) == ("fast", "lower")
    assert pair.ratio == pytest.approx(0.5, rel=0.04)
    assert [(row.cell.subject, row.places) for row in standings(level)] == [("fast", "1"), ("slow", "2")]


def test_an_open_loop_is_ranked_by_its_p50_and_p90_too_each_with_an_interval(tmp_path: Path) -> None:
    slow = subject("slow", STEADY, 9_000, p99_us={"steady": 8_000.0})
    fast = subject("fast", STEADY, 9_000, p99_us={"steady": 4_000.0})
    over = subject("over", STEADY, 1_500)

    level = measured(tmp_path, STEADY, slow, fast, over)

    assert [each.metric.name for each in level.percentiles] == ["p50", "p90"]
    for ranked in level.percentiles:
        (pair,) = ranked.comparisons
        assert (pair.left, pair.right, pair.verdict) == ("fast", "slow", "lower")
        assert pair.ratio == pytest.approx(0.5, rel=0.04)
        lead, name = cell(ranked, "fast").lead, ranked.metric.name
        assert lead is not None
        assert lead.low is not None
        assert lead.high is not None
        assert lead.low < lead.estimate < lead.high
        assert lead.estimate == cell(level, "fast").figure(name)
        assert lead.estimate < estimate(level, "fast")
        assert [row.cell.subject for row in standings(ranked)] == ["fast", "slow", "over"]
        assert cell(ranked, "over").lead is None


def test_only_a_level_at_one_rate_is_ranked_by_percentiles(tmp_path: Path) -> None:
    assert measured(tmp_path, SEARCH, subject("only", SEARCH, 9_000)).percentiles == ()


def test_an_open_loop_keeps_both_clocks_and_its_figure_is_of_the_response_time(tmp_path: Path) -> None:
    only = subject("only", STEADY, 9_000, p99_us={"steady": 4_000.0})

    found = cell(measured(tmp_path, STEADY, only), "only")

    assert found.latency_us["p50"] is not None
    assert found.service_us["p50"] == pytest.approx(0.95 * found.latency_us["p50"], rel=0.02)


def test_a_server_slower_than_the_rate_is_overloaded_and_takes_no_place(tmp_path: Path) -> None:
    fast, over = subject("fast", STEADY, 9_000), subject("over", STEADY, 1_500)

    level = measured(tmp_path, STEADY, fast, over)

    assert cell(level, "over").code == "rate-missed"
    behind = re.search(r"([\d.]+)% behind", cell(level, "over").reasons[0])
    assert behind is not None
    assert float(behind[1]) == pytest.approx(25, abs=8)  # the machine's own speed varies
    assert level.comparisons == ()


def test_an_engine_that_sends_late_is_seen_in_the_lag_clock(tmp_path: Path) -> None:
    late = subject("late", STEADY, 9_000, lag_us=2_500.0)

    assert cell(measured(tmp_path, STEADY, late), "late").code == "send-lag"


def test_a_block_with_too_few_latencies_for_a_tail_has_none() -> None:
    rows = [
        {"block": block, "subject": "a", "clock": "response", "latency_us": 100, "count": count}
        for block, count in enumerate((9_001, 999))
    ]

    table = lead_table(data(OPEN, pd.DataFrame(), pd.DataFrame(rows)))

    assert np.exp(table["a"][0, 0]) == pytest.approx(100)
    assert np.isnan(table["a"][1, 0])


def test_a_cell_with_too_few_latencies_for_a_tail_leads_with_nothing() -> None:
    rows = [
        {"block": block, "subject": subject, "clock": "response", "latency_us": 100, "count": count}
        for subject, count in (("few", 4_999), ("enough", 5_000))
        for block in range(2)
    ]
    assert list(lead_table(data(OPEN, pd.DataFrame(), pd.DataFrame(rows)))) == ["enough"]


def test_percentiles_beside_the_leading_one_never_contradict_it() -> None:
    # One block in three stalls: its p90 is over the mean p99, as all blocks together would have it.
    histogram = {False: {100: 9_900, 200: 100}, True: {100: 8_000, 50_000: 2_000}}
    rows = [
        {"block": block, "subject": "a", "clock": "response", "latency_us": latency_us, "count": count}
        for block in range(3)
        for latency_us, count in histogram[block == 2].items()
    ]
    found = typical_percentiles(data(OPEN, pd.DataFrame(), pd.DataFrame(rows)), "a")
    lead = float(np.exp(lead_table(data(OPEN, pd.DataFrame(), pd.DataFrame(rows)))["a"].mean()))
    p50, p90, p99 = (each.estimate for name in ("p50", "p90", "p99") if (each := found[name]) is not None)
    assert p50 == pytest.approx(100)
    assert p99 == pytest.approx(lead)
    assert p50 < p90 <= lead


def test_only_the_response_clock_leads_an_open_loop() -> None:
    rows = [
        {"block": 0, "subject": "a", "clock": clock, "latency_us": latency_us, "count": 10_000}
        for clock, latency_us in (("response", 900), ("service", 300), ("lag", 10))
    ]

    assert np.exp(lead_table(data(OPEN, pd.DataFrame(), pd.DataFrame(rows)))["a"][0, 0]) == pytest.approx(900)


@pytest.mark.parametrize("threshold", [300.0, 4_000.0, 20_000.0])
@pytest.mark.parametrize("first_guess", [0.4, 1.0, 3.0])
def test_a_search_finds_the_rate_up_to_which_a_server_keeps_to_the_objective(
    threshold: float, first_guess: float
) -> None:
    random = np.random.default_rng(5)
    search = Search(threshold * first_guess)
    rows = []
    for number in range(40):
        met = search.rate_per_s <= threshold * np.exp(random.normal(0, 0.05))
        row = {"block": 0, "round": number, "subject": "a", "objective_met": float(met)}
        rows.append(row | {"rate_per_s": search.rate_per_s})
        search.step(met=bool(met))

    found = np.exp(lead_table(data(SEARCHING, pd.DataFrame(rows)))["a"][0, 0])

    assert found == pytest.approx(threshold, rel=0.07)


def test_a_search_that_has_hardly_turned_has_found_nothing() -> None:
    met = [1.0, 1.0, 0.0, 1.0, *[0.0, 1.0] * MIN_SETTLED]
    rows = [
        {"block": 0, "round": number, "subject": "a", "objective_met": each, "rate_per_s": 100.0}
        for number, each in enumerate(met)
    ]

    def found(rounds: int) -> float:
        return float(lead_table(data(SEARCHING, pd.DataFrame(rows[:rounds])))["a"][0, 0])

    assert np.isnan(found(2))
    assert np.isnan(found(3 + MIN_SETTLED - 1))
    assert np.exp(found(3 + MIN_SETTLED)) == pytest.approx(100.0)


def test_searches_are_ranked_by_the_rate_they_found_and_show_no_latencies(tmp_path: Path) -> None:
    level = measured(tmp_path, SEARCH, subject("low", SEARCH, 4_000), subject("high", SEARCH, 8_000))

    found = cell(level, "high")
    assert (level.metric.name, level.metric.better) == ("within_objective", "higher")
    # The synthetic machine's own speed varies by 5 % from block to block.
    assert estimate(level, "high") == pytest.approx(8_000, rel=0.12)
    assert [row.cell.subject for row in standings(level)] == ["high", "low"]
    assert (found.rps, set(found.latency_us.values())) == (None, {None})
    assert any("a search tries many rates" in reason for reason in found.reasons)


def test_a_search_without_enough_rounds_says_what_it_needs(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", replace(QUIET, rounds=4), [subject("a", SEARCH, 4_000)], [SEARCH])

    found = cell(summarize(load_run(folder)).levels[0], "a")

    assert found.lead is None
    assert any("give it more time" in reason for reason in found.reasons)


def test_the_memory_of_an_idle_connection_is_the_true_one_and_less_is_better(tmp_path: Path) -> None:
    level = measured(tmp_path, IDLE, subject("fat", IDLE, 40.0), subject("lean", IDLE, 10.0))

    assert estimate(level, "lean") == pytest.approx(10.0, rel=0.03)
    assert [row.cell.subject for row in standings(level)] == ["lean", "fat"]
    assert (cell(level, "lean").fit or 0) > 0.999
    assert cell(level, "lean").rps is None


def memory(*values_mib: float) -> pd.DataFrame:
    rows = [
        {"block": 0, "round": number, "subject": "a", "connections": 1_000 * number, "server_memory_mib": mib}
        for number, mib in enumerate(values_mib, start=1)
    ]
    return pd.DataFrame(rows)


def test_a_straight_line_fits_and_a_step_does_not() -> None:
    assert fit(memory(20, 30, 40, 50)) == pytest.approx(1.0)
    assert (fit(memory(20, 20, 20, 80)) or 1) < 0.7


def test_the_worst_block_decides_how_well_a_line_fits() -> None:
    both = pd.concat([memory(20, 30, 40, 50), memory(20, 20, 20, 80).assign(block=1)])

    assert fit(both) == fit(memory(20, 20, 20, 80))


def test_two_numbers_of_connections_or_memory_that_falls_give_no_figure() -> None:
    assert fit(memory(20, 30)) is None
    assert np.isnan(lead_table(data(HOLDING, memory(20, 30)))["a"][0, 0])
    assert np.isnan(lead_table(data(HOLDING, memory(50, 40, 30)))["a"][0, 0])


def test_the_slope_leaves_out_what_a_server_takes_without_connections() -> None:
    small, large = memory(20, 30, 40), memory(220, 230, 240)

    slopes = [np.exp(lead_table(data(HOLDING, each))["a"][0, 0]) for each in (small, large)]

    assert slopes == pytest.approx([10.24, 10.24])


def test_a_broadcast_is_ranked_by_broadcasts_and_keeps_the_last_subscribers_delay(tmp_path: Path) -> None:
    level = measured(tmp_path, BROADCAST, subject("a", BROADCAST, 200.0))

    found = cell(level, "a")
    assert level.metric.unit == "broadcasts/s"
    assert estimate(level, "a") == pytest.approx(200.0, rel=0.1)
    assert found.last_us["p50"] == pytest.approx(2 * (found.latency_us["p50"] or 0), rel=0.1)
    assert found.lead_status == "ok"


def test_a_locust_file_leads_with_its_throughput(tmp_path: Path) -> None:
    level = measured(tmp_path, VISIT, subject("a", VISIT, 130.0))

    assert level.metric.unit == "requests/s"
    assert estimate(level, "a") == pytest.approx(130.0, rel=0.1)


@pytest.mark.parametrize("load", [STEADY, SEARCH, IDLE], ids=lambda load: load.name)
def test_a_level_without_a_slice_has_no_figure_and_no_comparison(tmp_path: Path, load: Load) -> None:
    absent = subject("a", load, 100.0, unavailable="uv is not installed")
    run = load_run(make_run(tmp_path / "run", QUIET, [absent], [load]))

    assert lead_table(level_data(run, run.meta.levels[0])).empty
    assert summarize(run).levels[0].comparisons == ()


@pytest.mark.parametrize(("completed", "missed"), [(474, 0.0), (449, 0.05)])
def test_requests_on_their_way_when_the_window_ends_are_not_missed(
    tmp_path: Path, completed: int, missed: float
) -> None:
    only = subject("only", STEADY, 9_000)
    run = load_run(make_run(tmp_path / "run", QUIET, [only], [STEADY]))
    # Half of the requests take 1 ms and half 25 ms: at 2,000 a second 26 are in flight at any time.
    two_kinds = pd.DataFrame({"clock": "service", "latency_us": [1_000, 25_000], "count": 4_000})
    histograms = two_kinds.assign(block=0, subject="only")
    slices = run.slices.assign(offered=500, completed=completed)

    added = totals(data(run.meta.levels[0], slices, histograms), "only", "keep-alive")

    assert added is not None
    assert added.missed_share == pytest.approx(missed, abs=0.001)
