"""What a run makes of the subject that it measured twice."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from analysis.figures.summary import summarize
from analysis.reading.run import Run
from tests.support.summaries import all_rows, in_memory, whole_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return whole_run(tmp_path_factory.mktemp("whole") / "run")


def with_twin(run: Run, factor: float) -> Run:
    """The run with uvicorn measured once more, that much faster."""
    original = run.meta.subject("uvicorn")
    twin = original.replaced(id="uvicorn~again", twin_of="uvicorn")
    meta = run.meta.replaced(subjects=(*run.meta.subjects, twin))
    again = run.slices[run.slices["subject"] == "uvicorn"].assign(subject=twin.id)
    again = again.assign(counted_s=again["counted_s"] / factor)
    rows = all_rows(run.histograms)
    counts = rows[rows["subject"] == "uvicorn"].assign(subject=twin.id)
    return replace(
        run,
        meta=meta,
        slices=pd.concat([run.slices, again], ignore_index=True),
        histograms=in_memory(pd.concat([rows, counts], ignore_index=True), run.histograms),
    )


def test_twins_that_are_told_apart_make_ties_of_differences_up_to_theirs(run: Run) -> None:
    level = summarize(with_twin(run, 1.045)).levels[0]
    noise, told = level.noise, [pair for pair in level.comparisons if pair.verdict in {"higher", "lower"}]
    assert noise is not None
    assert (noise.subject, noise.told_apart) == ("uvicorn", True)
    assert noise.band == pytest.approx(1.045)
    assert told
    assert all(max(pair.ratio or 1, 1 / (pair.ratio or 1)) > 1.045 for pair in told)


def test_twins_that_are_not_told_apart_leave_the_limit_where_it_was(run: Run) -> None:
    noise = summarize(with_twin(run, 1.0)).levels[0].noise
    assert noise is not None
    assert (noise.told_apart, noise.band) == (False, 1.03)
    assert noise.ratio == pytest.approx(1.0)
    assert (noise.low or 0) <= 1 <= (noise.high or 0)


def test_a_twin_that_is_not_valid_tells_no_noise(run: Run) -> None:
    twins = with_twin(run, 1.0)
    wrong = twins.slices.assign(errors_body=(twins.slices["subject"] == "uvicorn~again").astype(int))
    assert summarize(replace(twins, slices=wrong)).levels[0].noise is None


def test_a_twin_is_no_competitor(run: Run) -> None:
    level = summarize(with_twin(run, 1.0)).levels[0]
    assert "uvicorn~again" not in {cell.subject for cell in level.cells}
    assert "uvicorn~again" not in {name for pair in level.comparisons for name in (pair.left, pair.right)}


def test_a_run_that_measured_no_server_twice_knows_no_noise(run: Run) -> None:
    assert {level.noise for level in summarize(run).levels} == {None}
