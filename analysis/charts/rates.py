"""How the tail of the response time grows with the offered rate, up to where a server is overloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts.captions import conditions_of_all
from analysis.charts.frame import Words
from analysis.charts.output import Chart
from analysis.charts.pages import parts
from analysis.charts.panels import MOST_PANELS, by_server, is_first
from analysis.charts.rules import logarithmic_height
from analysis.charts.series import Point, draw, has_strip, point
from analysis.gates import RATE_MISSED
from analysis.standings import ordered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.results import LevelResult

_NOTE = "Response times run from the moment a request was to be sent."
_STRIP = (
    " In the hatched strip: rates without a valid figure, such as those at which a server is overloaded, so "
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
    panels, without = by_server(view.meta, ordered(levels[0]), *(level.cells for level in levels))
    for part in parts(panels, MOST_PANELS):
        strip = _STRIP if has_strip(part.items, points) else ""
        words = Words(
            part.title(f"Response time against the offered rate: {name}"),
            f"p99 in {metric.unit}, logarithmic, lower is better; from left to right: requests/s offered; "
            "line: 95 % interval; grey: the others",
            f"{_NOTE}{strip}{without}\n{conditions_of_all(view)}",
        )
        figure = draw(words, part.items, points, _milliseconds)
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
