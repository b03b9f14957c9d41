"""The columns right of a ranking: interval, place, and brackets around what cannot be told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.markers import TICKLEFT

from analysis.charts.frame import INK, QUIET, Column, right_by, write
from analysis.standings import tied_runs
from analysis.wording import interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from analysis.metrics import Metric
    from analysis.standings import Standing

WIDTH_IN = 4.2
"""Space that the columns need."""
_INTERVAL_PT, _PLACE_PT, _BRACKET_PT, _LANE_PT = 112, 182, 200, 13
_LANES = 7
"""Brackets that overlap stand beside each other; there is room for so many."""
_TIP_PT, _REACH = 5, 0.28


def write_places(axes: Axes, rows: Sequence[Standing], metric: Metric, from_pt: float = 0) -> None:
    """Writes interval and place of each row, and brackets neighbors that all tie with each other.

    Args:
        axes: of the chart.
        rows: those of the page, in the order of the chart.
        metric: the leading one, in whose unit the intervals are.
        from_pt: distance of the columns from the axes' right edge.
    """
    intervals = Column(1, from_pt + _INTERVAL_PT, "right", QUIET)
    places = Column(1, from_pt + _PLACE_PT, "right", QUIET)
    shown = [(number, row) for number, row in enumerate(rows) if row.cell.status == "ok"]
    for number, row in shown:
        write(axes, number, interval(row.cell.lead, metric), intervals)
        write(axes, number, row.places, places)
    if any(interval(row.cell.lead, metric) for _, row in shown):
        write(axes, -0.85, "95 % interval", intervals)
    if any(row.places for _, row in shown):
        write(axes, -0.85, "place", places)
    runs = tied_runs(rows)
    lanes = lanes_of(runs)
    for (first, last), lane in zip(runs, lanes, strict=True):
        if lane < _LANES:
            _bracket(axes, first, last, from_pt + _BRACKET_PT + lane * _LANE_PT)
    if runs:
        write(axes, -0.85, "ties", Column(1, from_pt + _BRACKET_PT - _TIP_PT, "left", QUIET))


def lanes_of(runs: Sequence[tuple[int, int]]) -> list[int]:
    """For each run of rows, in order, the first lane in which none before it reaches so far."""
    ends: list[int] = []
    lanes = []
    for first, last in runs:
        lane = next((number for number, end in enumerate(ends) if end < first), len(ends))
        ends[lane : lane + 1] = [last]
        lanes.append(lane)
    return lanes


def _bracket(axes: Axes, first: int, last: int, points: float) -> None:
    """A line past the rows `first` to `last`, with tips towards them."""
    ends = [first - _REACH, last + _REACH]
    axes.plot(
        [1.0] * 2,
        ends,
        color=INK,
        linewidth=1.8,
        marker=TICKLEFT,
        markersize=_TIP_PT,
        markeredgewidth=1.8,
        transform=right_by(axes, points),
        clip_on=False,
    )
