"""The leading figure of one level as bars with intervals; ties and invalid cells are marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts import places
from analysis.charts.bars import HATCHED, apart, bar
from analysis.charts.frame import QUIET, Words, beside, nothing_valid, page, row_labels
from analysis.charts.output import Chart
from analysis.charts.pages import Part, parts
from analysis.conditions import conditions
from analysis.metrics import CONNECTION_MEMORY, RPS, WITHIN_OBJECTIVE
from analysis.standings import standings
from analysis.wording import findings, short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.charts.view import View
    from analysis.meta import RunMeta
    from analysis.metrics import Metric
    from analysis.results import CellResult
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
_LEGEND = "line: 95 % interval; bracket: cannot be told apart"
_ROOM = 1.24
"""The axis is that much longer than the longest bar, for the figure beside it."""


def leading_charts(view: View) -> Iterator[Chart]:
    """The leading figure of every subject of one level, the best first."""
    rows = standings(view.level)
    highest = max((_reach(row.cell) for row in rows), default=0.0)
    for part in parts(rows):
        yield _page(view, part, highest)


def _page(view: View, part: Part[Standing], highest: float) -> Chart:
    meta, level, metric = view.meta, view.level, view.level.metric
    hatched = HATCHED if any(map(_is_hatched, part.items)) else ""
    words = Words(
        part.title(f"{metric.label}: {level.title}"),
        f"{metric.unit}, {metric.better} is better; {_LEGEND}{hatched}",
        f"{_note(meta, metric)}\n{conditions(meta, level)}",
    )
    figure, axes = page(words, len(part.items), right_in=places.WIDTH_IN)
    row_labels(axes, [meta.subject(row.cell.subject) for row in part.items])
    axes.set_xlim(0, (highest or 1.0) * _ROOM)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value * metric.scale:,.6g}")
    if not highest:
        nothing_valid(axes)
    for number, row in enumerate(part.items):
        cell, lead = row.cell, row.cell.lead
        if cell.status != "ok":
            apart(axes, number, lead.estimate if lead else 0.0, short_reason(cell))
        elif lead is None:
            beside(axes, 0.0, number, "no figure: see the notes", QUIET)
        else:
            bar(axes, number, lead, metric.show(lead.estimate), meta.subject(cell.subject))
    places.write_places(axes, part.items, metric)
    alt = " ".join(findings(level, view.workload))
    stem = part.stem(f"{_STEMS[metric.name]}-{level.workload}-{level.level}")
    return Chart(stem, words.title, alt, figure)


def _is_hatched(row: Standing) -> bool:
    """Whether it has a bar that is not a result."""
    return row.cell.status != "ok" and row.cell.lead is not None and row.cell.lead.estimate > 0


def _note(meta: RunMeta, metric: Metric) -> str:
    if metric.name != CONNECTION_MEMORY.name:
        return _NOTES[metric.name]
    kind = "anonymous memory" if meta.counts_anonymous else "memory (PSS)"
    memory = f"{kind} of the server's {'container' if meta.in_containers else 'processes'}"
    return _IDLE_NOTE.format(memory=memory)


def _reach(cell: CellResult) -> float:
    if cell.lead is None:
        return 0.0
    return cell.lead.high or cell.lead.estimate
