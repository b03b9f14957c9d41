"""Charts with a row for each subject."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

from matplotlib.markers import TICKLEFT

from analysis.charts.style import (
    GREY,
    INK,
    MARKERS,
    MUTED,
    PAPER,
    QUIET,
    SMALL_PT,
    STRONG,
    Column,
    beside,
    color,
    logarithmic,
    nothing_valid,
    right_by,
    width_pt,
    write,
)
from analysis.figures.gates import BY_CODE
from analysis.figures.results import tied_runs
from analysis.words import interval

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from matplotlib.axes import Axes

    from analysis.figures.gates import FigureName
    from analysis.figures.leads import Metric
    from analysis.figures.results import CellResult, Standing
    from analysis.figures.statistics import Estimate
    from gatebench.results.schema import SubjectMeta


T = TypeVar("T")

MOST_ROWS = 24
"""Rows of a page; with more, the texts beside them would be smaller than a projector can show."""


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """The rows, or panels, on one page of a chart.

    Attributes:
        number: of the page, from 1.
        of: pages in all.
    """

    items: Sequence[T]
    number: int = 1
    of: int = 1

    def title(self, title: str) -> str:
        """The chart's title; of several pages, with the page."""
        return title if self.of == 1 else f"{title} ({self.number} of {self.of})"

    def stem(self, stem: str) -> str:
        """The chart's file name without ending; of a later page, with its number.

        Somebody else's run may have any names in it, and none of them leads out of the folder of charts.
        """
        safe = re.sub(r"[^\w.+~-]", "_", stem).lstrip(".")
        return safe if self.number == 1 else f"{safe}-{self.number}"


