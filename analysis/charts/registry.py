"""The registry of charts: what each is called, when a run has it, and who draws it.

A chart is a module with a function that draws it, and its line here, which is also its place on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from analysis.charts.connections import connection_charts, levels_by_load
from analysis.charts.cpu import counted_levels, cpu_charts
from analysis.charts.distribution import distribution_charts
from analysis.charts.latency import latency_charts
from analysis.charts.leading import leading_charts
from analysis.charts.memory import loaded_levels, memory_charts
from analysis.charts.output import Chart
from analysis.charts.rates import paced_levels, rate_charts
from analysis.charts.response import response_charts
from analysis.charts.steadiness import steadiness_charts
from analysis.charts.view import View
from analysis.charts.waiting import waiting_charts

Scope = Literal["level", "workload", "run"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of chart.

    Attributes:
        name: what a person calls it.
        scope: whether it shows one level, all levels of one workload, or a whole run.
        applies: whether there is anything to show of a view of that scope.
        draw: gives its pages.
        leads: whether it shows what a level is ranked by; only these are drawn while a run goes on.
    """

    name: str
    scope: Scope
    applies: Callable[[View], bool]
    draw: Callable[[View], Iterator[Chart]]
    leads: bool = False


def _waits(view: View) -> bool:
    return view.level.plan.model == "closed" and view.workload.waits


def _is_paced(view: View) -> bool:
    return view.level.plan.paced


def _asked_in_turn(view: View) -> bool:
    return any(level.plan.model in {"closed", "locust"} for level in view.levels)


def _was_measured(view: View) -> bool:
    return any(cell.requests for level in view.levels for cell in level.cells)


def _has_slices_in_turn(view: View) -> bool:
    return _asked_in_turn(view) and _was_measured(view)


def _is_ranked_in_bars(view: View) -> bool:
    return not view.level.plan.paced and not _waits(view)


def _has_latencies(view: View) -> bool:
    return (_asked_in_turn(view) or view.level.plan.paced) and _was_measured(view)


CHARTS: tuple[Kind, ...] = (
    Kind("leading figure", "level", _is_ranked_in_bars, leading_charts, leads=True),
    Kind("waiting requests", "level", _waits, waiting_charts, leads=True),
    Kind("response time", "level", _is_paced, response_charts, leads=True),
    Kind("latency", "level", _asked_in_turn, latency_charts),
    Kind("distribution of latencies", "level", _has_latencies, distribution_charts),
    Kind("response time over rate", "workload", lambda view: len(paced_levels(view)) > 1, rate_charts),
    Kind("throughput over load", "workload", lambda view: len(levels_by_load(view)) > 1, connection_charts),
    Kind("server CPU a request", "workload", lambda view: bool(counted_levels(view)), cpu_charts),
    Kind("server memory", "run", lambda view: bool(loaded_levels(view)), memory_charts),
    Kind("steadiness", "run", _has_slices_in_turn, steadiness_charts),
)


def charts(scope: Scope, view: View) -> Iterator[Chart]:
    """Every chart of a view of that scope, in the order of the registry."""
    for kind in CHARTS:
        if kind.scope == scope and kind.applies(view):
            yield from kind.draw(view)
