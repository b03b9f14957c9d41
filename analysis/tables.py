"""Standings as tables for a terminal."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.metrics import P50, P99, throughput
from analysis.standings import standings
from analysis.wording import interval, short_reason

if TYPE_CHECKING:
    from analysis.results import LevelResult


def standings_table(level: LevelResult, transport: str) -> Group:
    """One level: a table of the valid cells, and below it a line for each reason that others are not in it.

    A `=` marks the leader and everything that cannot be told apart from it.
    """
    metric = throughput(transport)
    table = Table(
        title=f"{level.workload}, {level.connections} connections: {metric.unit}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading in ("place", "", "subject", ""):
        table.add_column(heading, no_wrap=True)
    for heading in (metric.unit, "95 % interval", f"p50 {P50.unit}", f"p99 {P99.unit}"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = standings(level)
    tied = sum(row.leads for row in rows) > 1
    others: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        cell = row.cell
        if cell.status != "ok":
            others[short_reason(cell)].append(cell.subject)
            continue
        table.add_row(
            row.places,
            "=" if row.leads and tied else "",
            cell.subject,
            cell.interface.upper(),
            metric.show(cell.figure("rps")),
            interval(cell.rps),
            P50.show(cell.figure("p50")),
            P99.show(cell.figure("p99")),
        )
    lines = [Text(f"  {reason}: {', '.join(subjects)}", style="dim") for reason, subjects in others.items()]
    return Group(table, *lines, Text())