def parts(items: Sequence[T], most: int = MOST_ROWS) -> list[Part[T]]:
    """The items in as few pages of at most `most` as they need, evenly; one empty page without any."""
    count = max(1, -(-len(items) // most))
    ends = [round(number * len(items) / count) for number in range(count + 1)]
    return [Part(items[ends[page] : ends[page + 1]], page + 1, count) for page in range(count)]


HATCHED = "; hatched: limited"
"""For the subtitle of a chart that has such bars; `why_limited` says by what."""
_THICK = 0.62


def why_limited(cells: Sequence[CellResult], figure: FigureName | None, mark: str = "Hatched") -> str:
    """A sentence for the caption, on what limits these figures; empty without any.

    Args:
        cells: those with a limited figure.
        figure: which one.
        mark: how the chart shows them.
    """
    codes = dict.fromkeys(cell.code_of(figure) for cell in cells)
    causes = "; ".join(f"{code}: {BY_CODE[code].cause}" for code in codes if code in BY_CODE)
    return f" {mark}: limited, and compared with nothing ({causes})." if causes else ""


def bar(axes: Axes, number: int, figure: Estimate, text: str, subject: SubjectMeta) -> None:
    """A figure with its interval as a line, and `text` beside it."""
    axes.barh(number, figure.estimate, height=_THICK, color=color(subject), linewidth=0)
    _figure(axes, number, figure, text, subject)


def hatch(axes: Axes, number: int, figure: Estimate, text: str, subject: SubjectMeta) -> None:
    """The same for a figure that something of the server's own limits."""
    (box,) = axes.barh(number, figure.estimate, height=_THICK)
    box.set(facecolor=PAPER, edgecolor=color(subject), hatch="////", linewidth=1.2)
    _figure(axes, number, figure, text, subject)


def _figure(axes: Axes, number: int, figure: Estimate, text: str, subject: SubjectMeta) -> None:
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


def apart(axes: Axes, number: int, reason: str) -> None:
    """A row without a figure: the reason alone."""
    beside(axes, axes.get_xlim()[0], number, reason, QUIET)


def across(axes: Axes, value: float, text: str, ink: str = MUTED, line: str = "--") -> None:
    """A line across all rows, with a word above it."""
    axes.axvline(value, color=ink, linewidth=1.6, linestyle=line, zorder=1)
    axes.annotate(
        text,
        (value, 1),
        (0, 6),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=SMALL_PT,
        color=MUTED,
        annotation_clip=False,
    )


FILLED, PALE, HOLLOW = 1.0, 0.4, 0.0
"""Opacity of the dots of p50, p90 and p99."""
TOO_FEW = " —: too few samples."
"""For the caption of a chart that has such a dash among its figures."""
LEGEND = "milliseconds, logarithmic, lower is better; filled: p50, pale: p90, hollow: p99"


def milliseconds_axis(axes: Axes, values_us: Sequence[float]) -> None:
    """An axis that holds all of `values_us`; without any, it says that nothing is valid."""
    if not values_us:
        nothing_valid(axes)
        return
    low_ms, high_ms = min(values_us) / 1000, max(values_us) / 1000
    logarithmic(axes, low_ms / 1.3, high_ms * 1.3, lambda value: f"{value:g} ms")


def draw_dots(axes: Axes, number: int, interface: str, paint: str, values_us: Sequence[float | None]) -> None:
    """p50, p90 and p99, in that order, of one row; what is None is left out."""
    shape = MARKERS[interface]
    opacities = (FILLED, PALE, HOLLOW)
    known = [
        (opacity, value / 1000)
        for opacity, value in zip(opacities, values_us, strict=True)
        if value is not None
    ]
    axes.plot([value for _, value in known], [number] * len(known), color=GREY, linewidth=3, zorder=2)
    for opacity, value in known:
        axes.plot(
            value,
            number,
            shape,
            markersize=13,
            markerfacecolor=PAPER,
            markeredgecolor=paint,
            markeredgewidth=2.4,
            zorder=3,
        )
        if opacity:
            axes.plot(value, number, shape, markersize=11, color=paint, alpha=opacity, zorder=4)


WIDTH_IN = 4.2
"""Space that the columns need."""
_INTERVAL_PT, _PLACE_PT, _BRACKET_PT, _LANE_PT = 112, 182, 200, 13
_USUAL_INTERVAL_PT = 102
"""Room of an interval such as `12.34 to 15.67`, and of what keeps it off the column before it."""
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
    shown = [(number, row) for number, row in enumerate(rows) if row.cell.shown]
    for number, row in shown:
        write(axes, number, interval(row.cell.lead, metric), intervals)
        write(axes, number, row.places if row.cell.valid else row.cell.code, places)
    if any(interval(row.cell.lead, metric) for _, row in shown):
        write(axes, -0.85, "95 % interval", intervals)
    if any(row.places for _, row in shown):
        write(axes, -0.85, "place", places)
    runs = tied_runs(rows)
    without_place = {number for number, row in enumerate(rows) if row.best is None}
    lanes = lanes_of(runs)
    for (first, last), lane in zip(runs, lanes, strict=True):
        if lane < _LANES:
            _bracket(axes, (first, last), without_place, from_pt + _BRACKET_PT + lane * _LANE_PT)
    if runs:
        write(axes, -0.85, "ties", Column(1, from_pt + _BRACKET_PT - _TIP_PT, "left", QUIET))


def interval_pt(cells: Sequence[CellResult], metric: Metric, between_pt: float) -> float:
    """How much farther out than the column before it `write_places` must begin for the widest interval.

    Negative where the interval's own room has some to spare.
    """
    widest_pt = max((width_pt(interval(cell.lead, metric), QUIET) for cell in cells), default=0.0)
    return max(_USUAL_INTERVAL_PT, widest_pt + between_pt) - _INTERVAL_PT


def lanes_of(runs: Sequence[tuple[int, int]]) -> list[int]:
    """For each run of rows, in order, the first lane in which none before it reaches so far."""
    ends: list[int] = []
    lanes = []
    for first, last in runs:
        lane = next((number for number, end in enumerate(ends) if end < first), len(ends))
        ends[lane : lane + 1] = [last]
        lanes.append(lane)
    return lanes


def _bracket(axes: Axes, ends: tuple[int, int], gaps: Collection[int], points: float) -> None:
    """A line past the rows from the first to the last, tips towards them; dotted past the rows `gaps`."""
    first, last = ends
    where = right_by(axes, points)
    tips = [first - _REACH, last + _REACH]
    axes.plot(
        [1.0] * 2,
        tips,
        color=INK,
        linewidth=0,
        marker=TICKLEFT,
        markersize=_TIP_PT,
        markeredgewidth=1.8,
        transform=where,
        clip_on=False,
    )
    breaks = [end for gap in sorted(gaps) if first < gap < last for end in (gap - 0.5, gap + 0.5)]
    edges = [tips[0], *breaks, tips[1]]
    for number, (start, end) in enumerate(pairwise(edges)):
        dotted = ":" if number % 2 else "-"
        axes.plot([1.0] * 2, [start, end], dotted, color=INK, linewidth=1.8, transform=where, clip_on=False)
