"""Latency of one level: p50, p90 and p99 of every subject on a logarithmic axis, figures beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts.frame import (
    GREY,
    HEADING,
    MARKERS,
    PAPER,
    PLAIN,
    QUIET,
    Chart,
    Column,
    Look,
    Words,
    beside,
    logarithmic,
    nothing_valid,
    page,
    row_labels,
    write,
)
from analysis.colors import color
from analysis.metrics import P50, P90, P99, Metric
from analysis.standings import ordered
from analysis.wording import conditions, short_reason

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.meta import RunMeta
    from analysis.results import CellResult, LevelResult

_SHOWN: tuple[Metric, ...] = (P50, P90, P99)
_COLUMN_PT = 68


def latency_chart(meta: RunMeta, level: LevelResult) -> Chart:
    """Latency percentiles of the valid subjects of one level, the lowest p50 first."""
    cells = [cell for cell in ordered(level) if cell.status == "ok"]
    cells.sort(key=lambda cell: (cell.figure("p50") is None, cell.figure("p50") or 0.0, cell.subject))
    others = [cell for cell in ordered(level) if cell.status != "ok"]
    words = Words(
        f"Latency: {level.workload}, {level.connections} connections",
        "milliseconds, logarithmic, lower is better; filled: p50, pale: p90, hollow: p99",
        f"Closed loop: {level.connections} requests are always in flight, so most of this is waiting in line "
        "and mirrors the throughput. It is not the latency at a lower load.\n" + conditions(meta, level),
    )
    rows = [*cells, *others]
    figure, axes = page(words, len(rows), right_in=3.3)
    row_labels(axes, [meta.subject(cell.subject) for cell in rows])
    _axis(axes, cells)
    for number, cell in enumerate(cells):
        _dots(axes, number, cell, color(meta.subject(cell.subject)))
        _columns(axes, number, [metric.show(cell.figure(metric.name)) for metric in _SHOWN], PLAIN)
    for number, cell in enumerate(others, start=len(cells)):
        beside(axes, axes.get_xlim()[0], number, short_reason(cell), QUIET)
    _columns(axes, -0.85, ["p50", "p90", "p99"], HEADING)
    alt = f"p50, p90 and p99 latency of {len(cells)} subjects; the table beside it holds the figures."
    return Chart(f"latency-{level.workload}-{level.level}", alt, figure)


def _axis(axes: Axes, cells: list[CellResult]) -> None:
    values = [value / 1000 for cell in cells for metric in _SHOWN if (value := cell.figure(metric.name))]
    if not values:
        nothing_valid(axes)
        return
    logarithmic(axes, min(values) / 1.3, max(values) * 1.3, lambda value: f"{value:g} ms")


def _dots(axes: Axes, number: int, cell: CellResult, paint: str) -> None:
    shape = MARKERS[cell.interface]
    known = [(metric, value / 1000) for metric in _SHOWN if (value := cell.figure(metric.name)) is not None]
    axes.plot([value for _, value in known], [number] * len(known), color=GREY, linewidth=3, zorder=2)
    for metric, value in known:
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
        if metric is not P99:
            opacity = 1.0 if metric is P50 else 0.4
            axes.plot(value, number, shape, markersize=11, color=paint, alpha=opacity, zorder=4)


def _columns(axes: Axes, row: float, texts: list[str], look: Look) -> None:
    """The figures as right-aligned columns beside the axes."""
    for column, text in enumerate(texts, start=1):
        write(axes, row, text, Column(1, column * _COLUMN_PT, "right", look))
