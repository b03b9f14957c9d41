"""The tables of a run for the terminal, from the summary that its report wrote."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.figures.leads import P50, P99, why_no_lead
from analysis.figures.precision import in_words
from analysis.figures.results import standings
from analysis.figures.summary_file import levels_of
from analysis.reading.run import ending_of, parse_meta, read_events
from analysis.words import in_closing, interval, short_reason, without_figures
from gatebench.results.details import TEXT_CHARACTERS
from gatebench.words.errors import GatebenchError
from gatebench.words.precision import Found

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from analysis.figures.results import CellResult, LevelResult


def run_tables(folder: Path) -> Iterator[Group | Text]:
    """The standings of every level of a run, where its page is, and that it is not complete if so.

    Nothing is computed again: the figures are those of `summary.json`, with its digits.

    Raises:
        GatebenchError: the run has no report yet, or a file of it is damaged.
    """
    summary, described = folder / "summary.json", folder / "run.json"
    try:
        content = json.loads(summary.read_text(encoding="utf-8"))
        meta = parse_meta(described.read_text(encoding="utf-8"), described)
        levels = levels_of(content, meta)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GatebenchError(
            f"{summary}: cannot be read ({error!r}); `gatebench report {folder}` makes it again"
        ) from error
    yield from map(standings_table, levels)
    cells = [cell for level in levels for cell in level.cells]
    if said := without_figures(cells):
        yield Text(said)
    events = read_events(folder / "events.jsonl")
    ending = ending_of(events)
    if "precision" in content:
        looks = [event for event in events if event["kind"] == "look"]
        yield Text(in_words(Found.from_json(content["precision"]), ending, looks, meta.blocks))
    outcome = ending["outcome"] if ending else "still running, or cut off"
    if outcome != "complete":
        yield Text(f"the run is not complete ({outcome}): these figures rest on what was measured")
    yield Text(f"report: {folder / 'report.html'}")
    if said := in_closing(cells):
        yield Text(said)


MOST_LINES = 5
"""Different failures that a terminal shows of one level, and different things that were not counted."""


def standings_table(level: LevelResult) -> Group:
    """One level: a table of the cells with a figure, and a line for each reason that others are not in it.

    A limited figure stands where its value puts it, without a place. A `=` marks the leader and everything
    that cannot be told apart from it; a line says what a dash means. Idle connections have no latencies, and
    a search has none of one rate. Below the reasons stand the first failures of those cells, and what a
    Locust file did that no figure counts.
    """
    metric = level.metric
    timed = [] if level.plan.model in {"idle", "objective"} else [P50, P99]
    others = [each for each in timed if each.name != metric.name]
    title = Text(f"{level.title}: {metric.heading}, {metric.better} is better", style="italic")
    table = Table(box=None, pad_edge=False)
    for heading in ("place", "", "subject", ""):
        table.add_column(heading, no_wrap=True)
    lead = f"{metric.name} {metric.unit}" if metric.name in {each.name for each in timed} else metric.unit
    for heading in (lead, "95 % interval", *(f"{each.name} {each.unit}" for each in others)):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = standings(level)
    tied = sum(row.leads for row in rows) > 1
    apart: dict[str, list[str]] = defaultdict(list)
    dashes: set[str] = set()
    for row in rows:
        cell = row.cell
        if cell.lead_status != "ok":
            apart[short_reason(cell, TEXT_CHARACTERS)].append(cell.subject)
        if not cell.shown:
            continue
        withheld = cell.status_of(P99.figure) == "withheld" and others
        if withheld:
            apart[f"—: {short_reason(cell, TEXT_CHARACTERS, P99.figure)}"].append(cell.subject)
        elif cell.lead is None or any(cell.figure(each.name) is None for each in others):
            dashes.add("too few samples" if timed else why_no_lead(level.plan.model))
        if cell.valid and others and cell.status_of(P99.figure) == "limited":
            apart[f"response times {short_reason(cell, TEXT_CHARACTERS, P99.figure)}"].append(cell.subject)
        table.add_row(
            row.places or ("" if cell.valid else "–"),
            "=" if row.leads and tied else "",
            cell.subject,
            cell.interface.upper(),
            metric.show(cell.lead.estimate if cell.lead else None),
            interval(cell.lead, metric),
            *(each.show(cell.figure(each.name)) for each in others),
        )
    notes = [Text(f"  —: {'; '.join(sorted(dashes))}", style="dim")] if dashes else []
    lines = [Text(f"  {reason}: {', '.join(subjects)}", style="dim") for reason, subjects in apart.items()]
    cells = [row.cell for row in rows]
    ranking = [table] if table.row_count else [Text("  no figure")]
    return Group(title, *ranking, *notes, *lines, *_failures(cells), *_uncounted(cells), Text())


def _failures(cells: Sequence[CellResult]) -> Iterator[Text]:
    """The first failures of cells that are not valid, those that are alike together."""
    alike: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        if cell.valid:
            continue
        for kind, texts in cell.details.examples.items():
            for text in texts:
                alike[f"{kind}: {text}"].append(cell.subject)
    yield from _lines(alike, "more failures")


def _uncounted(cells: Sequence[CellResult]) -> Iterator[Text]:
    """What a Locust file did that no figure counts; that is no failure, and also true of a valid cell."""
    alike: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        for what, count in cell.details.uncounted.items():
            alike[f"not counted: {what}"].append(f"{cell.subject} ({count:,} times)")
    yield from _lines(alike, "more that was not counted")


def _lines(alike: dict[str, list[str]], rest: str) -> Iterator[Text]:
    for what, whose in [*alike.items()][:MOST_LINES]:
        yield Text(f"    {what} [{', '.join(whose)}]", style="dim")
    if len(alike) > MOST_LINES:
        yield Text(f"    {len(alike) - MOST_LINES} {rest}; the report has them", style="dim")
