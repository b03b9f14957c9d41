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


def test_differences_up_to_what_a_twin_shows_are_ties(run: Run) -> None:
    quiet, noisy = summarize(with_twin(run, 1.0)).levels[0], summarize(with_twin(run, 1.045)).levels[0]
    assert quiet.noise is not None
    assert quiet.noise.band == pytest.approx(1.0)
    assert noisy.noise is not None
    assert noisy.noise.subject == "uvicorn"
    assert noisy.noise.band == pytest.approx(1.045)
    told = [pair for pair in noisy.comparisons if pair.verdict in {"higher", "lower"}]
    assert told
    assert all(max(pair.ratio or 1, 1 / (pair.ratio or 1)) > 1.045 for pair in told)


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
