"""Standings as tables for a terminal."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.leads import why_no_lead
from analysis.metrics import P50, P99
from analysis.standings import standings
from analysis.wording import interval, short_reason

if TYPE_CHECKING:
    from analysis.results import LevelResult


def standings_table(level: LevelResult) -> Group:
    """One level: a table of the valid cells, and below it a line for each reason that others are not in it.

    A `=` marks the leader and everything that cannot be told apart from it; a line says what a dash means.
    Idle connections have no latencies, and a search has none of one rate.
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
        if cell.status != "ok":
            apart[short_reason(cell)].append(cell.subject)
            continue
        if cell.lead is None or any(cell.figure(each.name) is None for each in others):
            dashes.add("too few samples" if timed else why_no_lead(level.plan.model))
        table.add_row(
            row.places,
            "=" if row.leads and tied else "",
            cell.subject,
            cell.interface.upper(),
            metric.show(cell.lead.estimate if cell.lead else None),
            interval(cell.lead, metric),
            *(each.show(cell.figure(each.name)) for each in others),
        )
    notes = [Text(f"  —: {'; '.join(sorted(dashes))}", style="dim")] if dashes else []
    lines = [Text(f"  {reason}: {', '.join(subjects)}", style="dim") for reason, subjects in apart.items()]
    return Group(title, table, *notes, *lines, Text())
