"""Bars of a chart of rows: valid ones in their subject's color, others hatched."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from analysis.charts.frame import GREY, INK, MARKERS, PAPER, QUIET, STRONG, beside
from analysis.colors import color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.meta import SubjectMeta
    from analysis.statistics import Estimate

HATCHED = "; hatched: failed a validity gate"
"""For the subtitle of a chart that has such bars."""
_THICK = 0.62


def bar(axes: Axes, number: int, figure: Estimate, text: str, subject: SubjectMeta) -> None:
    """A figure with its interval as a line, and `text` beside it."""
    axes.barh(number, figure.estimate, height=_THICK, color=color(subject), linewidth=0)
    reach = figure.estimate
    if figure.low is not None and figure.high is not None:
        axes.plot([figure.low, figure.high], [number] * 2, color=INK, linewidth=2.4)
        reach = max(reach, figure.high)
    axes.plot(
        figure.estimate,
        number,
        MARKERS[subject.interface],
        markersize=7,
        markerfacecolor=PAPER,
        markeredgecolor=INK,
        markeredgewidth=1.4,
    )
    beside(axes, reach, number, text, STRONG)


def apart(axes: Axes, number: int, reach: float, reason: str, farthest: float = math.inf) -> None:
    """What is not a result: hatched where there is a figure that failed a gate, words alone elsewhere.

    Args:
        axes: of the chart.
        number: of the row.
        reach: the figure; 0 without one.
        reason: why it is no result.
        farthest: where the reason begins at the latest, on the bar if need be.
    """
    start = axes.get_xlim()[0]
    if reach > start:
        (box,) = axes.barh(number, reach - start, left=start, height=_THICK, zorder=1.5)
        box.set(facecolor=PAPER, edgecolor=GREY, hatch="////", linewidth=1.2)
    beside(axes, min(max(reach, start), farthest), number, reason, QUIET)
