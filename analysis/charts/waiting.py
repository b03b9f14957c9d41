"""Requests that wait: how many each subject keeps waiting at once, against what its way of serving allows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.charts.bars import HATCHED, apart
from analysis.charts.frame import (
    INK,
    MARKERS,
    MUTED,
    PAPER,
    QUIET,
    SMALL_PT,
    STRONG,
    Column,
    Words,
    logarithmic,
    nothing_valid,
    page,
    row_labels,
    write,
)
from analysis.charts.output import Chart
from analysis.charts.pages import Part, parts
from analysis.colors import color
from analysis.conditions import conditions
from analysis.metrics import RPS
from analysis.standings import ordered
from analysis.wording import findings, interval, short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.metrics import Metric
    from analysis.results import CellResult
    from analysis.statistics import Estimate

_RIGHT_IN = 4.2
_RATE = Column(1, 104, "right", STRONG)
_INTERVAL = Column(1, 206, "right", QUIET)
_AT_ONCE = Column(1, 268, "right", QUIET)


def waiting_charts(view: View) -> Iterator[Chart]:
    """Throughput of a waiting workload, the best first, with what one, a few or all at a time would give."""
    cells = ordered(view.level)
    for part in parts(cells):
        yield _page(view, part, cells)


def _page(view: View, part: Part[CellResult], cells: Sequence[CellResult]) -> Chart:
    meta, level, service_s = view.meta, view.level, view.workload.service_s
    metric, shown = level.metric, part.items
    hatched = HATCHED if any(cell.status != "ok" and cell.rps is not None for cell in shown) else ""
    words = Words(
        part.title(f"Requests that wait {service_s * 1000:.0f} ms, {level.plan.load}"),
        f"{metric.unit}, logarithmic, {metric.better} is better; dotted: what so many at a time would "
        f"give{hatched}",
        "Each request waits without using the CPU, so this shows how many a server holds at once, not how "
        "fast it computes.\n" + conditions(meta, level),
    )
    figure, axes = page(words, len(shown), right_in=_RIGHT_IN)
    row_labels(axes, [meta.subject(cell.subject) for cell in shown])
    marks = _marks(meta.workers, meta.threads, level.plan.connections, service_s)
    _axis(axes, cells, marks)
    for number, cell in enumerate(shown):
        if cell.status == "ok" and cell.rps is not None:
            _dot(axes, number, cell, color(meta.subject(cell.subject)), service_s)
        else:
            apart(axes, number, cell.rps.estimate if cell.rps else 0.0, short_reason(cell))
    _headings(axes, [cell.rps for cell in shown if cell.status == "ok" and cell.rps is not None], metric)
    stem = part.stem(f"waiting-{level.workload}-{level.level}")
    return Chart(stem, words.title, " ".join(findings(level, view.workload)), figure)


def _headings(axes: Axes, figures: Sequence[Estimate], metric: Metric) -> None:
    """What the columns right of the axes hold, where they hold anything."""
    if figures:
        write(axes, -0.85, metric.unit, replace(_RATE, look=QUIET))
        write(axes, -0.85, "at once", _AT_ONCE)
    if any(interval(figure, metric) for figure in figures):
        write(axes, -0.85, "95 % interval", _INTERVAL)


def _marks(workers: int, threads: int, connections: int, service_s: float) -> dict[str, float]:
    """What a server gives that serves so many requests at a time: at a time / waiting time."""
    each = "" if workers == 1 else f"{workers} × "
    one = "one at a time" if workers == 1 else f"one in each of {workers} workers"
    at_a_time = {
        one: workers,
        f"{each}{threads} threads": workers * threads,
        f"all {connections}": connections,
    }
    return {name: count / service_s for name, count in at_a_time.items()}


def _axis(axes: Axes, cells: Sequence[CellResult], marks: Mapping[str, float]) -> None:
    figures = [(cell.rps.estimate, cell.status) for cell in cells if cell.rps is not None]
    shown = [*(figure for figure, _ in figures), *marks.values()]
    logarithmic(axes, min(shown) / 1.6, max(shown) * 1.25, lambda value: f"{value:,.0f}")
    for name, value in marks.items():
        axes.axvline(value, color=INK, linewidth=1.6, linestyle=":", zorder=1)
        axes.annotate(
            f"{name}: {value:,.0f}",
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
    if "ok" not in {status for _, status in figures}:
        nothing_valid(axes)


def _dot(axes: Axes, number: int, cell: CellResult, paint: str, service_s: float) -> None:
    estimate = cell.rps
    if estimate is None:
        return
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [number, number], color=INK, linewidth=2.4, zorder=2)
    axes.plot(
        estimate.estimate,
        number,
        MARKERS[cell.interface],
        markersize=10,
        color=paint,
        markeredgecolor=PAPER,
        markeredgewidth=1.5,
        zorder=3,
    )
    write(axes, number, f"{estimate.estimate:,.0f}", _RATE)
    write(axes, number, interval(estimate, RPS), _INTERVAL)
    write(axes, number, f"{estimate.estimate * service_s:.0f}", _AT_ONCE)
