"""Views of synthetic runs to draw charts of, and ways to read what a chart says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.text import Text

from analysis.charts.style import Chart
from analysis.charts.view import View
from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from tests.support.synthetic import BROADCAST, IDLE, LOADS, SEARCH, STEADY, SUBJECTS, VISIT, make_run
from tests.support.synthetic_model import Load, Plan, Truth

Points = npt.NDArray[np.float64]
Draw = Callable[[View], Iterator[Chart]]

KEEP_ALIVE, WAIT = LOADS[0], LOADS[3]
PLAN = Plan(blocks=3, rounds=12, slice_noise=0.01, block_noise=0.003)
FIGURES = {
    STEADY.name: 9_000.0,
    SEARCH.name: 4_000.0,
    IDLE.name: 20.0,
    BROADCAST.name: 200.0,
    VISIT.name: 130.0,
}
_UVICORN = next(truth for truth in SUBJECTS if truth.id == "uvicorn")
UVICORN = replace(_UVICORN, rates={**_UVICORN.rates, **FIGURES})
FIFTEEN = [
    replace(truth, rates={**truth.rates, **FIGURES}) if truth.interface == "asgi" else truth
    for truth in SUBJECTS
]


def crowd(count: int) -> list[Truth]:
    """So many servers of one variant each, the fastest first."""
    return [
        replace(
            UVICORN,
            id=f"server-{n}",
            server=f"server-{n}",
            rates={"keep-alive": 1e4 - 200 * n, "wait": 4e3 - 90 * n, **FIGURES},
        )
        for n in range(count)
    ]


def run_view(
    folder: Path, subjects: Sequence[Truth], loads: Sequence[Load], plan: Plan = PLAN, **more: Any
) -> View:
    """A view of all levels of a synthetic run."""
    run = load_run(make_run(folder / "run", plan, subjects, loads, **more))
    return View(run, summarize(run).levels)


def level_view(folder: Path, subjects: Sequence[Truth], load: Load, **more: Any) -> View:
    """A view of the only level of a synthetic run."""
    return run_view(folder, subjects, [load], **more)


class Views:
    """Views of synthetic runs, each made once: for tests that change nothing in the run's folder.

    Args:
        folder: where the runs are made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, View] = {}

    def of(self, subjects: Sequence[Truth], *loads: Load, plan: Plan = PLAN) -> View:
        """All levels of the run of these subjects under these loads."""
        described = repr((list(subjects), loads, plan))
        if described not in self._made:
            folder = self._folder / str(len(self._made))
            self._made[described] = run_view(folder, subjects, loads, plan)
        return self._made[described]


def only(charts: Iterable[Chart]) -> Chart:
    """The one page of a chart that has no more."""
    (chart,) = charts
    return chart


def texts(chart: Chart) -> list[str]:
    """Everything that is written on a chart."""
    return [
        text.get_text() for text in chart.figure.findobj(Text) if isinstance(text, Text) and text.get_text()
    ]


def said(chart: Chart) -> str:
    """All of it in one line, for what is broken into several."""
    return " ".join(" ".join(texts(chart)).split())


def texts_off_the_page(chart: Chart) -> list[str]:
    """What reaches beyond the edges of the page."""
    chart.figure.draw_without_rendering()
    width, height = chart.figure.get_size_inches() * chart.figure.dpi
    # A chart that nothing could be drawn on keeps labels for ticks that it does not draw.
    ticks = {
        label
        for axes in chart.figure.axes
        for label in (*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both"))
    }
    drawn = [text for text in chart.figure.findobj(Text) if isinstance(text, Text) and text not in ticks]
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn if text.get_text()]
    return [text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]


def texts_on_others(chart: Chart) -> list[tuple[str, str]]:
    """Neighbors in a row right of the axes of which the one reaches into the other."""
    chart.figure.draw_without_rendering()
    (axes,) = chart.figure.axes
    boxes = [(each.get_window_extent(), each.get_text()) for each in axes.texts if each.get_text().strip()]
    right = sorted((box.y0 + box.y1, box.x0, box.x1, text) for box, text in boxes if box.x1 > axes.bbox.x1)
    return [
        (text, other)
        for (middle, _, end, text), (other_middle, start, _, other) in pairwise(right)
        if abs(middle - other_middle) < 1 and start < end
    ]


def again(view: View) -> View:
    """The view of a run whose files were changed."""
    run = load_run(view.run.folder)
    return View(run, summarize(run).levels)


def lines(axes: Axes, *, ink: str | None = None, style: str | None = None) -> list[Points]:
    """The points of each line, shape (points, 2), in that color and style."""
    return [
        np.array(line.get_xydata())
        for line in axes.lines
        if ink in {None, line.get_color()} and style in {None, line.get_linestyle()}
    ]
