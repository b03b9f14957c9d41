"""Which charts a run has, and how all of them are drawn."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from analysis.charts.applications import application_charts, has_applications
from analysis.charts.costs import counted_levels, cpu_charts, loaded_levels, memory_charts
from analysis.charts.footing import has_two_loops, loop_charts, same_loop_charts, shares_a_loop
from analysis.charts.over_load import connection_charts, levels_by_load, paced_levels, rate_charts
from analysis.charts.ranking import leading_charts, waiting_charts
from analysis.charts.rows import parts
from analysis.charts.steadiness import steadiness_charts
from analysis.charts.style import Chart
from analysis.charts.times import distribution_charts, latency_charts, response_charts
from analysis.charts.view import View
from analysis.reading.tables import forked_map

if TYPE_CHECKING:
    from analysis.figures.results import Summary
    from analysis.reading.run import Run


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


def _takes_part(view: View) -> bool:
    """Whether any subject can do what the levels ask; charts with a panel for each have none otherwise."""
    return any(cell.status != "unsupported" for level in view.levels for cell in level.cells)


def _has_rates(view: View) -> bool:
    return len(paced_levels(view)) > 1 and _takes_part(view)


def _has_loads(view: View) -> bool:
    return len(levels_by_load(view)) > 1 and _takes_part(view)


def _asked_in_turn(view: View) -> bool:
    return any(level.plan.model in {"closed", "locust"} for level in view.levels)


def _was_measured(view: View) -> bool:
    return any(cell.requests for level in view.levels for cell in level.cells)


def _has_slices_in_turn(view: View) -> bool:
    return _asked_in_turn(view) and _was_measured(view)


def _is_ranked_in_bars(view: View) -> bool:
    return not view.level.plan.paced and not _waits(view)


def _shares_a_loop(view: View) -> bool:
    return _is_ranked_in_bars(view) and shares_a_loop(view)


def _has_two_loops(view: View) -> bool:
    return _is_ranked_in_bars(view) and has_two_loops(view)


def _has_latencies(view: View) -> bool:
    return (_asked_in_turn(view) or view.level.plan.paced) and _was_measured(view)


CHARTS: tuple[Kind, ...] = (
    Kind("leading figure", "level", _is_ranked_in_bars, leading_charts, leads=True),
    Kind("waiting requests", "level", _waits, waiting_charts, leads=True),
    Kind("the same loop for all", "level", _shares_a_loop, same_loop_charts),
    Kind("another event loop", "level", _has_two_loops, loop_charts),
    Kind("response time", "level", _is_paced, response_charts, leads=True),
    Kind("latency", "level", _asked_in_turn, latency_charts),
    Kind("distribution of latencies", "level", _has_latencies, distribution_charts),
    Kind("what applications add", "level", has_applications, application_charts),
    Kind("response time over rate", "workload", _has_rates, rate_charts),
    Kind("throughput over load", "workload", _has_loads, connection_charts),
    Kind("server CPU a request", "workload", lambda view: bool(counted_levels(view)), cpu_charts),
    Kind("server memory", "run", lambda view: bool(loaded_levels(view)), memory_charts),
    Kind("steadiness", "run", _has_slices_in_turn, steadiness_charts),
)


def charts(scope: Scope, view: View) -> Iterator[Chart]:
    """Every chart of a view of that scope, in the order of the registry."""
    for kind in CHARTS:
        if kind.scope == scope and kind.applies(view):
            yield from kind.draw(view)


Write = Callable[[str, bytes], None]

MOST_DRAWN = 80
"""Pages of charts that a report draws unless it is asked for all.

It is more than twice what a standard run has. More would keep a report waiting for what few look at.
"""
MOST_AS_PNG, LARGE_AS_PNG = 40, 20
"""Charts that are drawn as PNG too: all of a run with so many, and of a larger one so few.

