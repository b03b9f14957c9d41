"""Latency of one closed loop: p50, p90 and p99 of every subject, figures beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts.dots import LEGEND, TOO_FEW, draw_dots, milliseconds_axis
from analysis.charts.frame import HEADING, PLAIN, QUIET, Column, Look, Words, beside, page, row_labels, write
from analysis.charts.output import Chart
from analysis.charts.pages import Part, parts
from analysis.colors import color
from analysis.conditions import conditions
from analysis.metrics import LAST_P50, LAST_P99, P50, P90, P99, Metric
from analysis.standings import ordered
from analysis.wording import short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.meta import LevelPlan, WorkloadMeta
    from analysis.results import CellResult

_SHOWN: tuple[Metric, ...] = (P50, P90, P99)
_COLUMN_PT = 68
_LAST_PT = 88
_RIGHT_IN = 3.3


def latency_charts(view: View) -> Iterator[Chart]:
    """Latency percentiles of the subjects of one level, the lowest p50 first."""
    cells = [cell for cell in ordered(view.level) if cell.status == "ok"]
    cells.sort(key=lambda cell: (cell.figure("p50") is None, cell.figure("p50") or 0.0, cell.subject))
    others = [cell for cell in ordered(view.level) if cell.status != "ok"]
    for part in parts([*cells, *others]):
        yield _page(view, part, cells)


def _page(view: View, part: Part[CellResult], valid: Sequence[CellResult]) -> Chart:
    meta, level = view.meta, view.level
    broadcast = view.workload.exchange == "broadcast"
    columns = [*_SHOWN, _last_subscriber(valid)] if broadcast else [*_SHOWN]
    shown = [cell.figure(each.name) for cell in part.items if cell.status == "ok" for each in columns]
    dash = TOO_FEW if None in shown else ""
    words = Words(
        part.title(f"{'Delay to each subscriber' if broadcast else 'Latency'}: {level.title}"),
        LEGEND,
        f"{_what_it_is(level.plan, view.workload)}{dash}\n{conditions(meta, level)}",
    )
    right_in = _RIGHT_IN + (_LAST_PT / 72 if broadcast else 0)
    figure, axes = page(words, len(part.items), right_in=right_in)
    row_labels(axes, [meta.subject(cell.subject) for cell in part.items])
    milliseconds_axis(axes, [value for cell in valid for each in _SHOWN if (value := cell.figure(each.name))])
    for number, cell in enumerate(part.items):
        if cell.status != "ok":
            beside(axes, axes.get_xlim()[0], number, short_reason(cell), QUIET)
            continue
        paint = color(meta.subject(cell.subject))
        draw_dots(axes, number, cell.interface, paint, [cell.figure(each.name) for each in _SHOWN])
        _columns(axes, number, [each.show(cell.figure(each.name)) for each in columns], PLAIN)
    _columns(axes, -0.85, [each.name.replace("_", " ") for each in columns], HEADING)
    alt = f"p50, p90 and p99 latency of {len(valid)} subjects; the table beside it holds the figures."
    return Chart(part.stem(f"latency-{level.workload}-{level.level}"), words.title, alt, figure)


def _last_subscriber(cells: Sequence[CellResult]) -> Metric:
    """Its p99, or its p50 where no subject had broadcasts enough for that."""
    return LAST_P99 if any(cell.figure(LAST_P99.name) for cell in cells) else LAST_P50


def _what_it_is(plan: LevelPlan, workload: WorkloadMeta) -> str:
    if workload.exchange == "broadcast":
        return (
            f"From a message's sending to its arrival at each of the {plan.connections} subscribers, one "
            "message under way at a time; “last” is its arrival at the last of them."
        )
    if plan.model == "locust":
        return (
            "From the sending of a request to the last byte of its answer. A user who waits longer asks less "
            "often, so the subjects were not asked equally often."
        )
    return (
        f"Closed loop: {plan.connections * plan.window} requests are always in flight, so most of this is "
        "waiting in line and mirrors the throughput. It is not the latency at a lower load."
    )


def _columns(axes: Axes, row: float, texts: list[str], look: Look) -> None:
    """The figures as right-aligned columns beside the axes, the last subscriber's farther off."""
    for column, text in enumerate(texts, start=1):
        points = column * _COLUMN_PT + (_LAST_PT - _COLUMN_PT if column > len(_SHOWN) else 0)
        write(axes, row, text, Column(1, points, "right", look))
