"""Throughput of one level as bars with intervals; ties with the leader and invalid cells are marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts.frame import (
    GREY,
    INK,
    MARKERS,
    PAPER,
    QUIET,
    STRONG,
    Chart,
    Column,
    Words,
    beside,
    nothing_valid,
    page,
    right_by,
    row_labels,
    write,
)
from analysis.colors import color
from analysis.metrics import throughput
from analysis.standings import standings
from analysis.wording import conditions, findings, interval, short_reason

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.meta import RunMeta
    from analysis.results import CellResult, LevelResult
    from analysis.standings import Standing

_BAR = 0.62
_ROOM = 1.24
"""The axis is that much longer than the longest bar, for the figure beside it."""
_RIGHT_IN = 4.2
_INTERVAL = Column(1, 112, "right", QUIET)
_PLACE = Column(1, 182, "right", QUIET)
_TIE = Column(1, 218, "left", QUIET)
_TIE_LINE_PT = 202


def throughput_chart(meta: RunMeta, level: LevelResult) -> Chart:
    """Throughput of every subject of one level, the highest first."""
    workload = meta.workload(level.workload)
    metric = throughput(workload.transport)
    rows = standings(level)
    words = Words(
        f"{metric.label}: {level.workload}, {level.connections} connections",
        f"{metric.unit}, {metric.better} is better; line: 95 % interval; hatched: failed a validity gate",
        "Places are among the valid results, compared within the same short rounds; they can differ where "
        "these intervals, which hold the machine's own drift, overlap.\n" + conditions(meta, level),
    )
    figure, axes = page(words, len(rows), right_in=_RIGHT_IN)
    row_labels(axes, [meta.subject(row.cell.subject) for row in rows])
    highest = max((_reach(row.cell) for row in rows), default=0.0)
    axes.set_xlim(0, (highest or 1.0) * _ROOM)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if not highest:
        nothing_valid(axes)
    for number, row in enumerate(rows):
        if row.cell.status == "ok":
            _bar(axes, number, row, color(meta.subject(row.cell.subject)))
        else:
            _apart(axes, number, row.cell)
    if any(row.cell.status == "ok" and interval(row.cell.rps) for row in rows):
        write(axes, -0.85, "95 % interval", _INTERVAL)
    if any(row.places for row in rows):
        write(axes, -0.85, "place", _PLACE)
    _mark_ties(axes, rows)
    return Chart(f"throughput-{level.workload}-{level.level}", " ".join(findings(level, workload)), figure)


def _reach(cell: CellResult) -> float:
    if cell.rps is None:
        return 0.0
    return cell.rps.high or cell.rps.estimate


def _bar(axes: Axes, number: int, row: Standing, paint: str) -> None:
    estimate = row.cell.rps
    if estimate is None:
        return
    axes.barh(number, estimate.estimate, height=_BAR, color=paint, linewidth=0)
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [number] * 2, color=INK, linewidth=2.4)
    axes.plot(
        estimate.estimate,
        number,
        MARKERS[row.cell.interface],
        markersize=7,
        markerfacecolor=PAPER,
        markeredgecolor=INK,
        markeredgewidth=1.4,
    )
    beside(axes, _reach(row.cell), number, f"{estimate.estimate:,.0f}", STRONG)
    write(axes, number, interval(estimate), _INTERVAL)
    write(axes, number, row.places, _PLACE)


def _apart(axes: Axes, number: int, cell: CellResult) -> None:
    """A cell without a result: hatched where there is a figure that failed a gate, words alone elsewhere."""
    reach = 0.0
    if cell.rps is not None:
        reach = cell.rps.estimate
        axes.barh(number, reach, height=_BAR, facecolor=PAPER, edgecolor=GREY, hatch="////", linewidth=1.2)
    beside(axes, reach, number, short_reason(cell), QUIET)


def _mark_ties(axes: Axes, rows: list[Standing]) -> None:
    """A line at the right through all subjects that cannot be told apart from the leader."""
    members = [number for number, row in enumerate(rows) if row.leads]
    if len(members) < 2:
        return
    line = [1.0] * len(members)
    place = right_by(axes, _TIE_LINE_PT)
    axes.plot(line, members, "o-", color=INK, linewidth=2, markersize=7, transform=place, clip_on=False)
    write(axes, (members[0] + members[-1]) / 2, "cannot be\ntold apart", _TIE)
