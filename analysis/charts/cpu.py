"""CPU time of the server for each request: bars of every subject, the levels of one workload side by side."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from analysis.charts.bars import HATCHED, apart, bar
from analysis.charts.captions import conditions_of_all
from analysis.charts.counting import counted_slices
from analysis.charts.frame import (
    QUIET,
    STYLE,
    WIDTH_IN,
    Column,
    Words,
    bare,
    nothing_valid,
    page,
    row_labels,
    write,
)
from analysis.charts.output import Chart
from analysis.charts.pages import Part, parts
from analysis.charts.panels import reason_in_brief
from analysis.metrics import CPU
from analysis.standings import ordered
from analysis.statistics import Estimate, rate
from analysis.wording import interval, short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.load import Run
    from analysis.results import CellResult, LevelResult

_MOST_COLUMNS = 4
_GAP_IN, _INTERVAL_IN = 0.4, 1.6
_ROOM, _ROOM_A_COLUMN = 1.12, 0.08
"""The axis is that much longer than the longest bar, for the figure beside it."""
_FARTHEST = 0.4
"""Where a reason begins at the latest, as a share of the axis, lest it reach into the next column."""
_LETTERS_AN_INCH = 11
_INTERVAL = Column(1, 110, "right", QUIET)
_NOTE = (
    "User and system time of all the server's processes, the application's own included, over the correct "
    "answers; the interval is over blocks. A server that is not busy wakes up for fewer requests at a time, "
    "so that each costs more."
)


def counted_levels(view: View) -> list[LevelResult]:
    """The levels of whose requests a cost can be told: not those of a search, nor idle connections."""
    return [level for level in view.levels if level.plan.model not in {"objective", "idle"}]


def cpu_charts(view: View) -> Iterator[Chart]:
    """CPU microseconds a request, the lowest first; what does not fit goes on on further pages."""
    levels = counted_levels(view)
    cells = [{cell.subject: cell for cell in level.cells} for level in levels]
    subjects = sorted(
        (cell.subject for cell in ordered(levels[0])), key=lambda name: _place([each[name] for each in cells])
    )
    figures = [_figures(view.run, level) for level in levels]
    highest = max((each.high or each.estimate for level in figures for each in level.values()), default=0.0)
    columns = [(level, own, of) for level, own, of in zip(levels, cells, figures, strict=True)]
    pages = [(side, rows) for side in parts(columns, _MOST_COLUMNS) for rows in parts(subjects)]
    for number, (side, rows) in enumerate(pages, start=1):
        part = Part(rows.items, number, len(pages))
        hatched = any(
            own[subject].status != "ok" and subject in of
            for _, own, of in side.items
            for subject in rows.items
        )
        words = Words(
            part.title(f"Server CPU a request: {levels[0].workload}"),
            f"{CPU.unit}, {CPU.better} is better; line: 95 % interval{HATCHED if hatched else ''}",
            f"{_NOTE}\n{conditions_of_all(view)}",
        )
        alone = len(levels) == 1
        with mpl.rc_context(STYLE):
            figure, first = page(words, len(part.items), right_in=0.45 + (_INTERVAL_IN if alone else 0))
            row_labels(first, [view.meta.subject(subject) for subject in part.items])
            for axes, (level, own, of) in zip(_side_by_side(first, len(side.items)), side.items, strict=True):
                _scale(axes, highest * (_ROOM + _ROOM_A_COLUMN * len(side.items)))
                _heading(axes, level)
                for row, subject in enumerate(part.items):
                    _row(view, axes, row, own[subject], of.get(subject), alone=alone)
        alt = f"CPU time a request of {len(subjects)} subjects; the tables hold the figures."
        yield Chart(part.stem(f"cpu-{levels[0].workload}"), words.title, alt, figure)


def _place(cells: Sequence[CellResult]) -> tuple[int, float]:
    """By the figure of the first level with a valid one."""
    for number, cell in enumerate(cells):
        if cell.status == "ok" and cell.cpu_us_per_request is not None:
            return number, cell.cpu_us_per_request
    return len(cells), 0.0


def _figures(run: Run, level: LevelResult) -> dict[str, Estimate]:
    """Subject → CPU µs a request with the interval over blocks, of those that have a figure, valid or not."""
    slices = counted_slices(run, level.plan)
    read = slices[slices["server_cpu_s"].notna()]
    sums = read.assign(requests=read["completed"] + read["drained"]).groupby(["subject", "block"])
    by_block = sums[["server_cpu_s", "requests"]].sum()
    by_block = by_block[(by_block["requests"] > 0) & (by_block["server_cpu_s"] > 0)]
    logs = np.log(by_block["server_cpu_s"] / by_block["requests"] * 1e6)
    found: dict[str, Estimate] = {}
    for cell in level.cells:
        if cell.cpu_us_per_request is None:
            continue
        known = cell.subject in logs.index.get_level_values("subject")
        over = rate(logs.xs(cell.subject, level="subject")) if known else None
        low, high = (over.low, over.high) if over else (None, None)
        found[cell.subject] = Estimate(cell.cpu_us_per_request, low, high, cell.blocks)
    return found


def _side_by_side(first: Axes, count: int) -> list[Axes]:
    """Divides a pair of axes into that many of the same rows."""
    figure, box = first.figure, first.get_position()
    gap = _GAP_IN / WIDTH_IN
    width = (box.width - gap * (count - 1)) / count
    first.set_position((box.x0, box.y0, width, box.height))
    every = [first]
    for number in range(1, count):
        axes = figure.add_axes((box.x0 + number * (width + gap), box.y0, width, box.height))
        axes.set_ylim(first.get_ylim())
        bare(axes)
        every.append(axes)
    return every


def _scale(axes: Axes, end: float) -> None:
    if not end:
        nothing_valid(axes)
    axes.set_xlim(0, end or 1.0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")


def _heading(axes: Axes, level: LevelResult) -> None:
    letters = math.floor(axes.bbox.width / axes.figure.dpi * _LETTERS_AN_INCH)
    load = f"{level.plan.rate_per_s:,.0f} requests/s" if level.plan.rate_per_s else level.plan.load
    write(axes, -0.95, textwrap.shorten(load, letters, placeholder=" …"), Column(0, 0, "left", QUIET))


def _row(view: View, axes: Axes, row: int, cell: CellResult, figure: Estimate | None, *, alone: bool) -> None:
    if cell.status == "ok" and figure is not None:
        bar(axes, row, figure, CPU.show(figure.estimate), view.meta.subject(cell.subject))
        if alone:
            write(axes, row, interval(figure, CPU), _INTERVAL)
        return
    reason = short_reason(cell) if alone else reason_in_brief(cell)
    reason = "not measured" if cell.status == "ok" else reason
    farthest = math.inf if alone else axes.get_xlim()[1] * _FARTHEST
    apart(axes, row, figure.estimate if figure else 0.0, reason, farthest)
