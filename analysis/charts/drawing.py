"""Draws every chart of a run into files."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
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

MOST_AS_PNG = 40
"""Charts that are drawn as PNG too, the first kinds of the registry first.

It is more than a standard run has. Two PNGs take longer than all else of a chart, and a run of a thousand
cells would wait long for pictures of which a talk shows three.
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


def draw_all(run: Run, summary: Summary, write: Write, *, interim: bool = False) -> list[Drawing]:
    """Draws every chart of the registry that applies: those of the run, of each workload, of each level.

    Args:
        run: where the raw data come from.
        summary: the result of `run`.
        write: puts a file with this name and content in its place; called in several processes.
        interim: only what leads a level, without PNG: a run waits for it.
    """
    tasks = _tasks(run, summary)
    if interim:
        tasks = [replace(task, as_png=False) for task in tasks if task.kind.leads]
    drawn = forked_map(partial(_draw, write), tasks)
    return [drawing for drawings in drawn for drawing in drawings]


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
    as_png = set(ranked[: MOST_AS_PNG // pages])
    return [_Task(kind, view, number in as_png) for number, (kind, view) in enumerate(found)]
