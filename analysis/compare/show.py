"""A comparison of two runs, as tables, charts and JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.charts.rows import parts
from analysis.charts.style import (
    GREY,
    INK,
    MUTED,
    PAPER,
    PLAIN,
    QUIET,
    Chart,
    Column,
    Words,
    color,
    page,
    row_labels,
    write,
)
from analysis.compare.compare import Side, compare_runs
from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from gatebench.results.bundle import unpacked
from gatebench.words.errors import ConfigurationError, GatebenchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from rich.console import Console, RenderableType

    from analysis.charts.rows import Part
    from analysis.compare.result import (
        CellComparison,
        Change,
        Outcome,
        PairComparison,
        Ratio,
        RunComparison,
        Shift,
    )
    from analysis.figures.statistics import Comparison, Estimate
    from gatebench.results.schema import LevelPlan


DRIFT = (
    "The intervals hold for all cells together. What differs from block to block within each run is in them. "
    "The machine's drift from one run to the other is in the ratios and not in the intervals; in the order "
    "of subjects it cancels."
)


def older_in_words(result: RunComparison) -> str:
    """That runs of an earlier version are read with this one's statistics; empty where there is none."""
    if not result.older:
        return ""
    runs = " and ".join(result.older)
    return (
        f"{runs}: measured by an earlier version and read with this one's statistics, so what was printed "
        "then may differ."
    )


def ratio_in_words(ratio: Ratio | Comparison | None) -> str:
    """`0.93 (0.91 to 0.95)`; without an interval where there is none, a dash without a ratio."""
    if ratio is None or ratio.ratio is None:
        return "—"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.ratio:.2f}"
    return f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def shift_in_words(shift: Shift) -> str:
    """What to think of a level whose cells all moved the same way."""
    return (
        f"{shift.plan.workload}/{shift.plan.level}: all {shift.cells} cells moved the same way, to "
        f"{shift.ratio:.2f} on average ({shift.lowest:.2f} to {shift.highest:.2f}). That is rather the "
        "machine's doing, or a part's that they share, than each server's own."
    )


def pair_in_words(pair: PairComparison) -> str:
    """One comparison in both runs: the ratios of left over right."""
    return (
        f"{pair.plan.workload}/{pair.plan.level}: {pair.a.left} over {pair.a.right}: "
        f"{ratio_in_words(pair.a)} in A, {ratio_in_words(pair.b)} in B"
    )


def conclusion(result: RunComparison) -> str:
    """How many cells and pairs came out how, in one line."""
    cells = [
        _count(len(result.with_verdict("regression")), "regression"),
        _count(len(result.with_verdict("improvement")), "improvement"),
        f"{len(result.with_verdict('no difference shown'))} without a difference shown",
        f"{len(result.with_verdict('not comparable'))} not comparable",
    ]
    pairs = [
        f"{len(result.with_outcome('held'))} differences held",
        f"{len(result.with_outcome('flipped'))} flipped",
        f"{len(result.with_outcome('cannot be told'))} cannot be told",
    ]
    return f"Cells: {', '.join(cells)}. Order of subjects: {', '.join(pairs)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_COLUMNS: dict[Outcome, str] = {
    "held": "held: better in both than",
    "flipped": "flipped: better in A, worse in B than",
    "cannot be told": "cannot be told from",
}


def order_tables(result: RunComparison) -> Group:
    """For each level every pair of subjects once: which held, which flipped, which cannot be told.

    A pair stands beside the subject with the better figure in A.
    """
    parts: list[RenderableType] = []
    for plan, pairs in groupby(result.pairs, key=lambda pair: pair.plan):
        title = Text(f"{plan.workload}, {plan.load}: each two subjects", style="italic")
        parts += [title, _order_of_level(list(pairs)), Text()]
    return Group(*parts)


