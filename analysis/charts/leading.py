"""The leading figure of one level as bars with intervals; ties and invalid cells are marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts import places
from analysis.charts.frame import (
    GREY,
    INK,
    MARKERS,
    PAPER,
    QUIET,
    STRONG,
    Chart,
    Words,
    beside,
    nothing_valid,
    page,
    row_labels,
)
from analysis.colors import color
from analysis.conditions import conditions
from analysis.metrics import CONNECTION_MEMORY, RPS, WITHIN_OBJECTIVE
from analysis.standings import standings
from analysis.wording import findings, short_reason

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.meta import RunMeta
    from analysis.metrics import Metric
    from analysis.results import CellResult, LevelResult
    from analysis.standings import Standing

_STEMS = {RPS.name: "throughput", WITHIN_OBJECTIVE.name: "objective", CONNECTION_MEMORY.name: "idle-memory"}
_NOTES = {
    RPS.name: (
        "Places are among the valid results, compared within the same short rounds; they can differ where "
        "these intervals, which hold the machine's own drift, overlap."
    ),
    WITHIN_OBJECTIVE.name: (
        "A search tries one rate in each slice: a higher one after a slice that kept to the objective, a "
        "lower one after a slice that did not. The figure is where it settles."
    ),
}
_IDLE_NOTE = (
    "The slope of a straight line through the {memory} at each number of connections: what one more takes, "
    "without what the server takes anyway."
)
_BAR = 0.62
_ROOM = 1.24
"""The axis is that much longer than the longest bar, for the figure beside it."""


def leading_chart(meta: RunMeta, level: LevelResult) -> Chart:
    """The leading figure of every subject of one level, the best first."""
    metric, rows = level.metric, standings(level)
    words = Words(
        f"{metric.label}: {level.title}",
        f"{metric.unit}, {metric.better} is better; line: 95 % interval; hatched: failed a validity gate",
        f"{_note(meta, metric)}\n{conditions(meta, level)}",
    )
    figure, axes = page(words, len(rows), right_in=places.WIDTH_IN)
    row_labels(axes, [meta.subject(row.cell.subject) for row in rows])
    highest = max((_reach(row.cell) for row in rows), default=0.0)
    axes.set_xlim(0, (highest or 1.0) * _ROOM)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value * metric.scale:,.6g}")
    if not highest:
        nothing_valid(axes)
    for number, row in enumerate(rows):
        if row.cell.status == "ok":
            _bar(axes, number, row, color(meta.subject(row.cell.subject)), metric)
        else:
            _apart(axes, number, row.cell)
    places.write_places(axes, rows, metric)
    alt = " ".join(findings(level, meta.workload(level.workload)))
    return Chart(f"{_STEMS[metric.name]}-{level.workload}-{level.level}", alt, figure)


def _note(meta: RunMeta, metric: Metric) -> str:
    if metric.name != CONNECTION_MEMORY.name:
        return _NOTES[metric.name]
    memory = (
        "anonymous memory of the server's container"
        if meta.in_containers
        else "memory (PSS) of the server's processes"
    )
    return _IDLE_NOTE.format(memory=memory)


def _reach(cell: CellResult) -> float:
    if cell.lead is None:
        return 0.0
    return cell.lead.high or cell.lead.estimate


def _bar(axes: Axes, number: int, row: Standing, paint: str, metric: Metric) -> None:
    estimate = row.cell.lead
    if estimate is None:
        beside(axes, 0.0, number, "no figure: see the notes", QUIET)
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
    beside(axes, _reach(row.cell), number, metric.show(estimate.estimate), STRONG)


def _apart(axes: Axes, number: int, cell: CellResult) -> None:
    """A cell without a result: hatched where there is a figure that failed a gate, words alone elsewhere."""
    reach = 0.0
    if cell.lead is not None:
        reach = cell.lead.estimate
        axes.barh(number, reach, height=_BAR, facecolor=PAPER, edgecolor=GREY, hatch="////", linewidth=1.2)
    beside(axes, reach, number, short_reason(cell), QUIET)
