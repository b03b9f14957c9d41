"""One level of two runs as a chart: B over A of every subject, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts.frame import (
    GREY,
    INK,
    MUTED,
    PAPER,
    PLAIN,
    QUIET,
    Column,
    Words,
    page,
    row_labels,
    write,
)
from analysis.charts.output import Chart
from analysis.charts.pages import parts
from analysis.colors import color
from analysis.comparing.wording import DRIFT, ratio_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.pages import Part
    from analysis.comparing.result import CellComparison, Ratio, RunComparison
    from analysis.meta import LevelPlan

_ROOM_IN = 4.6
"""Right of the axes, for ratio and verdict."""
_RATIO = Column(1, 14, "left", PLAIN)
_VERDICT = Column(1, 190, "left", QUIET)
_MARGIN = 0.02


def ratio_charts(result: RunComparison) -> Iterator[Chart]:
    """A chart for every level in which a cell has a ratio, the subjects in the order of the run A."""
    levels: dict[LevelPlan, list[tuple[CellComparison, Ratio]]] = {}
    for cell in result.cells:
        if cell.ratio is not None:
            levels.setdefault(cell.plan, []).append((cell, cell.ratio))
    for plan, cells in levels.items():
        reach = _reach(cells)
        for part in parts(cells):
            yield _page(result, plan, part, reach)


def _page(
    result: RunComparison,
    plan: LevelPlan,
    part: Part[tuple[CellComparison, Ratio]],
    reach: tuple[float, float],
) -> Chart:
    first = part.items[0][0]
    metric, noise = first.metric, first.noise
    words = Words(
        part.title(f"B over A: {metric.label}, {plan.workload}, {plan.load}"),
        f"1 is no change, {metric.better} is better; line: 95 % interval; grey band: within {noise - 1:.1%}",
        f"{DRIFT}\nA: run {result.a}. B: run {result.b}.{_why([cell for cell, _ in part.items])}",
    )
    figure, axes = page(words, len(part.items), right_in=_ROOM_IN)
    row_labels(axes, [cell.subject for cell, _ in part.items])
    axes.set_xlim(reach)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.2f}")
    axes.axvspan(1 / noise, noise, color=GREY, alpha=0.35, linewidth=0)
    axes.axvline(1, color=INK, linewidth=1)
    for row, (cell, ratio) in enumerate(part.items):
        _row(axes, row, cell, ratio)
    alt = "; ".join(
        f"{cell.subject.id} {ratio_in_words(ratio)}, {cell.verdict}" for cell, ratio in part.items
    )
    stem = part.stem(f"compare-{plan.workload}-{plan.level}")
    return Chart(stem, words.title, f"{words.title}: {alt}.", figure)


def _row(axes: Axes, row: int, cell: CellComparison, ratio: Ratio) -> None:
    """A line with a marker; in grey and open where there is no verdict."""
    ink = MUTED if cell.reasons else color(cell.subject)
    low, high = _ends(ratio)
    axes.plot([low, high], [row, row], color=ink, linewidth=3, solid_capstyle="butt")
    filling = PAPER if cell.reasons else ink
    axes.plot(ratio.ratio, row, marker="D", color=ink, markerfacecolor=filling, markersize=9)
    write(axes, row, ratio_in_words(ratio), _RATIO)
    write(axes, row, cell.verdict, _VERDICT)


def _reach(cells: Sequence[tuple[CellComparison, Ratio]]) -> tuple[float, float]:
    """Ends of the axis that all pages of a level share."""
    noise = cells[0][0].noise
    ends = [1 / noise, noise, *(end for _, ratio in cells for end in _ends(ratio))]
    return min(ends) - _MARGIN, max(ends) + _MARGIN


def _ends(ratio: Ratio) -> tuple[float, float]:
    """The interval, or the ratio itself where it has none."""
    if ratio.low is None or ratio.high is None:
        return ratio.ratio, ratio.ratio
    return ratio.low, ratio.high


def _why(cells: Sequence[CellComparison]) -> str:
    """Why cells have no verdict; nothing where all have one."""
    reasons = dict.fromkeys(reason for cell in cells for reason in cell.reasons)
    return f"\nWithout a verdict (grey): {'; '.join(reasons)}." if reasons else ""
