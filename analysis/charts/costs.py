"""Charts of costs: CPU time and memory."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd

from analysis.charts.panels import reason_in_brief
from analysis.charts.rows import HATCHED, Part, apart, bar, parts
from analysis.charts.style import (
    QUIET,
    STYLE,
    WIDTH_IN,
    Chart,
    Column,
    Words,
    bare,
    nothing_valid,
    page,
    row_labels,
    write,
)
from analysis.charts.view import conditions_of_all, counted_slices, every_slice
from analysis.figures.leads import CPU, memory_metrics
from analysis.figures.results import ordered
from analysis.figures.statistics import Estimate, rate
from analysis.words import interval, memory_note, short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.figures.results import CellResult, LevelResult
    from analysis.reading.run import Run


_MOST_COLUMNS = 4
_GAP_IN, _INTERVAL_IN = 0.4, 1.6
_CPU_ROOM, _ROOM_A_COLUMN = 1.12, 0.08
"""The axis is that much longer than the longest bar, for the figure beside it."""
_FARTHEST = 0.4
"""Where a reason begins at the latest, as a share of the axis, lest it reach into the next column."""
_LETTERS_AN_INCH = 11
_INTERVAL = Column(1, 110, "right", QUIET)
_CPU_NOTE = (
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
        (cell.subject for cell in ordered(levels[0])),
        key=lambda name: _cpu_place([each[name] for each in cells]),
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
            f"{_CPU_NOTE}\n{conditions_of_all(view)}",
        )
        alone = len(levels) == 1
        with mpl.rc_context(STYLE):
            figure, first = page(words, len(part.items), right_in=0.45 + (_INTERVAL_IN if alone else 0))
            row_labels(first, [view.meta.subject(subject) for subject in part.items])
            for axes, (level, own, of) in zip(_side_by_side(first, len(side.items)), side.items, strict=True):
                _scale(axes, highest * (_CPU_ROOM + _ROOM_A_COLUMN * len(side.items)))
                _heading(axes, level)
                for row, subject in enumerate(part.items):
                    _cpu_row(view, axes, row, own[subject], of.get(subject), alone=alone)
        alt = f"CPU time a request of {len(subjects)} subjects; the tables hold the figures."
        yield Chart(part.stem(f"cpu-{levels[0].workload}"), words.title, alt, figure)


def _cpu_place(cells: Sequence[CellResult]) -> tuple[int, float]:
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


def _cpu_row(
    view: View, axes: Axes, row: int, cell: CellResult, figure: Estimate | None, *, alone: bool
) -> None:
    if cell.status == "ok" and figure is not None:
        bar(axes, row, figure, CPU.show(figure.estimate), view.meta.subject(cell.subject))
        if alone:
            write(axes, row, interval(figure, CPU), _INTERVAL)
        return
    reason = short_reason(cell) if alone else reason_in_brief(cell)
    reason = "not measured" if cell.status == "ok" else reason
    farthest = math.inf if alone else axes.get_xlim()[1] * _FARTHEST
    apart(axes, row, figure.estimate if figure else 0.0, reason, farthest)


_COLUMN = "server_memory_mib"
_RIGHT_IN = 4.4
_MEMORY_ROOM = 1.24
_RANGE, _WHERE = Column(1, 120, "right", QUIET), Column(1, 140, "left", QUIET)
_LETTERS = 26
_MEMORY_NOTE = (
    "Every server is started afresh in each block and goes through all the workloads that it supports, so "
    "one that supports more had more to do. Idle connections have a chart of their own."
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One subject.

    Attributes:
        cell: the one whose figure is shown, or the first that says why there is none.
        figure: the highest of its valid levels, `low` and `high` being those of the blocks; of the others
            where none is valid; None where nothing was measured.
    """

    cell: CellResult
    figure: Estimate | None
    valid: bool


def loaded_levels(view: View) -> list[LevelResult]:
    """The levels that load a server; one that only holds connections says what these take."""
    return [level for level in view.levels if level.plan.model != "idle"]


def memory_charts(view: View) -> Iterator[Chart]:
    """The highest memory of every subject, the lowest first."""
    levels = loaded_levels(view)
    memory = [
        every_slice(view.run, level.plan).groupby(["subject", "block"])[_COLUMN].max().dropna()
        for level in levels
    ]
    every = zip(*(level.cells for level in levels), strict=True)
    rows = sorted((_memory_row(cells, memory) for cells in every), key=_memory_place)
    for part in parts(rows):
        yield _page(view, part, rows)


def _page(view: View, part: Part[_Row], rows: Sequence[_Row]) -> Chart:
    meta = view.meta
    highest = max((row.figure.high or 0.0 for row in rows if row.figure), default=0.0)
    metric = memory_metrics(meta)[0]
    hatched = "; hatched: none valid" if any(row.figure and not row.valid for row in part.items) else ""
    words = Words(
        part.title("Server memory under load"),
        f"{metric.unit}, the highest of all workloads, {metric.better} is better; line: lowest to highest "
        f"block{hatched}",
        f"{memory_note(meta)} {_MEMORY_NOTE}\n{conditions_of_all(view)}",
    )
    with mpl.rc_context(STYLE):
        figure, axes = page(words, len(part.items), right_in=_RIGHT_IN)
        row_labels(axes, [meta.subject(row.cell.subject) for row in part.items])
        axes.set_xlim(0, (highest or 1.0) * _MEMORY_ROOM)
        if not highest:
            nothing_valid(axes)
        for number, row in enumerate(part.items):
            if row.figure is None or not row.valid:
                reason = "not measured" if row.cell.status == "ok" else short_reason(row.cell)
                apart(axes, number, row.figure.estimate if row.figure else 0.0, reason)
                continue
            bar(axes, number, row.figure, metric.show(row.figure.estimate), meta.subject(row.cell.subject))
            low, high = metric.show(row.figure.low), metric.show(row.figure.high)
            write(axes, number, f"{low} to {high}", _RANGE)
            where = f"{row.cell.workload} {row.cell.level}"
            write(axes, number, where if len(where) <= _LETTERS else f"{where[: _LETTERS - 1]}…", _WHERE)
        write(axes, -0.85, "blocks", Column(1, 120, "right", QUIET))
        write(axes, -0.85, "highest under", Column(1, 140, "left", QUIET))
    alt = f"The highest memory of {len(rows)} servers and variants; the tables hold that of each level."
    return Chart(part.stem("memory"), words.title, alt, figure)


def _memory_row(cells: Sequence[CellResult], memory: Sequence[pd.Series[float]]) -> _Row:
    """The highest figure of the valid cells, else of the others.

    Args:
        cells: one subject's, one a level.
        memory: of each level, the highest in MiB by subject and block.
    """
    known = [number for number, cell in enumerate(cells) if cell.memory_mib is not None]
    valid = [number for number in known if cells[number].status == "ok"]
    shown = valid or known
    if not shown:
        return _Row(
            next((cell for cell in cells if cell.status != "unsupported"), cells[0]), None, valid=False
        )
    highest = max(shown, key=lambda number: cells[number].memory_mib or 0.0)
    subject = cells[highest].subject
    blocks = (
        pd.concat([memory[number].xs(subject, level="subject") for number in shown]).groupby("block").max()
    )
    figure = Estimate(cells[highest].memory_mib or 0.0, float(blocks.min()), float(blocks.max()), len(blocks))
    return _Row(cells[highest], figure, valid=bool(valid))


def _memory_place(row: _Row) -> tuple[bool, bool, float, str]:
    figure = row.figure.estimate if row.figure else 0.0
    return not row.valid, row.figure is None, figure, row.cell.subject
