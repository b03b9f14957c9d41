"""Standings as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from analysis.metrics import P50, P99, throughput
from analysis.standings import standings
from analysis.wording import interval, short_reason

if TYPE_CHECKING:
    from analysis.results import LevelResult


def standings_table(level: LevelResult, transport: str) -> Table:
    """One level as a table: places, throughput with its interval, latency, and why a cell is not valid.

    A `=` marks the leader and everything that cannot be told apart from it.
    """
    metric = throughput(transport)
    table = Table(title=f"{level.workload}, {level.connections} connections")
    for heading in ("place", "", "subject", "interface"):
        table.add_column(heading)
    for heading in (metric.heading, "95 % interval", P50.heading, P99.heading):
        table.add_column(heading, justify="right")
    table.add_column("status")
    rows = standings(level)
    tied = sum(row.leads for row in rows) > 1
    for row in rows:
        cell = row.cell
        valid = cell.status == "ok"
        table.add_row(
            row.places,
            "=" if row.leads and tied else "",
            Text(cell.subject, style="" if valid else "dim"),
            cell.interface.upper(),
            metric.show(cell.figure("rps")) if valid else "",
            interval(cell.rps) if valid else "",
            P50.show(cell.figure("p50")) if valid else "",
            P99.show(cell.figure("p99")) if valid else "",
            "ok" if valid else Text(short_reason(cell), style="yellow"),
        )
    return table
