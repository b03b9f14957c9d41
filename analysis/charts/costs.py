"""Charts of costs: CPU time and memory."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import pandas as pd

from analysis.charts.panels import reason_in_brief
from analysis.charts.rows import HATCHED, Part, apart, bar, hatch, parts, why_limited
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
from analysis.charts.view import conditions_of_all, every_slice
from analysis.figures.leads import CPU, memory_metrics
from analysis.figures.results import ordered
from analysis.figures.statistics import Estimate
from analysis.surroundings import memory_note
from analysis.words import interval, short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.figures.results import CellResult, LevelResult


_MOST_COLUMNS = 4
_GAP_IN, _INTERVAL_IN = 0.4, 1.6
_CPU_ROOM, _ROOM_A_COLUMN = 1.12, 0.08
"""The axis is that much longer than the longest bar, for the figure beside it."""
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
    figures = [cell.cpu for level in levels for cell in level.cells if cell.cpu]
    highest = max((each.high or each.estimate for each in figures), default=0.0)
    columns = list(zip(levels, cells, strict=True))
    pages = [(side, rows) for side in parts(columns, _MOST_COLUMNS) for rows in parts(subjects)]
    for number, (side, rows) in enumerate(pages, start=1):
        part = Part(rows.items, number, len(pages))
        limited = [
            own[subject]
            for _, own in side.items
            for subject in rows.items
            if own[subject].status_of(CPU.figure) == "limited"
        ]
        words = Words(
            part.title(f"Server CPU a request: {levels[0].workload}"),
            f"{CPU.unit}, {CPU.better} is better; line: 95 % interval{HATCHED if limited else ''}",
            f"{_CPU_NOTE}{why_limited(limited, CPU.figure)}\n{conditions_of_all(view)}",
        )
        alone = len(levels) == 1
        with mpl.rc_context(STYLE):
            figure, first = page(words, len(part.items), right_in=0.45 + (_INTERVAL_IN if alone else 0))
            row_labels(first, [view.meta.subject(subject) for subject in part.items])
            for axes, (level, own) in zip(_side_by_side(first, len(side.items)), side.items, strict=True):
                _scale(axes, highest * (_CPU_ROOM + _ROOM_A_COLUMN * len(side.items)))
                _heading(axes, level)
                for row, subject in enumerate(part.items):
                    _cpu_row(view, axes, row, own[subject], alone=alone)
        alt = f"CPU time a request of {len(subjects)} subjects; the tables hold the figures."
        yield Chart(part.stem(f"cpu-{levels[0].workload}"), words.title, alt, figure)


def _cpu_place(cells: Sequence[CellResult]) -> tuple[int, float]:
    """By the figure of the first level with a valid one."""
    for number, cell in enumerate(cells):
        if cell.cpu_us_per_request is not None:
            return number, cell.cpu_us_per_request
    return len(cells), 0.0


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


def _cpu_row(view: View, axes: Axes, row: int, cell: CellResult, *, alone: bool) -> None:
    status, figure = cell.status_of(CPU.figure), cell.cpu
    if figure is not None:
        drawn = bar if status == "ok" else hatch
        drawn(axes, row, figure, CPU.show(figure.estimate), view.meta.subject(cell.subject))
        if alone:
            write(axes, row, interval(figure, CPU), _INTERVAL)
        return
    reason = short_reason(cell, figure=CPU.figure) if alone else reason_in_brief(cell, CPU.figure)
    apart(axes, row, "not measured" if status == "ok" else reason)


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
        figure: the highest of its levels, `low` and `high` being those of the blocks; None without any.
    """

    cell: CellResult
    figure: Estimate | None


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
    words = Words(
        part.title("Server memory under load"),
        f"{metric.unit}, the highest of all workloads, {metric.better} is better; line: lowest to highest "
        "block",
        f"{memory_note(meta)} {_MEMORY_NOTE}\n{conditions_of_all(view)}",
    )
    with mpl.rc_context(STYLE):
        figure, axes = page(words, len(part.items), right_in=_RIGHT_IN)
        row_labels(axes, [meta.subject(row.cell.subject) for row in part.items])
        axes.set_xlim(0, (highest or 1.0) * _MEMORY_ROOM)
        if not highest:
            nothing_valid(axes)
        for number, row in enumerate(part.items):
            if row.figure is None:
                status = row.cell.status_of(metric.figure)
                reason = short_reason(row.cell, figure=metric.figure)
                apart(axes, number, "not measured" if status == "ok" else reason)
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
    """The highest figure of the cells.

    Args:
        cells: one subject's, one a level.
        memory: of each level, the highest in MiB by subject and block.
    """
    known = [number for number, cell in enumerate(cells) if cell.memory_mib is not None]
    if not known:
        return _Row(next((cell for cell in cells if cell.status != "unsupported"), cells[0]), None)
    highest = max(known, key=lambda number: cells[number].memory_mib or 0.0)
    subject = cells[highest].subject
    blocks = (
        pd.concat([memory[number].xs(subject, level="subject") for number in known]).groupby("block").max()
    )
    figure = Estimate(cells[highest].memory_mib or 0.0, float(blocks.min()), float(blocks.max()), len(blocks))
    return _Row(cells[highest], figure)


def _memory_place(row: _Row) -> tuple[bool, float, str]:
    return row.figure is None, row.figure.estimate if row.figure else 0.0, row.cell.subject
