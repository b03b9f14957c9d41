"""Charts of times: percentiles, response times, distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from analysis.charts import rows
from analysis.charts.panels import (
    MOST_PANELS,
    End,
    Panel,
    by_server,
    grid,
    head,
    is_first,
    left_out,
    logarithmic_height,
    name_ends,
    nothing_in_panel,
    others,
    rule,
)
from analysis.charts.rows import LEGEND, TOO_FEW, Part, draw_dots, milliseconds_axis, parts
from analysis.charts.style import (
    GREY,
    HEADING,
    INK,
    PLAIN,
    QUIET,
    STRONG,
    STYLE,
    Chart,
    Column,
    Look,
    Words,
    color,
    page,
    row_labels,
    width_pt,
    write,
)
from analysis.figures.cells import level_data
from analysis.figures.leads import LAST_P50, LAST_P99, P50, P90, P99, Metric
from analysis.figures.limits import at_the_floor
from analysis.figures.percentiles import Tail, tails
from analysis.figures.results import ordered, standings
from analysis.figures.statistics import Array
from analysis.surroundings import conditions
from analysis.words import findings, instrument_in_words, names, short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.figures.leads import Metric
    from analysis.figures.results import CellResult, LevelResult, Standing
    from gatebench.results.schema import LevelPlan, SubjectMeta, WorkloadMeta


_SHOWN: tuple[Metric, ...] = (P50, P90, P99)
_COLUMN_PT = 68
_LAST_PT = 88
_RIGHT_IN = 3.3
_CODE_PT = 70
"""Room for the code of the gate that limits a figure."""


def latency_charts(view: View) -> Iterator[Chart]:
    """Latency percentiles of the subjects of one level, the lowest p50 first."""
    every = ordered(view.level)
    cells = [cell for cell in every if cell.status_of(P50.figure) in {"ok", "limited"}]
    cells.sort(key=lambda cell: (cell.figure("p50") is None, cell.figure("p50") or 0.0, cell.subject))
    others = [cell for cell in every if cell not in cells]
    for part in parts([*cells, *others]):
        yield _latency_page(view, part, cells)


def _latency_page(view: View, part: Part[CellResult], with_times: Sequence[CellResult]) -> Chart:
    meta, level = view.meta, view.level
    broadcast = view.workload.exchange == "broadcast"
    columns = [*_SHOWN, _last_subscriber(with_times)] if broadcast else [*_SHOWN]
    shown = [cell.figure(each.name) for cell in part.items if cell in with_times for each in columns]
    limited = [cell for cell in part.items if cell.status_of(P50.figure) == "limited"]
    dash = TOO_FEW if None in shown else ""
    words = Words(
        part.title(f"{'Delay to each subscriber' if broadcast else 'Latency'}: {level.title}"),
        LEGEND,
        f"{_what_it_is(level.plan, view.workload)}{rows.why_limited(limited, P50.figure, 'Grey')}{dash}\n"
        f"{conditions(view.run, level)}",
    )
    extra_pt = (_LAST_PT if broadcast else 0) + (_CODE_PT if limited else 0)
    right_in = _RIGHT_IN + extra_pt / 72
    figure, axes = page(words, len(part.items), right_in=right_in)
    row_labels(axes, [meta.subject(cell.subject) for cell in part.items])
    milliseconds_axis(
        axes, [value for cell in with_times for each in _SHOWN if (value := cell.figure(each.name))]
    )
    for number, cell in enumerate(part.items):
        if cell not in with_times:
            rows.apart(axes, number, short_reason(cell, figure=P50.figure))
            continue
        paint = GREY if cell in limited else color(meta.subject(cell.subject))
        if cell in limited:
            code = cell.code_of(P50.figure)
            write(axes, number, code, Column(1, right_in * 72 - _CODE_PT, "left", QUIET))
        draw_dots(axes, number, cell.interface, paint, [cell.figure(each.name) for each in _SHOWN])
        _columns(axes, number, [each.show(cell.figure(each.name)) for each in columns], PLAIN)
    _columns(axes, -0.85, [each.name.replace("_", " ") for each in columns], HEADING)
    alt = f"p50, p90 and p99 latency of {len(with_times)} subjects; the table beside it holds the figures."
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


_LEAST_PT = (60, 64, 68)
"""Room of p50, p90 and p99, and the more that wider numbers take."""
_BETWEEN_PT = 10
_PLACE_PT = 60
"""Room of a place such as `11 to 13` right of its percentile."""
_LOOKS = (PLAIN, PLAIN, STRONG)
_CAP = 0.17
_RESPONSE_NOTE = (
    "The clock runs from the moment a request was to be sent to its last byte, any wait for a free "
    "connection included; every subject got the same moments. Percentiles are those of a block, their mean "
    "and interval are over blocks. A subject that cannot keep up with the rate is overloaded and has no "
    "response time: it would only grow."
)


def response_charts(view: View) -> Iterator[Chart]:
    """Percentiles of the response time at one rate, the lowest p99 first; an overloaded subject has none."""
    rows = standings(view.level)
    shown = [row.cell for row in rows if row.cell.shown]
    values = [value for cell in shown for value in _values_us(cell, with_interval=True) if value]
    if values and (floor_us := _floor_us(view.level)):
        values.append(floor_us)
    for part in parts(rows):
        yield _response_page(view, part, values)


def _response_page(view: View, part: Part[Standing], values_us: Sequence[float]) -> Chart:
    meta, level, metric = view.meta, view.level, view.level.metric
    shown = [row.cell for row in part.items if row.cell.shown]
    limited = [cell for cell in shown if not cell.valid]
    dash = TOO_FEW if any(None in _values_us(cell) for cell in shown) else ""
    why = rows.why_limited(limited, metric.figure, "Grey")
    floor_us = _floor_us(level) if values_us else 0.0
    floor = f" Dashed: {instrument_in_words(level)}." if floor_us else ""
    if floor_us and (at_it := at_the_floor(level.limit, level.cells)):
        floor += f" Within noise of that floor, so the machine's rather than their own: {names(at_it)}."
    words = Words(
        part.title(f"Response time: {level.title}"),
        f"{LEGEND}, each with its 95 % interval; bracket: p99 cannot be told apart",
        f"{_RESPONSE_NOTE}{floor}{why}{dash}\n{conditions(view.run, level)}",
    )
    ends_pt, places_pt = _column_ends(shown, metric, ranked=bool(level.percentiles))
    figure, axes = page(words, len(part.items), right_in=rows.WIDTH_IN + places_pt / 72)
    row_labels(axes, [meta.subject(row.cell.subject) for row in part.items])
    milliseconds_axis(axes, values_us)
    if floor_us:
        rows.across(axes, floor_us * metric.scale, f"floor of {metric.name}")
    for number, row in enumerate(part.items):
        if row.cell.shown:
            paint = color(meta.subject(row.cell.subject)) if row.cell.valid else GREY
            _row(axes, number, row.cell, paint, metric, ends_pt)
        else:
            rows.apart(axes, number, short_reason(row.cell))
    for text, points in zip(("p50", "p90", "p99"), ends_pt, strict=True):
        write(axes, -0.85, text, Column(1, points, "right", HEADING))
    on_page = {row.cell.subject: number for number, row in enumerate(part.items)}
    for other, points in zip(level.percentiles, ends_pt, strict=False):
        found = {row.cell.subject: row.places for row in standings(other)}
        for subject, number in on_page.items():
            write(axes, number, found[subject], Column(1, points + _PLACE_PT, "right", QUIET))
        if any(found.values()):
            write(axes, -0.85, "place", Column(1, points + _PLACE_PT, "right", QUIET))
    rows.write_places(axes, part.items, metric, places_pt)
    alt = " ".join(findings(level, view.workload))
    return Chart(part.stem(f"response-{level.workload}-{level.level}"), words.title, alt, figure)


def _column_ends(cells: Sequence[CellResult], metric: Metric, *, ranked: bool) -> tuple[list[float], float]:
    """Where p50, p90 and p99 end, and where the places' columns begin, in points right of the axes.

    Each column has the room of its usual numbers, and more where one of them is wider; where the level is
    `ranked` by them too, the places of p50 and p90 stand right of each.
    """
    ends_pt, reached_pt = [], 0.0
    for number, (least_pt, look) in enumerate(zip(_LEAST_PT, _LOOKS, strict=True)):
        widest_pt = max((width_pt(metric.show(_values_us(cell)[number]), look) for cell in cells), default=0)
        reached_pt += max(least_pt, widest_pt + _BETWEEN_PT)
        ends_pt.append(reached_pt)
        reached_pt += _PLACE_PT if ranked and number < len(_LEAST_PT) - 1 else 0
    return ends_pt, reached_pt + rows.interval_pt(cells, metric, _BETWEEN_PT)


def _floor_us(level: LevelResult) -> float:
    """The null responder's leading percentile; 0 where it has none."""
    known = instrument_in_words(level) and level.limit and level.limit.lead
    return known.estimate if known else 0.0


