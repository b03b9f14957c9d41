"""From a run's folder to its result: statuses, figures, reasons and comparisons."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.figures.cells import level_data, totals, whole_blocks
from analysis.figures.results import Summary, standings
from analysis.figures.summary import summarize
from analysis.figures.summary_file import as_json
from analysis.reading.run import Run, load_run
from gatebench.words.model import Level
from tests.support.summaries import (
    BY_ID,
    CLOSE,
    KEEP_ALIVE,
    QUIET,
    all_rows,
    cell,
    failure,
    in_memory,
    keep,
    places,
    small,
    whole_run,
)
from tests.support.synthetic import IDLE, LOADS, STEADY, SUBJECTS, make_run
from tests.support.synthetic_model import CONNECTIONS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return whole_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def summary(run: Run) -> Summary:
    return summarize(run)


@pytest.mark.parametrize("subject", ["granian-asgi", "uvicorn", "hypercorn"])
def test_a_rate_lies_near_the_truth(summary: Summary, subject: str) -> None:
    rps = cell(summary, subject).rps

    assert rps is not None
    # The synthetic machine's own speed varies by 5 % from block to block.
    assert rps.estimate == pytest.approx(BY_ID[subject].rates["keep-alive"], rel=0.10)


def test_a_ratio_is_far_closer_to_the_truth_than_the_rates_are(summary: Summary) -> None:
    pair = next(p for p in summary.levels[0].comparisons if (p.left, p.right) == ("granian-asgi", "uvicorn"))

    assert pair.ratio == pytest.approx(20_600 / 12_000, rel=0.02)
    assert pair.verdict == "higher"


def test_servers_one_percent_apart_are_a_tie(summary: Summary) -> None:
    pair = next(
        p for p in summary.levels[0].comparisons if (p.left, p.right) == ("gunicorn-uvicorn", "uvicorn")
    )

    assert pair.verdict == "tie"


@pytest.mark.parametrize(
    ("subject", "workload", "status", "code"),
    [
        ("uvicorn", "keep-alive", "ok", "too-few-samples"),
        ("uwsgi-http11", "keep-alive", "limited", "reuse"),
        ("gunicorn-sync", "keep-alive", "unsupported", "unsupported"),
        ("mod_wsgi", "keep-alive", "unavailable", "unavailable"),
        ("mod_wsgi", "websocket-echo", "unsupported", "unsupported"),
        ("daphne", "close", "failed", "died"),
        ("daphne", "keep-alive", "ok", "too-few-samples"),
    ],
)
def test_every_cell_has_its_own_status_and_code(
    summary: Summary, subject: str, workload: str, status: str, code: str
) -> None:
    found = cell(summary, subject, workload)

    assert (found.lead_status, found.code) == (status, code)


def test_an_unavailable_subject_says_how_to_mend_it(summary: Summary) -> None:
    assert "apt-get install apache2-dev" in cell(summary, "mod_wsgi").reasons[0]


def test_a_server_that_died_in_one_block_has_no_figures_but_its_blocks_and_its_log(summary: Summary) -> None:
    found = cell(summary, "daphne", "close")

    assert found.rps is None
    assert found.blocks == 4
    assert "block 4: the process ended with status 139\nlast lines of its log: boom" in found.reasons[0]
    assert "4 of 5 blocks" in found.reasons[1]


def test_only_valid_cells_are_compared(summary: Summary) -> None:
    for level in summary.levels:
        valid = {found.subject for found in level.cells if found.valid}
        assert {side for pair in level.comparisons for side in (pair.left, pair.right)} == valid
        assert len(level.comparisons) == len(valid) * (len(valid) - 1) // 2


def test_what_a_server_does_as_configured_limits_its_figures_which_are_shown(summary: Summary) -> None:
    found = cell(summary, "uwsgi-http11")

    assert found.rps is not None
    assert {name: judged.status for name, judged in found.figures.items()} == {
        "rps": "limited",
        "latency_us": "limited",
        "cpu_us_per_request": "limited",
        "memory_mib": "ok",
    }
    assert found.figures["rps"].reasons[0].startswith("reuse: ")
    assert found.figures["memory_mib"].reasons == ()


def test_a_busy_engine_withholds_throughput_and_latencies_but_not_the_servers_cpu_time(
    tmp_path: Path,
) -> None:
    found = cell(small(tmp_path, replace(BY_ID["uvicorn"], busy_share=0.95)), "uvicorn")

    assert (found.status, found.lead_status, found.code) == ("ok", "withheld", "generator-busy")
    assert (found.rps, found.lead, found.figure("p50")) == (None, None, None)
    assert found.cpu_us_per_request is not None
    assert found.memory_mib is not None


@pytest.mark.parametrize(
    ("share", "lead_status", "status"), [(0.002, "limited", "ok"), (0.05, "withheld", "withheld")]
)
def test_failed_requests_limit_up_to_one_percent_and_leave_no_figure_beyond(
    tmp_path: Path, share: float, lead_status: str, status: str
) -> None:
    a_slice = (cell(small(tmp_path / "none", BY_ID["uvicorn"]), "uvicorn").requests or 0) / (
        QUIET.blocks * QUIET.rounds
    )
    failing = replace(BY_ID["uvicorn"], errors={"keep-alive": {"reset": round(a_slice * share)}})

    found = cell(small(tmp_path / "some", failing), "uvicorn")

    assert (found.lead_status, found.status, found.code) == (lead_status, status, "errors")
    assert (found.rps is None) == (found.memory_mib is None) == (lead_status == "withheld")


def test_a_figure_that_was_not_measured_is_none_with_a_reason(tmp_path: Path) -> None:
    found = cell(small(tmp_path, replace(BY_ID["uvicorn"], measures_cpu=False)), "uvicorn")

    assert (found.status, found.cpu_us_per_request, found.memory_mib) == ("ok", None, None)
    assert any(reason.startswith("not-measured: the server's CPU time") for reason in found.reasons)
    assert any(reason.startswith("not-measured: the server's memory") for reason in found.reasons)


def test_cpu_per_request_is_the_cpu_time_of_all_answers_the_drained_ones_included(tmp_path: Path) -> None:
    busy = replace(BY_ID["uvicorn"], rates={"keep-alive": 10_000.0}, cpu_share={"keep-alive": 0.95})

    found = cell(small(tmp_path, busy), "uvicorn")

    assert found.cpu_us_per_request == pytest.approx(95.0, rel=0.10)


def test_requests_per_connection_is_one_where_every_answer_closes(summary: Summary) -> None:
    assert cell(summary, "uvicorn", "close").requests_per_connection == 1.0


def test_requests_per_connection_counts_a_connection_a_block_and_each_replacement(tmp_path: Path) -> None:
    steady = cell(small(tmp_path, BY_ID["uvicorn"]), "uvicorn")

    assert steady.requests is not None
    assert steady.requests_per_connection == steady.requests / (CONNECTIONS * QUIET.blocks)


def test_a_server_that_recycles_connections_shows_how_many_requests_each_served(summary: Summary) -> None:
    found = cell(summary, "uwsgi-http11").requests_per_connection

    assert found is not None
    assert 10 < found < 20


def test_one_block_gives_estimates_without_interval_and_no_place(tmp_path: Path) -> None:
    one = small(tmp_path, BY_ID["uvicorn"], BY_ID["granian-asgi"], plan=replace(QUIET, blocks=1))
    found = cell(one, "uvicorn")

    assert found.rps is not None
    assert found.rps.low is None
    assert any(reason.startswith("too-few-blocks") for reason in found.reasons)
    assert {pair.verdict for pair in one.levels[0].comparisons} == {"not enough data"}
    assert set(places(standings(one.levels[0])).values()) == {""}


def test_a_block_that_was_cut_off_does_not_count_beside_whole_ones(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", QUIET, [BY_ID["uvicorn"]], [KEEP_ALIVE], finished=False)
    keep(folder, "part-0004.parquet", lambda slices: slices["round"] < 3)
    events = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join(events[:-1]) + "\n")

    found = cell(summarize(load_run(folder)), "uvicorn")

    assert found.blocks == 4


def test_a_level_that_got_all_its_rounds_counts_although_its_block_was_cut_off(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", QUIET, [BY_ID["uvicorn"]], [KEEP_ALIVE], finished=False)
    events = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join(events[:-1]) + "\n")

    assert cell(summarize(load_run(folder)), "uvicorn").blocks == 5


@pytest.mark.parametrize("kind", ["exclusive", "idle"])
def test_where_one_subject_comes_after_the_other_only_a_finished_block_counts(
    tmp_path: Path, kind: str
) -> None:
    load = IDLE if kind == "idle" else KEEP_ALIVE
    folder = make_run(tmp_path / "run", QUIET, [BY_ID["uvicorn"]], [load], finished=False)
    events = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join(events[:-1]) + "\n")
    description = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(description | {"exclusive": kind == "exclusive"}))
    run = load_run(folder)

    assert whole_blocks(run, run.meta.levels[0]) == {0, 1, 2, 3}


def test_a_first_block_that_was_cut_off_is_shown_with_a_note(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", replace(QUIET, blocks=1), [BY_ID["uvicorn"]], [KEEP_ALIVE])
    keep(folder, "part-0000.parquet", lambda slices: slices["round"] < 3)
    (folder / "events.jsonl").write_text('{"kind": "block-started", "block": 0}\n')

    found = cell(summarize(load_run(folder)), "uvicorn")

    assert (found.status, found.blocks, found.code) == ("ok", 1, "partial-block")


def test_a_cell_that_the_run_has_not_come_to_is_unavailable_and_not_a_failure(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", QUIET, [BY_ID["uvicorn"]], [KEEP_ALIVE, CLOSE])
    for name in ("slices.parquet", "histograms.parquet"):
        for part in (folder / name).iterdir():
            frame = pd.read_parquet(part)
            frame[frame["workload"] == "keep-alive"].to_parquet(part)

    found = cell(summarize(load_run(folder)), "uvicorn", "close")

    assert (found.status, found.code) == ("unavailable", "not-measured")


def test_a_contract_failure_fails_every_cell_of_the_subject(tmp_path: Path) -> None:
    broken = [failure(block, "uvicorn", None, "contract") for block in range(QUIET.blocks)]
    found = small(tmp_path, BY_ID["uvicorn"], BY_ID["waitress"], failures=broken)

    assert {(c.status, c.code) for c in found.cells if c.subject == "uvicorn"} == {("failed", "contract")}
    assert {c.status for c in found.cells if c.subject == "waitress"} == {"ok"}


def test_a_cell_whose_server_died_before_its_turn_says_so(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run", QUIET, [BY_ID["uvicorn"]], [CLOSE, KEEP_ALIVE], [failure(0, "uvicorn", "close")]
    )
    for name in ("slices.parquet", "histograms.parquet"):
        for part in (folder / name).iterdir():
            frame = pd.read_parquet(part)
            frame[frame["workload"] == "close"].to_parquet(part)

    found = cell(summarize(load_run(folder)), "uvicorn")

    assert found.status == "failed"
    assert "failed in close before this workload's turn" in found.reasons[0]


def test_a_cell_with_fewer_blocks_than_its_level_says_so(summary: Summary, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", QUIET, [BY_ID["uvicorn"], BY_ID["waitress"]], [KEEP_ALIVE])
    keep(folder, "part-0002.parquet", lambda slices: slices["subject"] == "waitress")

    found = cell(summarize(load_run(folder)), "uvicorn")

    assert found.blocks == 4
    assert any(reason.startswith("missing-blocks: 4 of 5") for reason in found.reasons)
    assert not any(reason.startswith("missing-blocks") for reason in cell(summary, "uvicorn").reasons)


def test_the_order_of_the_parts_does_not_change_the_result(run: Run, summary: Summary) -> None:
    shuffled = replace(
        run,
        slices=run.slices.sample(frac=1, random_state=1),
        histograms=in_memory(all_rows(run.histograms).sample(frac=1, random_state=1), run.histograms),
    )

    assert json.dumps(as_json(summarize(shuffled))) == json.dumps(as_json(summary))


def test_totals_add_up_to_the_raw_slices(run: Run) -> None:
    raw = run.slices[(run.slices["subject"] == "uvicorn") & (run.slices["workload"] == "close")]
    added = totals(level_data(run, run.meta.levels[1]), "uvicorn", "close")

    assert added is not None
    assert added.requests == raw["completed"].sum() + raw["drained"].sum()
    assert added.percentiles.samples == raw["latency_count"].sum()


def test_the_file_form_has_exactly_the_keys_of_schema_2(summary: Summary) -> None:
    content = json.loads(json.dumps(as_json(summary), allow_nan=False))

    assert list(content) == [
        "schema", "run", "runner", "profile", "seed", "cells", "comparisons", "noise", "limits",
        "percentiles", "claims",
    ]  # fmt: skip
    assert content["schema"] == 2
    assert len(content["cells"]) == len(SUBJECTS) * len(LOADS)
    for found in content["cells"]:
        assert list(found) == [
            "subject", "server", "app", "interface", "workload", "level", "metric", "unit", "rate_per_s",
            "status", "reasons", "blocks", "requests", "errors", "examples", "names", "uncounted",
            "lead", "figures", "mib_per_s", "fit", "requests_per_connection", "memory_peak_mib",
        ]  # fmt: skip
        assert list(found["lead"]) == ["status", "estimate", "low", "high"]
        assert list(found["figures"]) == ["rps", "latency_us", "cpu_us_per_request", "memory_mib"]
        times = found["figures"]["latency_us"]
        percentiles = ["p50", "p90", "p99", "p999", "max"]
        assert list(times) == ["status", "reasons", *percentiles, "typical", "service", "last"]
        assert list(times["service"]) == list(times["last"]) == percentiles
        for name in ("rps", "cpu_us_per_request", "memory_mib"):
            figure = found["figures"][name]
            assert list(figure) == ["status", "reasons", "estimate", "low", "high"]
            assert (figure["estimate"] is None) == (figure["status"] in {"withheld", "not-measured"})
            assert bool(figure["reasons"]) == (figure["status"] in {"limited", "withheld"})
    assert list(content["comparisons"][0]) == [
        "workload", "level", "metric", "left", "right", "blocks", "ratio", "low", "high", "p",
        "verdict", "because",
    ]  # fmt: skip


def test_the_file_form_has_the_rankings_by_other_percentiles_with_every_pair(tmp_path: Path) -> None:
    pair = [replace(BY_ID[name], rates={"steady": 9_000.0}) for name in ("uvicorn", "waitress")]
    plan = replace(QUIET, rounds=24)
    found = as_json(summarize(load_run(make_run(tmp_path / "run", plan, pair, [STEADY]))))["percentiles"]

    assert [(each["workload"], each["level"], each["metric"]) for each in found] == [
        ("steady", "r2000", "p50"),
        ("steady", "r2000", "p90"),
    ]
    for each in found:
        assert [cell["subject"] for cell in each["cells"]] == ["uvicorn", "waitress"]
        assert all(cell["low"] < cell["estimate"] < cell["high"] for cell in each["cells"])
        assert [(one["left"], one["right"], one["metric"]) for one in each["comparisons"]] == [
            ("uvicorn", "waitress", each["metric"])
        ]


def test_a_closed_loop_leads_with_its_throughput(summary: Summary) -> None:
    for found in summary.levels[0].cells:
        assert found.lead == found.rps


def test_large_bodies_are_told_in_mib_per_second(tmp_path: Path) -> None:
    large = replace(KEEP_ALIVE, answer_bytes=1 << 20)
    steady = replace(BY_ID["uvicorn"], rates={"keep-alive": 500.0})
    run = load_run(make_run(tmp_path / "run", QUIET, [steady], [large]))

    found = cell(summarize(run), "uvicorn")

    assert found.rps is not None
    assert found.mib_per_s == pytest.approx(found.rps.estimate)


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("steal_s", 0.05, "steal"),
        ("throttled_s", 0.0001, "throttled"),
        ("port_use", 0.95, "ports"),
        ("no_port", 1, "ports"),
        ("workers_missing", 1, "workers"),
        ("held_s", 5.0, "uneven"),
    ],
)
def test_what_a_slice_saw_of_its_machine_reaches_the_gates(
    tmp_path: Path, column: str, value: float, code: str
) -> None:
    seen = replace(BY_ID["uvicorn"], columns={column: value})

    assert cell(small(tmp_path, seen), "uvicorn").code == code


def test_the_ceiling_is_the_one_that_the_run_measured(tmp_path: Path) -> None:
    low = replace(KEEP_ALIVE, ceiling_per_s=15_000.0)
    unread = [replace(BY_ID[name], measures_cpu=False) for name in ("uvicorn", "waitress")]
    run = load_run(make_run(tmp_path / "run", QUIET, unread, [low]))

    found = summarize(run)

    assert cell(found, "uvicorn").code == "ceiling"
    assert cell(found, "waitress").lead_status == "ok"


def test_that_nothing_shows_the_engines_limit_is_said_of_answers_of_ones_own_and_of_no_others(
    tmp_path: Path,
) -> None:
    unread = [replace(BY_ID["waitress"], measures_cpu=False), BY_ID["uvicorn"]]
    run = load_run(make_run(tmp_path / "run", QUIET, unread, [KEEP_ALIVE]))

    def told(subject: str) -> bool:
        reasons = cell(summarize(run), subject).reasons
        return any(reason.startswith("not-measured: what the engine can do") for reason in reasons)

    assert not told("waitress")
    (workload,) = run.meta.workloads
    own = workload.replaced(request=workload.request.replaced(answer_sha256="ab"))
    run = replace(run, meta=run.meta.replaced(workloads=(own,)))
    assert told("waitress")
    assert not told("uvicorn")  # its core was full: it was its own limit


def test_a_calibration_that_a_server_surpasses_was_disturbed_and_refuses_nobody(tmp_path: Path) -> None:
    low = replace(KEEP_ALIVE, ceiling_per_s=8_000.0)  # waitress does 5,500, uvicorn 12,000
    run = load_run(make_run(tmp_path / "run", QUIET, [BY_ID["uvicorn"], BY_ID["waitress"]], [low]))

    for subject in ("uvicorn", "waitress"):
        found = cell(summarize(run), subject)
        assert found.lead_status == "ok"
        assert any("its calibration was disturbed (8,000 a second)" in reason for reason in found.reasons)


def test_a_run_of_schema_1_gives_the_same_figures_as_one_of_schema_2(tmp_path: Path) -> None:
    old, new = (
        small(
            tmp_path / str(schema), BY_ID["uvicorn"], BY_ID["hypercorn"], plan=replace(QUIET, schema=schema)
        )
        for schema in (1, 2)
    )

    assert cell(old, "uvicorn") == cell(new, "uvicorn")
    assert old.levels[0].comparisons == new.levels[0].comparisons


def test_a_step_of_a_ladder_whose_reference_failed_says_so(tmp_path: Path) -> None:
    step = replace(STEADY, level=Level(64, "ladder", capacity_share=0.75))
    folder = make_run(tmp_path / "run", QUIET, [replace(BY_ID["uvicorn"], rates={"steady": 1.0})], [step])
    for name in ("slices.parquet", "histograms.parquet"):
        for part in (folder / name).iterdir():
            part.unlink()
    (folder / "events.jsonl").write_text("")

    found = cell(summarize(load_run(folder)), "uvicorn", "steady")

    assert found.status == "unavailable"
    assert "the rate is a share of what" in found.reasons[0]


def test_a_server_without_one_correct_answer_has_no_rate_at_all(run: Run) -> None:
    slices = run.slices.copy()
    its_own = slices["subject"] == "uvicorn"
    slices.loc[its_own, ["completed", "drained", "counted"]] = 0
    slices.loc[its_own, "errors_status"] = 100
    found = cell(summarize(replace(run, slices=slices)), "uvicorn")
    assert (found.status, found.lead, found.rps) == ("withheld", None, None)
    assert any("not one answer was correct" in reason for reason in found.reasons)
    nobody = run.slices.assign(completed=0, drained=0, counted=0, errors_status=100)
    assert cell(summarize(replace(run, slices=nobody)), "uvicorn").rps is None
