"""Charts over the load: over connections, over rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts.panels import (
    MOST_PANELS,
    Point,
    by_server,
    draw,
    even_values,
    has_strip,
    is_first,
    logarithmic_height,
    point,
    rule,
)
from analysis.charts.rows import parts
from analysis.charts.style import Chart, Words
from analysis.charts.view import conditions_of_all
from analysis.figures.gates import RATE_MISSED
from analysis.figures.results import ordered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.figures.results import LevelResult


_CONNECTIONS_NOTE = (
    "Subjects were compared within each level, in the same rounds; the levels were measured one after the "
    "other."
)
_CONNECTIONS_STRIP = " In the hatched strip: levels without a figure."


def in_flight(level: LevelResult) -> int:
    """Requests that are in flight at any time."""
    return level.plan.connections * level.plan.window


def levels_by_load(view: View) -> list[LevelResult]:
    """The levels that ask as fast as they are answered, one for each number of requests in flight."""
    closed = [level for level in view.levels if level.plan.model in {"closed", "locust"}]
    return sorted({in_flight(level): level for level in reversed(closed)}.values(), key=in_flight)


def connection_charts(view: View) -> Iterator[Chart]:
    """Throughput over connections, or over messages in flight, a panel a server, the best first."""
    levels = levels_by_load(view)
    name, metric = levels[0].workload, levels[0].metric
    windows = {level.plan.window for level in levels} != {1}
    users = levels[0].plan.model == "locust"
    what = "messages in flight" if windows else "Locust users" if users else "connections"
    points: dict[str, list[Point]] = {cell.subject: [] for cell in ordered(levels[-1])}
    for level in levels:
        for cell in level.cells:
            points[cell.subject].append(point(in_flight(level), cell, metric.scale))
    panels, without = by_server(view.meta, ordered(levels[-1]), *(level.cells for level in levels))
    for part in parts(panels, MOST_PANELS):
        strip = _CONNECTIONS_STRIP if has_strip(part.items, points) else ""
        words = Words(
            part.title(f"Throughput against {what}: {name}"),
            f"{metric.unit}, {metric.better} is better; from left to right: {what}; line: 95 % interval; "
            "grey: the others",
            f"{_CONNECTIONS_NOTE}{strip}{without}\n{conditions_of_all(view)}",
        )
        figure = draw(words, part.items, points, _from_zero)
        alt = f"Throughput of {len(points)} subjects at {len(levels)} numbers of {what}."
        yield Chart(part.stem(f"connections-{name}"), words.title, alt, figure)


def _from_zero(axes: Axes, low: float, high: float, reach: float) -> None:
    del low  # a throughput is read against nothing at all
    axes.set_ylim(0, high / reach)
    rule(axes, "y", {value: f"{value:,.6g}" if is_first(axes) else "" for value in even_values(0, high)})


_RATES_NOTE = "Response times run from the moment a request was to be sent."
_FLOOR_NOTE = " Dashed: this machine's floor, the null responder at the same rates."
_RATES_STRIP = (
    " In the hatched strip: rates without a figure, such as those at which a server is overloaded, so "
    "that its response time would only grow."
)


def paced_levels(view: View) -> list[LevelResult]:
    """The levels at one rate for all subjects, the lowest rate first."""
    paced = [level for level in view.levels if level.plan.paced and level.plan.rate_per_s]
    return sorted(paced, key=lambda level: level.plan.rate_per_s or 0.0)


def rate_charts(view: View) -> Iterator[Chart]:
    """p99 of the response time over the offered rate, a panel a server, the best at the lowest rate first."""
    levels = paced_levels(view)
    name, metric = levels[0].workload, levels[0].metric
    points: dict[str, list[Point]] = {cell.subject: [] for cell in ordered(levels[0])}
    for level in levels:
        for cell in level.cells:
            points[cell.subject].append(point(level.plan.rate_per_s or 0.0, cell, metric.scale))
    floor = [
        point(level.plan.rate_per_s or 0.0, level.limit, metric.scale)
        for level in levels
        if level.limit is not None
    ]
    dashed = _FLOOR_NOTE if any(each.y is not None for each in floor) else ""
    panels, without = by_server(view.meta, ordered(levels[0]), *(level.cells for level in levels))
    for part in parts(panels, MOST_PANELS):
        strip = _RATES_STRIP if has_strip(part.items, points) else ""
        words = Words(
            part.title(f"Response time against the offered rate: {name}"),
            f"p99 in {metric.unit}, logarithmic, lower is better; from left to right: requests/s offered; "
            "line: 95 % interval; grey: the others",
            f"{_RATES_NOTE}{dashed}{strip}{without}\n{conditions_of_all(view)}",
        )
        figure = draw(words, part.items, points, _milliseconds, floor)
        alt = " ".join(_sentences(levels)) or f"p99 of {len(points)} subjects at {len(levels)} offered rates."
        yield Chart(part.stem(f"rate-{name}"), words.title, alt, figure)


def _milliseconds(axes: Axes, low: float, high: float, reach: float) -> None:
    low = low / 1.3
    top = low * (high / low) ** (1 / reach)
    logarithmic_height(axes, low, top, lambda value: f"{value:g} ms", labelled=is_first(axes))


def _sentences(levels: list[LevelResult]) -> list[str]:
    """At which rate each subject that is overloaded is so first."""
    first: dict[str, float] = {}
    for level in levels:
        for cell in level.cells:
            if any(reason.startswith(f"{RATE_MISSED.code}:") for reason in cell.reasons):
                first.setdefault(cell.subject, level.plan.rate_per_s or 0.0)
    return [f"{subject} is overloaded at {rate:,.0f} requests/s." for subject, rate in first.items()]
