"""Charts that rank: the leading metric, and response times at equal rates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.charts import rows
from analysis.charts.rows import HATCHED, Part, apart, bar, hatch, parts
from analysis.charts.style import (
    INK,
    MARKERS,
    PAPER,
    QUIET,
    STRONG,
    Chart,
    Column,
    Words,
    color,
    logarithmic,
    nothing_valid,
    page,
    row_labels,
    write,
)
from analysis.figures.leads import CONNECTION_MEMORY, RPS, WITHIN_OBJECTIVE
from analysis.figures.results import ordered, standings
from analysis.surroundings import conditions
from analysis.words import findings, instrument_in_words, interval, short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.figures.leads import Metric
    from analysis.figures.results import CellResult, LevelResult, Standing
    from analysis.figures.statistics import Estimate
    from gatebench.results.schema import RunMeta


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


def leading_charts(view: View, among: str = "") -> Iterator[Chart]:
    """The leading figure of every subject of one level, the best first; `among` ends the title."""
    rows = standings(view.level)
    highest = max((_reach(row.cell) for row in rows), default=0.0)
    for part in parts(rows):
        yield _leading_page(view, part, highest, among)


def _leading_page(view: View, part: Part[Standing], highest: float, among: str) -> Chart:
    meta, level, metric = view.meta, view.level, view.level.metric
    limited = [row.cell for row in part.items if row.cell.lead_status == "limited"]
    why = rows.why_limited(limited, metric.figure)
    words = Words(
        part.title(f"{metric.label}{among}: {level.title}"),
        f"{metric.unit}, {metric.better} is better; {_LEGEND}{HATCHED if limited else ''}",
        f"{_note(meta, metric)}{_limit_note(level, highest)}{why}\n{conditions(view.run, level)}",
    )
    figure, axes = page(words, len(part.items), right_in=rows.WIDTH_IN)
    row_labels(axes, [meta.subject(row.cell.subject) for row in part.items])
    axes.set_xlim(0, (highest or 1.0) * _ROOM)
    if (limit := _limit(level)) and limit < highest * _ROOM:
        rows.across(axes, limit, "limit here")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value * metric.scale:,.6g}")
    if not highest:
        nothing_valid(axes)
    for number, row in enumerate(part.items):
        cell, lead = row.cell, row.cell.lead
        if not cell.shown:
            apart(axes, number, short_reason(cell))
        elif lead is None:
            apart(axes, number, "no figure: see the notes")
        else:
            drawn = bar if cell.valid else hatch
            drawn(axes, number, lead, metric.show(lead.estimate), meta.subject(cell.subject))
    rows.write_places(axes, part.items, metric)
    alt = " ".join(findings(level, view.workload))
    stem = part.stem(f"{_STEMS[metric.name]}-{level.workload}-{level.level}")
    return Chart(stem, words.title, alt, figure)


def _limit(level: LevelResult) -> float:
    """What the instrument does at most in the level; 0 where that is not known."""
    known = instrument_in_words(level) and level.limit and level.limit.lead
    return known.estimate if known else 0.0


def _limit_note(level: LevelResult, highest: float) -> str:
    limit = _limit(level)
    if not limit:
        return ""
    where = "Dashed" if limit < highest * _ROOM else "Beyond this axis"
    return f" {where}: {instrument_in_words(level)}."


def _note(meta: RunMeta, metric: Metric) -> str:
    if metric.name != CONNECTION_MEMORY.name:
        return _NOTES[metric.name]
    kind = "anonymous memory" if meta.counts_anonymous else "memory (PSS)"
    memory = f"{kind} of the server's {'container' if meta.in_containers else 'processes'}"
    return _IDLE_NOTE.format(memory=memory)


def _reach(cell: CellResult) -> float:
    return (cell.lead.high or cell.lead.estimate) if cell.lead else 0.0


_RIGHT_IN = 4.2
_RATE = Column(1, 104, "right", STRONG)
_INTERVAL = Column(1, 206, "right", QUIET)
_AT_ONCE = Column(1, 268, "right", QUIET)


def waiting_charts(view: View) -> Iterator[Chart]:
    """Throughput of a waiting workload, the best first, with what one, a few or all at a time would give."""
    cells = ordered(view.level)
    for part in parts(cells):
        yield _waiting_page(view, part, cells)


def _waiting_page(view: View, part: Part[CellResult], cells: Sequence[CellResult]) -> Chart:
    meta, level, service_s = view.meta, view.level, view.workload.service_s
    metric, shown = level.metric, part.items
    limited = [cell for cell in shown if cell.lead_status == "limited"]
    why = rows.why_limited(limited, metric.figure, "Hollow")
    words = Words(
        part.title(f"Requests that wait {service_s * 1000:.0f} ms, {level.plan.load}"),
        f"{metric.unit}, logarithmic, {metric.better} is better; dotted: what so many at a time would "
        f"give{'; hollow: limited' if limited else ''}",
        "Each request waits without using the CPU, so this shows how many a server holds at once, not how "
        f"fast it computes.{why}\n{conditions(view.run, level)}",
    )
    figure, axes = page(words, len(shown), right_in=_RIGHT_IN)
    row_labels(axes, [meta.subject(cell.subject) for cell in shown])
    marks = _marks(meta.workers, meta.threads, level.plan.connections, service_s)
    _axis(axes, cells, marks)
    for number, cell in enumerate(shown):
        if cell.rps is not None:
            _dot(axes, number, cell, color(meta.subject(cell.subject)), service_s)
        else:
            apart(axes, number, short_reason(cell))
    _headings(axes, [cell.rps for cell in shown if cell.rps is not None], metric)
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
    figures = [cell.rps.estimate for cell in cells if cell.rps is not None]
    shown = [*figures, *marks.values()]
    logarithmic(axes, min(shown) / 1.6, max(shown) * 1.25, lambda value: f"{value:,.0f}")
    for name, value in marks.items():
        rows.across(axes, value, f"{name}: {value:,.0f}", INK, ":")
    if not figures:
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
        color=paint if cell.valid else PAPER,
        markeredgecolor=PAPER if cell.valid else paint,
        markeredgewidth=1.5 if cell.valid else 2.2,
        zorder=3,
    )
    write(axes, number, f"{estimate.estimate:,.0f}", _RATE)
    write(axes, number, interval(estimate, RPS), _INTERVAL)
    write(axes, number, f"{estimate.estimate * service_s:.0f}", _AT_ONCE)
