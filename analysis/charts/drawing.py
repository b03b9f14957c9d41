"""Draws every chart of a run into files."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from analysis.charts.pages import parts
from analysis.charts.registry import CHARTS, Kind
from analysis.charts.view import View
from analysis.parallel import forked_map

if TYPE_CHECKING:
    from analysis.load import Run
    from analysis.results import Summary

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
