"""One figure over several levels of a workload: a line a subject, a panel a server, the invalid apart."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.patches import Rectangle

from analysis.charts.frame import GREY, INK, MARKERS, PAPER, STYLE
from analysis.charts.panels import End, grid, head, name_ends, others, reason_in_brief, short_name
from analysis.charts.rules import nothing_in_panel, rule
from analysis.colors import color

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.charts.frame import Words
    from analysis.charts.panels import Panel
    from analysis.meta import SubjectMeta
    from analysis.results import CellResult

_WIDE = 8
"""From this ratio of its ends on, the axis of the levels is logarithmic."""
_MOST_TICKS = 6
_STRIP, _UNDER_STRIP = 0.14, 0.8
"""Share of a panel's height that its hatched strip takes, and where under it the highest figure lies."""


@dataclass(frozen=True, slots=True)
class Point:
    """One level of one subject.

    Attributes:
        x: where the level stands.
        y: its leading figure in its shown unit; None where the cell is not valid.
        low, high: of its 95 % interval; None without one.
    """

    x: float
    y: float | None
    low: float | None
    high: float | None
    cell: CellResult


def point(x: float, cell: CellResult, scale: float) -> Point:
    """The cell's leading figure times `scale` at `x`."""
    lead = cell.lead if cell.status == "ok" else None
    if lead is None:
        return Point(x, None, None, None, cell)
    low, high = (None if end is None else end * scale for end in (lead.low, lead.high))
    return Point(x, lead.estimate * scale, low, high, cell)


def has_strip(panels: Sequence[Panel], points: Mapping[str, Sequence[Point]]) -> bool:
    """Whether any of these panels has a hatched strip, which the caption then explains."""
    return any(_is_apart(each) for _, subjects in panels for one in subjects for each in points[one.id])


def draw(
    words: Words,
    panels: Sequence[Panel],
    points: Mapping[str, Sequence[Point]],
    scale: Callable[[Axes, float, float, float], None],
) -> Figure:
    """A page of panels.

    Args:
        words: around them.
        panels: those of the page.
        points: subject → its points in ascending order, of all pages.
        scale: makes the y axis of one panel; gets the lowest and the highest end of any interval, and how
            high in the panel (0 to 1) the highest is to be.
    """
    with mpl.rc_context(STYLE):
        figure, every = grid(words, len(panels))
        for axes, panel in zip(every, panels, strict=True):
            _scales(axes, points, scale)
            _panel(axes, panel, points)
        return figure


def _panel(axes: Axes, panel: Panel, points: Mapping[str, Sequence[Point]]) -> None:
    server, subjects = panel
    own = {subject.id for subject in subjects}
    rest = [_valid(line) for subject, line in points.items() if subject not in own]
    others(axes, [np.array([(each.x, each.y) for each in line]) for line in rest if line], ".")
    in_strip = [subject.id for subject in subjects if any(map(_is_apart, points[subject.id]))]
    if in_strip:
        _strip(axes)
    for subject in subjects:
        place = in_strip.index(subject.id) if subject.id in in_strip else 0
        _line(axes, subject, points[subject.id], place)
    head(axes, server, "; ".join(_left_out(subjects, points)))
    last = [(subject, _valid(points[subject.id])[-1:]) for subject in subjects]
    ends = [End(subject, each.x, each.y or 0.0) for subject, one in last for each in one]
    name_ends(axes, ends)


def _is_apart(point: Point) -> bool:
    """Whether it stands in the strip."""
    return point.cell.status in {"invalid", "failed"}


def _valid(line: Sequence[Point]) -> list[Point]:
    return [each for each in line if each.y is not None]


def _scales(
    axes: Axes, points: Mapping[str, Sequence[Point]], scale: Callable[[Axes, float, float, float], None]
) -> None:
    every = [each for line in points.values() for each in line]
    ends = [end for each in every for end in (each.y, each.low, each.high) if end is not None]
    if not ends:
        nothing_in_panel(axes)
        return
    levels = sorted({each.x for each in every})
    if levels[-1] >= _WIDE * levels[0]:
        axes.set_xscale("log")
        axes.set_xlim(levels[0] / 1.3, levels[-1] * 1.3)
    else:
        margin = (levels[-1] - levels[0]) * 0.12
        axes.set_xlim(levels[0] - margin, levels[-1] + margin)
    ticks = levels[:: -(-len(levels) // _MOST_TICKS)]
    scale(axes, min(ends), max(ends), _UNDER_STRIP)
    rule(axes, "x", {tick: in_short(tick) for tick in ticks})


def in_short(value: float) -> str:
    """`750`, `2k`, `12.5k`."""
    return f"{value / 1000:.3g}k" if value >= 1000 else f"{value:.3g}"


def _strip(axes: Axes) -> None:
    """A hatched strip for the levels that gave no valid figure."""
    box = Rectangle((0, 1 - _STRIP), 1, _STRIP, transform=axes.transAxes, facecolor=PAPER, zorder=1.5)
    box.set(edgecolor=GREY, hatch="////", linewidth=0)
    axes.add_patch(box)


def _line(axes: Axes, subject: SubjectMeta, line: Sequence[Point], place: int) -> None:
    """Figures with their intervals, and a dotted line up into the strip where a valid figure is the last."""
    paint, marker = color(subject), MARKERS[subject.interface]
    drawn = [each.y if each.y is not None else np.nan for each in line]
    axes.plot([each.x for each in line], drawn, color=paint, linewidth=2.2, zorder=3)
    for each in _valid(line):
        if each.low is not None and each.high is not None:
            axes.plot([each.x] * 2, [each.low, each.high], color=INK, linewidth=1.6, zorder=3.5)
        axes.plot(each.x, each.y or 0.0, marker, color=paint, markersize=6, zorder=4)
    before: Point | None = None
    for each in line:
        if _is_apart(each):
            # Variants that fail at the same level stand beside each other in the strip.
            height = 1 - _STRIP * (0.5, 0.25, 0.75)[place % 3]
            y = axes.transData.inverted().transform(axes.transAxes.transform((0, height)))[1]
            if before is not None and before.y is not None:
                axes.plot([before.x, each.x], [before.y, y], ":", color=paint, linewidth=1.8, zorder=3)
            axes.plot(
                each.x,
                y,
                marker,
                markersize=8,
                markerfacecolor=PAPER,
                markeredgecolor=paint,
                markeredgewidth=1.8,
                zorder=4,
            )
            before = None
        elif each.y is not None:
            before = each


def _left_out(subjects: Sequence[SubjectMeta], points: Mapping[str, Sequence[Point]]) -> list[str]:
    """`sync: unsupported`, `h11: overloaded at 7.5k, 9k`: those that lack a figure somewhere, and why."""
    why: dict[str, list[str]] = defaultdict(list)
    for subject in subjects:
        of_level: dict[str, list[str]] = defaultdict(list)
        for each in points[subject.id]:
            if each.y is None:
                of_level[reason_in_brief(each.cell)].append(in_short(each.x))
        for reason, levels in of_level.items():
            everywhere = len(levels) == len(points[subject.id])
            where = "" if everywhere else f" at {', '.join(levels)}"
            why[f"{reason}{where}"].append(short_name(subject))
    return [f"{', '.join(names)}: {reason}" for reason, names in why.items()]
