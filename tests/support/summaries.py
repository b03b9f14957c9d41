"""Results of synthetic runs, and ways to cut one short, for the tests of what is said about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.results import CellResult, Standing, Summary
from analysis.figures.summary import summarize
from analysis.reading.run import Run, load_run
from analysis.reading.tables import Histograms, Part
from tests.support.synthetic import LOADS, SUBJECTS, make_run
from tests.support.synthetic_model import CONNECTIONS, Plan, Truth

BY_ID = {truth.id: truth for truth in SUBJECTS}
KEEP_ALIVE, CLOSE = LOADS[0], LOADS[1]
QUIET = Plan(blocks=5, rounds=10, drift=0.003, slice_noise=0.01, block_noise=0.003)


def all_rows(histograms: Histograms) -> pd.DataFrame:
    """Every row, of a run that is small enough."""
    return pd.concat([part.read() for part in histograms.parts], ignore_index=True)


def in_memory(rows: pd.DataFrame, like: Histograms) -> Histograms:
    """Histograms of these rows, with the levels of `like`."""
    levels = frozenset[tuple[str, str]]().union(*(part.levels for part in like.parts))
    return Histograms((Part(levels, lambda: rows),), like.types)


def whole_run(folder: Path) -> Run:
    """All subjects, all workloads, five blocks; one subject unavailable, one that died in block 4."""
    subjects = [
        replace(truth, unavailable="apxs is not installed: apt-get install apache2-dev")
        if truth.id == "mod_wsgi"
        else truth
        for truth in SUBJECTS
    ]
    died = failure(3, "daphne", "close")
    return load_run(make_run(folder, QUIET, subjects, failures=[died]))


def failure(block: int, subject: str, workload: str | None, code: str = "died") -> dict[str, Any]:
    level = f"c{CONNECTIONS}" if workload else None
    text = "the process ended with status 139\nlast lines of its log: boom"
    return {
        "block": block,
        "subject": subject,
        "workload": workload,
        "level": level,
        "code": code,
        "text": text,
    }


def cell(summary: Summary, subject: str, workload: str = "keep-alive") -> CellResult:
    return next(found for found in summary.cells if (found.subject, found.workload) == (subject, workload))


def small(tmp_path: Path, *subjects: Truth, plan: Plan = QUIET, **more: Any) -> Summary:
    return summarize(load_run(make_run(tmp_path / "run", plan, subjects, [KEEP_ALIVE, CLOSE], **more)))


def places(rows: list[Standing]) -> dict[str, str]:
    return {row.cell.subject: row.places for row in rows}


def keep(folder: Path, part: str, kept: Callable[[pd.DataFrame], pd.Series[bool]]) -> None:
    """Takes slices out of a part, and what they timed out of its histograms."""
    slices = pd.read_parquet(folder / "slices.parquet" / part)
    slices = slices[kept(slices)].assign(latency_count=0)
    histograms = pd.read_parquet(folder / "histograms.parquet" / part)
    histograms = histograms[histograms["subject"].isin(slices["subject"])]
    for subject, count in histograms.groupby("subject")["count"].sum().items():
        slices.loc[slices.index[slices["subject"] == subject][0], "latency_count"] = count
    slices.to_parquet(folder / "slices.parquet" / part)
    histograms.to_parquet(folder / "histograms.parquet" / part)