def _values_us(cell: CellResult, *, with_interval: bool = False) -> list[float | None]:
    """p50, p90 and the leading p99, and on request both ends of its interval."""
    lead = cell.lead
    values = [cell.figure("p50"), cell.figure("p90"), lead.estimate if lead else None]
    return [*values, lead.low, lead.high] if with_interval and lead else values


def _row(
    axes: Axes, number: int, cell: CellResult, paint: str, metric: Metric, ends_pt: Sequence[float]
) -> None:
    values_us = _values_us(cell)
    draw_dots(axes, number, cell.interface, paint, values_us)
    for figure, width in ((cell.typical.get("p50"), 1.2), (cell.typical.get("p90"), 1.2), (cell.lead, 2.4)):
        if figure is None or figure.low is None or figure.high is None:
            continue
        ends_ms = [figure.low * metric.scale, figure.high * metric.scale]
        axes.plot(ends_ms, [number] * 2, color=INK, linewidth=width, zorder=5)
        for end_ms in ends_ms:
            cap = _CAP * width / 2.4
            axes.plot([end_ms] * 2, [number - cap, number + cap], color=INK, linewidth=width / 1.5, zorder=5)
    for points, look, value_us in zip(ends_pt, _LOOKS, values_us, strict=True):
        write(axes, number, metric.show(value_us), Column(1, points, "right", look))