A standard run has fewer. Two PNGs take longer than all else of a chart, and a run of a thousand cells would
wait long for pictures of which a talk shows three. The first kinds of the registry come first.
"""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart that has been drawn into its files.

    Attributes:
        workload, level: what it shows; no level for all of a workload, neither for a whole run.
        svg: in light inks.
        files: the names of all its files.
    """

    workload: str
    level: str
    stem: str
    title: str
    alt: str
    svg: bytes
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Task:
    """A kind of chart of one view."""

    kind: Kind
    view: View
    as_png: bool


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a report has of its charts.

    Attributes:
        left_out: kind of chart → how many workloads or levels have none of it, for there would be too many.
    """

    drawings: list[Drawing]
    left_out: Mapping[str, int]


def draw_all(
    run: Run, summary: Summary, write: Write, *, interim: bool = False, every: bool = False
) -> Drawn:
    """Draws the charts of the registry that apply: those of the run, of each workload, of each level.

    Of a large run, those that lead a level and those of the run come first; the others up to `MOST_DRAWN`.

    Args:
        run: where the raw data come from.
        summary: the result of `run`.
        write: puts a file with this name and content in its place; called in several processes.
        interim: only what leads a level, without PNG: a run waits for it.
        every: draw all of a large run too.
    """
    tasks = _tasks(run, summary)
    if interim:
        tasks = [replace(task, as_png=False) for task in tasks if task.kind.leads]
    kept = tasks if every or interim else _most_telling(tasks)
    drawn = forked_map(partial(_draw, write), kept)
    left_out = Counter(task.kind.name for task in tasks) - Counter(task.kind.name for task in kept)
    return Drawn([drawing for drawings in drawn for drawing in drawings], left_out)


def _most_telling(tasks: Sequence[_Task]) -> list[_Task]:
    """In their order, those for which there is room."""
    pages = len(parts(tasks[0].view.level.cells)) if tasks else 1
    ranked = sorted(
        range(len(tasks)),
        key=lambda number: (
            not tasks[number].kind.leads,
            tasks[number].kind.scope != "run",
            CHARTS.index(tasks[number].kind),
        ),
    )
    kept = set(ranked[: MOST_DRAWN // pages])
    return [task for number, task in enumerate(tasks) if number in kept]


def _draw(write: Write, task: _Task) -> list[Drawing]:
    scope, level = task.kind.scope, task.view.level
    workload, of = level.workload if scope != "run" else "", level.level if scope == "level" else ""
    drawn: list[Drawing] = []
    for chart in task.kind.draw(task.view):
        files = chart.files(as_png=task.as_png)
        for name, content in files.items():
            write(name, content)
        svg = files[f"{chart.stem}.svg"]
        drawn.append(Drawing(workload, of, chart.stem, chart.title, chart.alt, svg, frozenset(files)))
    # A drawn figure holds some 10 MiB in reference cycles, and a lab may be running beside this.
    gc.collect()
    return drawn


def _tasks(run: Run, summary: Summary) -> Sequence[_Task]:
    by_workload: dict[str, list[View]] = {}
    for level in summary.levels:
        by_workload.setdefault(level.workload, []).append(View(run, (level,)))
    views = {
        "run": [View(run, summary.levels)] if summary.levels else [],
        "workload": [View(run, [each.level for each in levels]) for levels in by_workload.values()],
        "level": [each for levels in by_workload.values() for each in levels],
    }
    found = [
        (kind, view)
        for scope, of_scope in views.items()
        for view in of_scope
        for kind in CHARTS
        if kind.scope == scope and kind.applies(view)
    ]
    ranked = sorted(range(len(found)), key=lambda number: CHARTS.index(found[number][0]))
    pages = len(parts(summary.levels[0].cells)) if found else 1
    most = MOST_AS_PNG if len(found) * pages <= MOST_AS_PNG else LARGE_AS_PNG
    as_png = set(ranked[: most // pages])
    return [_Task(kind, view, number in as_png) for number, (kind, view) in enumerate(found)]
