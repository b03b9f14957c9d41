"""Response time of one open loop: p50, p90 and p99 of every subject at the same rate, ranked by p99."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts import places
from analysis.charts.dots import LEGEND, TOO_FEW, draw_dots, milliseconds_axis
from analysis.charts.frame import (
    HEADING,
    INK,
    PLAIN,
    QUIET,
    STRONG,
    Column,
    Words,
    beside,
    page,
    row_labels,
    write,
)
from analysis.charts.output import Chart
from analysis.charts.pages import Part, parts
from analysis.colors import color
from analysis.conditions import conditions
from analysis.standings import standings
from analysis.wording import findings, short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.metrics import Metric
    from analysis.results import CellResult
    from analysis.standings import Standing

_P50_PT, _P90_PT, _P99_PT = 60, 124, 192
_COLUMNS_PT = 182
_CAP = 0.17
_NOTE = (
    "The clock runs from the moment a request was to be sent to its last byte, any wait for a free "
    "connection included; every subject got the same moments. Percentiles are those of a block, their mean "
    "and interval are over blocks. A subject that cannot keep up with the rate is overloaded and has no "
    "response time: it would only grow."
)


def response_charts(view: View) -> Iterator[Chart]:
    """Percentiles of the response time at one rate, the lowest p99 first; an overloaded subject has none."""
    rows = standings(view.level)
    valid = [row.cell for row in rows if row.cell.status == "ok"]
    values = [value for cell in valid for value in _values_us(cell, with_interval=True) if value]
    for part in parts(rows):
        yield _page(view, part, values)


def _page(view: View, part: Part[Standing], values_us: Sequence[float]) -> Chart:
    meta, level, metric = view.meta, view.level, view.level.metric
    valid = [row.cell for row in part.items if row.cell.status == "ok"]
    dash = TOO_FEW if any(None in _values_us(cell) for cell in valid) else ""
    words = Words(
        part.title(f"Response time: {level.title}"),
        f"{LEGEND} with its 95 % interval; bracket: cannot be told apart",
        f"{_NOTE}{dash}\n{conditions(meta, level)}",
    )
    figure, axes = page(words, len(part.items), right_in=places.WIDTH_IN + _COLUMNS_PT / 72)
    row_labels(axes, [meta.subject(row.cell.subject) for row in part.items])
    milliseconds_axis(axes, values_us)
    for number, row in enumerate(part.items):
        if row.cell.status == "ok":
            _row(axes, number, row.cell, color(meta.subject(row.cell.subject)), metric)
        else:
            beside(axes, axes.get_xlim()[0], number, short_reason(row.cell), QUIET)
    for text, points in (("p50", _P50_PT), ("p90", _P90_PT), ("p99", _P99_PT)):
        write(axes, -0.85, text, Column(1, points, "right", HEADING))
    places.write_places(axes, part.items, metric, _COLUMNS_PT)
    alt = " ".join(findings(level, view.workload))
    return Chart(part.stem(f"response-{level.workload}-{level.level}"), words.title, alt, figure)


def _values_us(cell: CellResult, *, with_interval: bool = False) -> list[float | None]:
    """p50, p90 and the leading p99, and on request both ends of its interval."""
    lead = cell.lead
    values = [cell.figure("p50"), cell.figure("p90"), lead.estimate if lead else None]
    return [*values, lead.low, lead.high] if with_interval and lead else values


def _row(axes: Axes, number: int, cell: CellResult, paint: str, metric: Metric) -> None:
    values_us = _values_us(cell)
    draw_dots(axes, number, cell.interface, paint, values_us)
    lead = cell.lead
    if lead is not None and lead.low is not None and lead.high is not None:
        ends_ms = [lead.low * metric.scale, lead.high * metric.scale]
        axes.plot(ends_ms, [number] * 2, color=INK, linewidth=2.4, zorder=5)
        for end_ms in ends_ms:
            axes.plot([end_ms] * 2, [number - _CAP, number + _CAP], color=INK, linewidth=1.6, zorder=5)
    columns = ((_P50_PT, PLAIN), (_P90_PT, PLAIN), (_P99_PT, STRONG))
    for (points, look), value_us in zip(columns, values_us, strict=True):
        write(axes, number, metric.show(value_us), Column(1, points, "right", look))
