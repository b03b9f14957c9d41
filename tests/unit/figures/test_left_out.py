"""What is left out of a cell because others, the hypervisor or a late engine spoiled it, and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.figures.summary import summarize
from analysis.reading.run import Run, load_run
from tests.support.summaries import (
    BY_ID,
    KEEP_ALIVE,
    QUIET,
    cell,
)
from tests.support.synthetic import STEADY, make_run


def with_disturbed_rounds(folder: Path, kind: str, rounds: set[int]) -> Run:
    """The run in `folder` with uvicorn disturbed in some rounds: half the rate, 90 s of latency.

    `shared`: others were on its core. `stolen`: the hypervisor took a quarter of the cores.
    """
    for part in (folder / "slices.parquet").iterdir():
        slices = pd.read_parquet(part)
        hit = (slices["subject"] == "uvicorn") & slices["round"].isin(rounds)
        slices = slices.assign(shared=False, stolen=False, others="", counted=slices["counted"] // (1 + hit))
        slices[kind] = hit
        if kind == "shared":
            slices = slices.assign(others_s=hit * 0.05, others=hit.map({True: "uvicorn+busy", False: ""}))
        else:
            slices = slices.assign(steal_s=hit * 0.05)
        slices["latency_count"] += 1_000 * hit
        slices.to_parquet(part)
    for part in (folder / "histograms.parquet").iterdir():
        latencies = pd.read_parquet(part).assign(shared=False, stolen=False)
        late = latencies[latencies["subject"] == "uvicorn"].iloc[:1]
        late = late.assign(latency_us=90_000_000, count=1_000 * len(rounds), **{kind: True})
        pd.concat([latencies, late]).to_parquet(part)
    return load_run(folder)


@pytest.mark.parametrize(
    ("kind", "named"),
    [("shared", "uvicorn+busy (10 slices)"), ("stolen", "the hypervisor took over 5% of the time")],
)
def test_slices_that_were_disturbed_are_left_out_with_their_latencies(
    tmp_path: Path, kind: str, named: str
) -> None:
    plan = replace(QUIET, rounds=10)
    subjects = [BY_ID["uvicorn"], BY_ID["waitress"]]
    undisturbed = summarize(load_run(make_run(tmp_path / "clean", plan, subjects, [KEEP_ALIVE])))
    folder = make_run(tmp_path / "run", plan, subjects, [KEEP_ALIVE])
    found = summarize(with_disturbed_rounds(folder, kind, {3, 7}))

    honest, clean = cell(found, "uvicorn"), cell(undisturbed, "uvicorn")
    assert honest.lead_status == "ok"
    assert honest.rps is not None
    assert clean.rps is not None
    assert honest.rps.estimate == pytest.approx(clean.rps.estimate, rel=0.01)
    assert honest.latency_us["max"] == clean.latency_us["max"]
    (said,) = (reason for reason in honest.reasons if reason.startswith("left-out: "))
    slices = plan.blocks * plan.rounds
    assert f"in {2 * plan.blocks} of {slices} slices" in said
    assert named in said
    assert cell(found, "waitress") == cell(undisturbed, "waitress")


def test_a_block_whose_slices_are_all_left_out_is_not_called_missing(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run", replace(QUIET, rounds=1), [BY_ID["uvicorn"], BY_ID["waitress"]], [KEEP_ALIVE]
    )
    run = load_run(folder)
    hit = (run.slices["subject"] == "uvicorn") & (run.slices["block"] == 2)
    slices = run.slices.assign(shared=hit, others_s=hit * 0.05, others="")

    found = cell(summarize(replace(run, slices=slices)), "uvicorn")

    assert found.blocks == QUIET.blocks - 1
    codes = {reason.partition(":")[0] for reason in found.reasons}
    assert "left-out" in codes
    assert "missing-blocks" not in codes


@pytest.mark.parametrize(
    ("kind", "code", "named", "step"),
    [
        ("shared", "shared-core", "uvicorn+busy", "--exclusive"),
        ("stolen", "steal", "in 15 of 50 slices", "less shared"),
    ],
)
def test_a_cell_that_was_disturbed_in_more_than_a_fifth_of_its_slices_is_refused(
    tmp_path: Path, kind: str, code: str, named: str, step: str
) -> None:
    plan = replace(QUIET, rounds=10)
    folder = make_run(tmp_path / "run", plan, [BY_ID["uvicorn"], BY_ID["waitress"]], [KEEP_ALIVE])
    found = summarize(with_disturbed_rounds(folder, kind, {1, 3, 7}))

    refused = cell(found, "uvicorn")
    assert (refused.lead_status, refused.code) == ("withheld", code)
    assert named in refused.reasons[0]
    assert step in refused.reasons[0]
    assert cell(found, "waitress").lead_status == "ok"


def with_late_requests(folder: Path, count: int) -> Run:
    """The run in `folder` with so many requests a slice for which the engine was late, by 5 to 90 s."""
    for part in (folder / "slices.parquet").iterdir():
        slices = pd.read_parquet(part)
        late = len(slices) * count
        slices.assign(left_out=count, latency_count=slices["latency_count"] + count).to_parquet(part)
    for part in (folder / "histograms.parquet").iterdir():
        latencies = pd.read_parquet(part).assign(late=False)
        rows = [
            latencies[latencies["clock"] == clock].iloc[:1].assign(latency_us=took_us, count=late, late=True)
            for clock, took_us in (("response", 90_000_000), ("service", 90_000_000), ("lag", 5_000_000))
        ]
        pd.concat([latencies, *rows]).to_parquet(part)
    return load_run(folder)


def test_what_an_engine_was_late_for_is_left_out_and_refuses_a_cell_only_over_a_fifth(tmp_path: Path) -> None:
    steady = replace(BY_ID["uvicorn"], rates={STEADY.name: 9_000.0})
    plan = replace(QUIET, blocks=1)
    clean = load_run(make_run(tmp_path / "clean", plan, [steady], [STEADY]))
    count = int(clean.slices["latency_count"].iloc[0])
    few, many = (
        with_late_requests(make_run(tmp_path / name, plan, [steady], [STEADY]), round(share * count))
        for name, share in (("few", 0.2), ("many", 0.3))
    )
    undisturbed, found, refused = (cell(summarize(run), "uvicorn", STEADY.name) for run in (clean, few, many))
    assert (found.lead_status, found.latency_us) == ("ok", undisturbed.latency_us)
    assert found.service_us == undisturbed.service_us
    assert found.code == "left-out"
    assert "held up at the moments of 16.7% of the requests" in found.reasons[0]
    assert (refused.status, refused.lead_status, refused.code) == ("ok", "withheld", "send-lag")
    assert "held up at the moments of 23% of them" in refused.reasons[0]
    assert refused.latency_us["max"] is None
    assert refused.rps is not None
