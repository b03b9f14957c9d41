"""Steadiness over time: every slice is a dot, blocks are told apart, and common drift is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from analysis.charts.steadiness import steadiness_charts
from analysis.charts.style import INK, color
from analysis.figures.steadiness import MIN_COMPANY
from tests.support.charts import (
    KEEP_ALIVE,
    PLAN,
    UVICORN,
    WAIT,
    Views,
    again,
    crowd,
    lines,
    only,
    run_view,
    texts,
)
from tests.support.synthetic import STEADY

if TYPE_CHECKING:
    from pathlib import Path

    from analysis.charts.style import Chart


def ratios(chart: Chart) -> list[float]:
    """Of every dot in the first panel, its slice's throughput over the typical one, in ascending order."""
    return sorted(np.concatenate(lines(chart.figure.axes[0], style="None"))[:, 1].tolist())


def relative(slices: pd.DataFrame, *by: str) -> pd.Series[float]:
    """The same from raw data."""
    rates = slices["counted"] / slices["counted_s"]
    return rates / rates.groupby([slices[name] for name in by]).transform("median")


def test_every_slice_of_a_closed_loop_is_a_dot_over_its_own_median(views: Views) -> None:
    view = views.of([UVICORN], KEEP_ALIVE, WAIT, STEADY)
    chart = only(steadiness_charts(view))

    slices = view.run.slices[view.run.slices["workload"] != "steady"]
    low, high = chart.figure.axes[0].get_ylim()
    assert len(slices) == 2 * 3 * 12
    assert ratios(chart) == pytest.approx(sorted(relative(slices, "workload").clip(low, high)))


def test_a_slice_beyond_the_axis_is_a_dot_at_its_edge(tmp_path: Path) -> None:
    view = run_view(tmp_path, [UVICORN], [KEEP_ALIVE])
    part = min((view.run.folder / "slices.parquet").iterdir())
    slices = pd.read_parquet(part)
    slices.loc[0, "counted"] = 0
    slices.to_parquet(part)
    chart = only(steadiness_charts(again(view)))

    drawn = ratios(chart)
    assert drawn[0] == chart.figure.axes[0].get_ylim()[0] > 0
    assert len(drawn) == 36


def test_each_block_begins_at_a_line_with_its_number(views: Views) -> None:
    view = views.of([UVICORN], KEEP_ALIVE)
    chart = only(steadiness_charts(view))

    starts_ns = view.run.slices.groupby("block")["started_unix_ns"].min()
    minutes = [(start - starts_ns.min()) / 60e9 for start in starts_ns]
    upright = [line[0, 0] for line in lines(chart.figure.axes[0]) if line[:, 1].tolist() == [0, 1]]
    assert upright == pytest.approx(minutes)
    assert {"1", "2", "3"} <= set(texts(chart))


def test_the_common_drift_is_the_median_of_each_round(views: Views) -> None:
    others = [replace(UVICORN, id=name, server=name) for name in "abcd"]
    view = views.of([UVICORN, *others], KEEP_ALIVE)
    axes = only(steadiness_charts(view)).figure.axes[0]

    slices = view.run.slices
    medians = relative(slices, "subject").groupby([slices["block"], slices["round"]]).median()
    (drift,) = [line[:, 1] for line in lines(axes, ink=INK)]
    assert drift[~np.isnan(drift)] == pytest.approx(medians.to_numpy())
    assert np.isnan(drift).sum() == 3  # a gap after each block


def test_a_few_subjects_show_no_common_drift(views: Views) -> None:
    few = crowd(MIN_COMPANY - 1)
    axes = only(steadiness_charts(views.of(few, KEEP_ALIVE))).figure.axes[0]

    assert lines(axes, ink=INK) == []


def test_many_slices_are_drawn_as_a_picture_within_the_chart(views: Views) -> None:
    view = views.of(crowd(12), KEEP_ALIVE, plan=replace(PLAN, blocks=5, rounds=70))
    chart = only(steadiness_charts(view))

    svg = chart.svg()
    assert svg.count(b"<image") >= 1
    assert len(svg) < 1_000_000
    assert color(view.meta.subject("server-0")) in {line.get_color() for line in chart.figure.axes[0].lines}
