"""Memory of each server over a whole run: the most that any valid level showed, and its spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import pandas as pd

from analysis.charts.bars import apart, bar
from analysis.charts.captions import conditions_of_all
from analysis.charts.counting import counted_slices
from analysis.charts.frame import QUIET, STYLE, Column, Words, nothing_valid, page, row_labels, write
from analysis.charts.output import Chart
from analysis.charts.pages import Part, parts
from analysis.conditions import memory_note
from analysis.metrics import memory_metrics
from analysis.statistics import Estimate
from analysis.wording import short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analysis.charts.view import View
    from analysis.results import CellResult, LevelResult

_COLUMN = "server_memory_mib"
_RIGHT_IN = 4.4
_ROOM = 1.24
_RANGE, _WHERE = Column(1, 120, "right", QUIET), Column(1, 140, "left", QUIET)
_LETTERS = 26
_NOTE = (
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
        counted_slices(view.run, level.plan).groupby(["subject", "block"])[_COLUMN].max() for level in levels
    ]
    every = zip(*(level.cells for level in levels), strict=True)
    rows = sorted((_row(cells, memory) for cells in every), key=_place)
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
        f"{memory_note(meta)} {_NOTE}\n{conditions_of_all(view)}",
    )
    with mpl.rc_context(STYLE):
        figure, axes = page(words, len(part.items), right_in=_RIGHT_IN)
        row_labels(axes, [meta.subject(row.cell.subject) for row in part.items])
        axes.set_xlim(0, (highest or 1.0) * _ROOM)
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


def _row(cells: Sequence[CellResult], memory: Sequence[pd.Series[float]]) -> _Row:
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


def _place(row: _Row) -> tuple[bool, bool, float, str]:
    figure = row.figure.estimate if row.figure else 0.0
    return not row.valid, row.figure is None, figure, row.cell.subject
