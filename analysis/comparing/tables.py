"""A comparison of two runs as tables for a terminal."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.comparing.wording import DRIFT, conclusion, pair_in_words, ratio_in_words, shift_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from analysis.comparing.result import CellComparison, Change, PairComparison, RunComparison
    from analysis.meta import LevelPlan

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
    return Group(*parts, Text(DRIFT, style="dim"), Text(), Text(conclusion(result), style="bold"))


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