def _order_of_level(pairs: Sequence[PairComparison]) -> Table:
    others: dict[str, dict[Outcome, list[str]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        better, worse = in_a(pair)
        others[better][pair.outcome].append(worse)
    shown = [outcome for outcome in _COLUMNS if any(each[outcome] for each in others.values())]
    table = Table(box=None, pad_edge=False)
    table.add_column("subject", no_wrap=True)
    for outcome in shown:
        table.add_column(_COLUMNS[outcome], overflow="fold")
    # Who is better than more of the others comes first.
    for subject in sorted(others, key=lambda name: -sum(map(len, others[name].values()))):
        found = others[subject]
        table.add_row(Text(subject), *(Text(", ".join(found[outcome]) or "–") for outcome in shown))
    return table


def in_a(pair: PairComparison) -> tuple[str, str]:
    """The subject with the better figure in A, and the other."""
    left_is_higher = (pair.a.ratio or 1.0) > 1
    if left_is_higher == (pair.metric.better == "higher"):
        return pair.a.left, pair.a.right
    return pair.a.right, pair.a.left


SCHEMA = 1
_DIGITS = 6
"""Significant digits in the file: more than any figure has, few enough to read."""


def as_json(result: RunComparison) -> dict[str, Any]:
    """Ratios are B over A in `cells`, left over right within a run in `pairs`, and null without one."""
    return {
        "schema": SCHEMA,
        "a": result.a,
        "b": result.b,
        "older": list(result.older),
        "changes": [{"what": change.what, "a": change.a, "b": change.b} for change in result.changes],
        "cells": [_cell(cell) for cell in result.cells],
        "shifts": [
            {
                "workload": shift.plan.workload,
                "level": shift.plan.level,
                "cells": shift.cells,
                "ratio": _rounded(shift.ratio),
                "lowest": _rounded(shift.lowest),
                "highest": _rounded(shift.highest),
            }
            for shift in result.shifts
        ],
        "pairs": [_pair(pair) for pair in result.pairs],
    }


def _cell(cell: CellComparison) -> dict[str, Any]:
    ratio = cell.ratio
    return {
        "subject": cell.subject.id,
        "workload": cell.plan.workload,
        "level": cell.plan.level,
        "metric": cell.metric.name,
        "better": cell.metric.better,
        "a": _estimate(cell.a),
        "b": _estimate(cell.b),
        "ratio": _rounded(ratio.ratio if ratio else None),
        "low": _rounded(ratio.low if ratio else None),
        "high": _rounded(ratio.high if ratio else None),
        "p": _rounded(ratio.p if ratio else None),
        "noise": _rounded(cell.noise),
        "verdict": cell.verdict,
        "reasons": list(cell.reasons),
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "estimate": _rounded(estimate.estimate),
        "low": _rounded(estimate.low),
        "high": _rounded(estimate.high),
        "blocks": estimate.blocks,
    }


def _pair(pair: PairComparison) -> dict[str, Any]:
    return {
        "workload": pair.plan.workload,
        "level": pair.plan.level,
        "metric": pair.metric.name,
        "left": pair.a.left,
        "right": pair.a.right,
        "a": _comparison(pair.a),
        "b": _comparison(pair.b),
        "outcome": pair.outcome,
    }


def _comparison(pair: Comparison) -> dict[str, Any]:
    return {
        "ratio": _rounded(pair.ratio),
        "low": _rounded(pair.low),
        "high": _rounded(pair.high),
        "p": _rounded(pair.p),
        "verdict": pair.verdict,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


_ROOM_IN = 4.6
"""Right of the axes, for ratio and verdict."""
_RATIO = Column(1, 14, "left", PLAIN)
_VERDICT = Column(1, 190, "left", QUIET)
_MARGIN = 0.02


def ratio_charts(result: RunComparison) -> Iterator[Chart]:
    """A chart for every level in which a cell has a ratio, the subjects in the order of the run A."""
    levels: dict[LevelPlan, list[tuple[CellComparison, Ratio]]] = {}
    for cell in result.cells:
        if cell.ratio is not None:
            levels.setdefault(cell.plan, []).append((cell, cell.ratio))
    for plan, cells in levels.items():
        reach = _reach(cells)
        for part in parts(cells):
            yield _page(result, plan, part, reach)


def _page(
    result: RunComparison,
    plan: LevelPlan,
    part: Part[tuple[CellComparison, Ratio]],
    reach: tuple[float, float],
) -> Chart:
    first = part.items[0][0]
    metric, noise = first.metric, first.noise
    words = Words(
        part.title(f"B over A: {metric.label}, {plan.workload}, {plan.load}"),
        f"1 is no change, {metric.better} is better; line: interval; grey band: within {noise - 1:.1%}",
        f"{DRIFT}\nA: run {result.a}. B: run {result.b}.{_why([cell for cell, _ in part.items])}",
    )
    figure, axes = page(words, len(part.items), right_in=_ROOM_IN)
    row_labels(axes, [cell.subject for cell, _ in part.items])
    axes.set_xlim(reach)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.2f}")
    axes.axvspan(1 / noise, noise, color=GREY, alpha=0.35, linewidth=0)
    axes.axvline(1, color=INK, linewidth=1)
    for row, (cell, ratio) in enumerate(part.items):
        _row(axes, row, cell, ratio)
    alt = "; ".join(
        f"{cell.subject.id} {ratio_in_words(ratio)}, {cell.verdict}" for cell, ratio in part.items
    )
    stem = part.stem(f"compare-{plan.workload}-{plan.level}")
    return Chart(stem, words.title, f"{words.title}: {alt}.", figure)


def _row(axes: Axes, row: int, cell: CellComparison, ratio: Ratio) -> None:
    """A line with a marker; in grey and open where there is no verdict."""
    ink = MUTED if cell.reasons else color(cell.subject)
    low, high = _ends(ratio)
    axes.plot([low, high], [row, row], color=ink, linewidth=3, solid_capstyle="butt")
    filling = PAPER if cell.reasons else ink
    axes.plot(ratio.ratio, row, marker="D", color=ink, markerfacecolor=filling, markersize=9)
    write(axes, row, ratio_in_words(ratio), _RATIO)
    write(axes, row, cell.verdict, _VERDICT)


def _reach(cells: Sequence[tuple[CellComparison, Ratio]]) -> tuple[float, float]:
    """Ends of the axis that all pages of a level share."""
    noise = cells[0][0].noise
    ends = [1 / noise, noise, *(end for _, ratio in cells for end in _ends(ratio))]
    return min(ends) - _MARGIN, max(ends) + _MARGIN


def _ends(ratio: Ratio) -> tuple[float, float]:
    """The interval, or the ratio itself where it has none."""
    if ratio.low is None or ratio.high is None:
        return ratio.ratio, ratio.ratio
    return ratio.low, ratio.high


def _why(cells: Sequence[CellComparison]) -> str:
    """Why cells have no verdict; nothing where all have one."""
    reasons = dict.fromkeys(reason for cell in cells for reason in cell.reasons)
    return f"\nWithout a verdict (grey): {'; '.join(reasons)}." if reasons else ""


_STYLES = {"regression": "bold red", "improvement": "green"}


def comparison_tables(result: RunComparison) -> Group:
    """What two runs say of each other: conditions, cells level by level, order of subjects, conclusion."""
    parts: list[RenderableType] = [
        Text(f"A: {result.a}\nB: {result.b}\n"),
        _changes(result.changes),
        *(_level(plan, cells) for plan, cells in _by_level(result.cells).items()),
        *_lines(shift_in_words(shift) for shift in result.shifts if shift.alike),
        *_order(result),
    ]
    notes = filter(None, (DRIFT, older_in_words(result)))
    return Group(*parts, *_lines(notes, "dim"), Text(conclusion(result), style="bold"))


def _changes(changes: Sequence[Change]) -> Group:
    if not changes:
        return Group(Text("Conditions: nothing that is recorded differs."), Text())
    table = Table(box=None, pad_edge=False)
    for heading in ("condition", "A", "B"):
        table.add_column(heading, overflow="fold")
    for change in changes:
        table.add_row(Text(change.what), Text(change.a or "—"), Text(change.b or "—"))
    return Group(Text("What changed in the conditions", style="italic"), table, Text())


def _by_level(cells: Iterable[CellComparison]) -> Mapping[LevelPlan, list[CellComparison]]:
    levels: dict[LevelPlan, list[CellComparison]] = defaultdict(list)
    for cell in cells:
        levels[cell.plan].append(cell)
    return levels


def _level(plan: LevelPlan, cells: Sequence[CellComparison]) -> Group:
    """A table of the cells that have a ratio, and below it why cells have no verdict."""
    metric = cells[0].metric
    title = f"{plan.workload}, {plan.load}: {metric.heading}, {metric.better} is better"
    table = Table(box=None, pad_edge=False)
    table.add_column("subject", no_wrap=True)
    for heading in ("A", "B", "B over A"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    reasons: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        for reason in cell.reasons:
            reasons[reason].append(cell.subject.id)
        if cell.ratio is None:
            continue
        table.add_row(
            Text(cell.subject.id),
            metric.show(cell.a.estimate if cell.a else None),
            metric.show(cell.b.estimate if cell.b else None),
            ratio_in_words(cell.ratio),
            Text(cell.verdict, style=_STYLES.get(cell.verdict, "")),
        )
    why = [
        f"  not comparable, {reason}: {'all' if len(subjects) == len(cells) else ', '.join(subjects)}"
        for reason, subjects in reasons.items()
    ]
    return Group(Text(title, style="italic"), *([table] if table.rows else []), *_lines(why, "dim"))


def _order(result: RunComparison) -> list[Text]:
    """The differences that flipped; of those that only one run shows, how many there are."""
    if not result.pairs:
        return [Text("Order of subjects: no two subjects were compared in both runs."), Text()]
    flipped = result.with_outcome("flipped")
    told = result.with_outcome("cannot be told")
    lines = [Text("Order of subjects, each pair within its run", style="italic")]
    lines += [Text(f"  held: {len(result.with_outcome('held'))} differences that both runs show")]
    lines += [Text(f"  flipped: {len(flipped)}")]
    lines += [Text(f"    {pair_in_words(pair)}", style="bold") for pair in flipped]
    only = {run: [pair for pair in told if _shown_by(pair) == run] for run in ("A", "B")}
    neither = len(told) - sum(map(len, only.values()))
    lines += [
        Text(
            f"  cannot be told: {len(told)} ({len(only['A'])} that A alone shows, {len(only['B'])} that B "
            f"alone shows, {neither} that neither does)"
        )
    ]
    return [*lines, Text()]


def _shown_by(pair: PairComparison) -> str:
    """Which of the runs shows a difference, of a pair that not both do."""
    shows = [run for run, seen in (("A", pair.a), ("B", pair.b)) if seen.verdict in {"higher", "lower"}]
    return shows[0] if shows else ""


def _lines(texts: Iterable[str], style: str = "") -> list[Text]:
    lines = [Text(text, style=style) for text in texts]
    return [*lines, Text()]


EXIT_DONE, EXIT_REGRESSION, EXIT_NO_VERDICT = 0, 1, 2


def compare_command(
    a: Path, b: Path, console: Console, json_file: Path | None = None, charts: Path | None = None
) -> int:
    """Prints the comparison and returns 1 where a regression beyond the noise was found, else 0.

    Where no cell has a verdict, as across machines, it returns 2: a script has nothing to go by.

    Args:
        a: folder or bundle of the run that the other is held against.
        b: folder or bundle of the other run.
        console: to print on.
        json_file: file to write the comparison to, replaced where it exists.
        charts: folder for a chart of each level, made where it is missing.

    Raises:
        ConfigurationError: a folder holds no sound run, the runs have no cell in common, nothing of them can
            be compared, or a file cannot be written. A script must not take any of these for a regression,
            hence not the error that ends with 1.
    """
    with ExitStack() as unpacked_until:
        result = compare_runs(_side(a, unpacked_until), _side(b, unpacked_until))
    console.print(comparison_tables(result))
    try:
        if json_file is not None:
            text = json.dumps(as_json(result), indent=1, ensure_ascii=False, allow_nan=False)
            json_file.write_text(f"{text}\n", encoding="utf-8")
        if charts is not None:
            charts.mkdir(parents=True, exist_ok=True)
            for chart in ratio_charts(result):
                for name, content in chart.files().items():
                    (charts / name).write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if not result.says_something:
        raise ConfigurationError("nothing of these two runs can be compared; the reasons are listed above")
    if all(cell.verdict == "not comparable" for cell in result.cells):
        console.print("No cell has a verdict, so nothing is known of regressions; see the reasons above.")
        return EXIT_NO_VERDICT
    return EXIT_REGRESSION if result.with_verdict("regression") else EXIT_DONE


def _side(source: Path, unpacked_until: ExitStack) -> Side:
    try:
        run = load_run(unpacked_until.enter_context(unpacked(source)))
        return Side(run, summarize(run))
    except ConfigurationError:
        raise
    except GatebenchError as error:
        raise ConfigurationError(str(error)) from error
