"""How a server's throughput changes with the number of connections that ask at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts.captions import conditions_of_all
from analysis.charts.frame import Words
from analysis.charts.output import Chart
from analysis.charts.pages import parts
from analysis.charts.panels import MOST_PANELS, by_server, is_first
from analysis.charts.rules import even_values, rule
from analysis.charts.series import Point, draw, has_strip, point
from analysis.standings import ordered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.results import LevelResult

_NOTE = (
    "Subjects were compared within each level, in the same rounds; the levels were measured one after the "
    "other."
)
_STRIP = " In the hatched strip: levels without a valid figure."


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
        strip = _STRIP if has_strip(part.items, points) else ""
        words = Words(
            part.title(f"Throughput against {what}: {name}"),
            f"{metric.unit}, {metric.better} is better; from left to right: {what}; line: 95 % interval; "
            "grey: the others",
            f"{_NOTE}{strip}{without}\n{conditions_of_all(view)}",
        )
        figure = draw(words, part.items, points, _from_zero)
        alt = f"Throughput of {len(points)} subjects at {len(levels)} numbers of {what}."
        yield Chart(part.stem(f"connections-{name}"), words.title, alt, figure)


def _from_zero(axes: Axes, low: float, high: float, reach: float) -> None:
    del low  # a throughput is read against nothing at all
    axes.set_ylim(0, high / reach)
    rule(axes, "y", {value: f"{value:,.6g}" if is_first(axes) else "" for value in even_values(0, high)})
