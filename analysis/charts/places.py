"""The columns right of a ranking: interval, place, and a line through what cannot be told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts.frame import INK, QUIET, Column, right_by, write
from analysis.wording import interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from analysis.metrics import Metric
    from analysis.standings import Standing

WIDTH_IN = 4.2
"""Space that the columns need."""
_INTERVAL_PT, _PLACE_PT, _TIE_LINE_PT, _TIE_PT = 112, 182, 202, 218


def write_places(
    axes: Axes, rows: Sequence[Standing], metric: Metric, from_pt: float = 0, *, tied: bool
) -> None:
    """Writes interval and place of each row, and marks the leader's ties.

    Args:
        axes: of the chart.
        rows: those of the page, in the order of the chart.
        metric: the leading one, in whose unit the intervals are.
        from_pt: distance of the columns from the axes' right edge.
        tied: whether others tie with the leader, on this page or another.
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
    members = [number for number, row in shown if row.leads]
    if not tied or not members:
        return
    line = right_by(axes, from_pt + _TIE_LINE_PT)
    x = [1.0] * len(members)
    axes.plot(x, members, "o-", color=INK, linewidth=2, markersize=7, transform=line, clip_on=False)
    column = Column(1, from_pt + _TIE_PT, "left", QUIET)
    write(axes, (members[0] + members[-1]) / 2, "cannot be\ntold apart", column)
