"""Charts show what the instrument does without a server: its highest rate, its least response times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.charts.over_load import rate_charts
from analysis.charts.ranking import leading_charts
from analysis.charts.style import MUTED
from analysis.charts.times import response_charts
from gatebench.words.model import Level
from tests.support.charts import (
    FIFTEEN,
    KEEP_ALIVE,
    UVICORN,
    level_view,
    lines,
    only,
    run_view,
    said,
    texts_off_the_page,
)
from tests.support.synthetic import STEADY
from tests.support.synthetic_model import Truth

RATES = [replace(STEADY, level=Level(64, "open", rate_per_s=rate)) for rate in (2_000.0, 4_000.0)]


def responder(rate: float = 60_000.0) -> Truth:
    rates = {"keep-alive": rate, "steady": rate}
    return Truth("null-responder~limit", "null responder", "default", "wsgi", rates, p99_us={"steady": 400.0})


def test_a_limit_that_fits_the_axis_is_a_dashed_line_that_the_caption_explains(tmp_path: Path) -> None:
    view = level_view(tmp_path, FIFTEEN, KEEP_ALIVE, responder=responder(24_000))
    chart = only(leading_charts(view))

    (axes,) = chart.figure.axes
    (line,) = lines(axes, ink=MUTED, style="--")
    assert line[:, 0] == pytest.approx(24_000, rel=0.05)
    assert "Dashed: the limit of this instrument here: 2" in said(chart)
    assert "requests/s against a responder that does nothing in the same rounds." in said(chart)
    assert texts_off_the_page(chart) == []


def test_a_limit_beyond_the_axis_is_told_in_words_and_lengthens_no_axis(tmp_path: Path) -> None:
    without = level_view(tmp_path / "without", [UVICORN], KEEP_ALIVE)
    view = level_view(tmp_path / "with", [UVICORN], KEEP_ALIVE, responder=responder(60_000))
    chart, before = only(leading_charts(view)), only(leading_charts(without))

    assert chart.figure.axes[0].get_xlim()[1] < 30_000
    assert lines(chart.figure.axes[0], style="--") == []
    assert "Beyond this axis: the limit of this instrument here: " in said(chart)
    assert "limit of this instrument" not in said(before)


def test_response_times_stand_beside_this_machines_floor(tmp_path: Path) -> None:
    view = level_view(tmp_path, FIFTEEN, STEADY, responder=responder())
    chart = only(response_charts(view))

    (axes,) = chart.figure.axes
    (line,) = lines(axes, ink=MUTED, style="--")
    assert line[:, 0] == pytest.approx(0.4, rel=0.1)
    low, high = axes.get_xlim()
    assert low < 0.4 < high
    assert (
        "Dashed: this machine's floor: the p99 of a responder that does nothing at the same rate, 0."
        in said(chart)
    )
    assert "Within noise of that floor" not in said(chart)
    assert "floor of p99" in said(chart)
    assert texts_off_the_page(chart) == []


def test_response_times_within_noise_of_the_floor_are_said_to_be_the_machines(tmp_path: Path) -> None:
    quick, slow = (
        replace(UVICORN, id=name, server=name, p99_us={"steady": p99_us})
        for name, p99_us in (("quick", 400.0), ("slow", 4_000.0))
    )
    chart = only(response_charts(level_view(tmp_path, [quick, slow], STEADY, responder=responder())))

    assert "Within noise of that floor, so the machine's rather than their own: quick." in said(chart)
    assert texts_off_the_page(chart) == []


def test_over_rates_the_floor_is_a_line_in_every_panel(tmp_path: Path) -> None:
    view = run_view(tmp_path, FIFTEEN, RATES, responder=responder())
    chart = only(rate_charts(view))

    assert "Dashed: this machine's floor" in said(chart)
    panels = [axes for axes in chart.figure.axes if lines(axes, ink=MUTED, style="--")]
    assert len(panels) > 1
    for axes in panels:
        (line,) = lines(axes, ink=MUTED, style="--")
        assert line[:, 0].tolist() == [2_000.0, 4_000.0]
        assert axes.get_ylim()[0] < line[:, 1].min()


def test_charts_of_runs_that_measured_no_null_responder_have_no_such_line(tmp_path: Path) -> None:
    view = level_view(tmp_path, [UVICORN], STEADY)
    chart = only(response_charts(view))

    assert lines(chart.figure.axes[0], style="--") == []
    assert "floor" not in said(chart)