_TICKS = {0.5: "p50", 0.9: "p90", 0.99: "p99", 0.999: "p99.9", 0.9999: "p99.99", 0.99999: "p99.999"}
_OTHERS_EVERY = 2
"""A grey line needs fewer points than one that is read."""
_LEAST_NINES = 2.05
_BAND = 0.2
_DISTRIBUTION_NOTE = (
    "A curve ends where fewer than {beyond} lie beyond it: what is rarer was not measured often enough. The "
    "band reaches from the lowest to the highest block."
)


def distribution_charts(view: View) -> Iterator[Chart]:
    """The percentile curves of the subjects of one level that have any, a panel a server, the best first."""
    cells = ordered(view.level)
    panels, without = by_server(view.meta, cells)
    shown = [cell.subject for cell in cells if cell.status_of(P50.figure) in {"ok", "limited"}]
    found = tails(level_data(view.run, view.level.plan), shown)
    for part in parts(panels, MOST_PANELS):
        yield _distribution_page(view, part, found, without)


def _distribution_page(view: View, part: Part[Panel], found: Mapping[str, Tail], without: str) -> Chart:
    level = view.level
    kind = "Delay to each subscriber" if view.workload.exchange == "broadcast" else "Latency"
    kind = "Response time" if level.plan.paced else kind
    beyond = "100 latencies, or 10 of any block," if level.plan.paced else "100 latencies"
    words = Words(
        part.title(f"{kind} distribution: {level.title}"),
        "milliseconds, logarithmic, lower is better; from left to right: percentiles; grey: the others",
        f"{_DISTRIBUTION_NOTE.format(beyond=beyond)}{without}\n{conditions(view.run, level)}",
    )
    with mpl.rc_context(STYLE):
        figure, every = grid(words, len(part.items))
        for axes, (server, subjects) in zip(every, part.items, strict=True):
            _scales(axes, list(found.values()))
            ids = {subject.id for subject in subjects}
            others(axes, [_thinned(tail) for name, tail in found.items() if name not in ids])
            own = [(subject, found[subject.id]) for subject in subjects if subject.id in found]
            for subject, tail in own:
                _curve(axes, subject, tail)
            cells = {cell.subject: cell for cell in level.cells}
            head(axes, server, left_out([(each, cells[each.id]) for each in subjects], "latency_us"))
            ends = [End(subject, _nines(tail.shares)[-1], tail.us[-1] / 1000) for subject, tail in own]
            name_ends(axes, ends)
    alt = f"Percentile curves of {len(found)} subjects; the level's table holds p50, p90, p99 and p99.9."
    return Chart(part.stem(f"distribution-{level.workload}-{level.level}"), words.title, alt, figure)


def _nines(shares: Array) -> Array:
    """Where a share stands on the axis: 1 for 90 %, 2 for 99 %."""
    return np.asarray(-np.log10(1 - shares))


def _scales(axes: Axes, found: Sequence[Tail]) -> None:
    if not found:
        nothing_in_panel(axes)
        return
    lowest, highest = (min(tail.us[0] for tail in found), max(tail.us[-1] for tail in found))
    axes.set_xlim(0, max(_LEAST_NINES, *(_nines(tail.shares)[-1] for tail in found)))
    low, high = lowest / 1000 / 1.3, highest / 1000 * 1.3
    logarithmic_height(axes, low, high, lambda value: f"{value:g} ms", labelled=is_first(axes))
    rule(axes, "x", dict(zip(_nines(np.array(list(_TICKS))).tolist(), _TICKS.values(), strict=True)))


def _thinned(tail: Tail) -> Array:
    kept = np.r_[0 : len(tail.us) : _OTHERS_EVERY, len(tail.us) - 1]
    return np.column_stack([_nines(tail.shares[kept]), tail.us[kept] / 1000])


def _curve(axes: Axes, subject: SubjectMeta, tail: Tail) -> None:
    x, paint = _nines(tail.shares), color(subject)
    low, high = tail.low_us / 1000, tail.high_us / 1000
    axes.fill_between(x, low, high, color=paint, alpha=_BAND, linewidth=0, zorder=2)
    axes.plot(x, tail.us / 1000, color=paint, linewidth=2.2, zorder=3)
