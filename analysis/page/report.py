"""Makes the report of a run: page, charts, summary, and its tables for the terminal."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.charts.registry import draw_all
from analysis.claims.check import check
from analysis.claims.file import Known, load_claims
from analysis.figures.leads import P50, P99, why_no_lead
from analysis.figures.results import standings
from analysis.figures.summary import as_json, summarize
from analysis.load.run import load_run
from analysis.page.page import render
from analysis.page.pictures import Picture
from analysis.words import interval, short_reason
from gatebench.registry.registry import open_registry
from gatebench.results.bundle import FOLDER as SOURCES
from gatebench.results.bundle import claims_of
from gatebench.results.details import TEXT_CHARACTERS
from gatebench.results.record import record_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from analysis.figures.results import CellResult, LevelResult


CHARTS = "charts"


def build_report(
    folder: Path, claims_files: Sequence[Path] = (), *, interim: bool = False, every_chart: bool = False
) -> dict[str, Any]:
    """Makes the derived files of the run in `folder` and returns the content of `summary.json`.

    The run may still be going on. Each file is replaced whole, so a reader never meets half of one.

    Args:
        folder: of the run.
        interim: only the charts that lead a level: a run that still goes on waits for them.
        every_chart: draw all of a large run too, which may take minutes.
        claims_files: claims to check beside the project's own and those that the run was started with.

    Raises:
        GatebenchError: the raw data are missing or damaged, a claims file cannot be used, or the folder
            cannot be written to.
    """
    run = load_run(folder)
    summary = summarize(run)
    known = Known.of_run(run.meta) | Known.of_registry(open_registry()) if claims_files else None
    claims = check(load_claims(claims_files, known, claims_of(folder / SOURCES)), run.meta, summary)
    content = as_json(summary, claims)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    _replace(folder, "summary.json", f"{text}\n".encode(errors="replace"))
    of_level: dict[tuple[str, str], list[Picture]] = {
        (level.workload, level.level): [] for level in summary.levels
    }
    of_workload: dict[str, list[Picture]] = defaultdict(list)
    of_run: list[Picture] = []
    drawn = draw_all(run, summary, partial(_replace, folder / CHARTS), interim=interim, every=every_chart)
    if not interim:
        _remove_others(folder / CHARTS, {name for drawing in drawn.drawings for name in drawing.files})
    for drawing in drawn.drawings:
        picture = Picture(drawing.svg, drawing.alt, drawing.stem, drawing.title)
        if drawing.level:
            of_level[drawing.workload, drawing.level].append(picture)
        elif drawing.workload:
            of_workload[drawing.workload].append(picture)
        else:
            of_run.append(picture)
    _replace(
        folder,
        "report.html",
        render(run, summary, of_level, of_workload, of_run, claims, drawn.left_out).encode(errors="replace"),
    )
    return content


def _remove_others(charts: Path, drawn: Collection[str]) -> None:
    """Removes charts that an earlier report, or an earlier version, drew and this one did not."""
    for path in (*charts.glob("*.svg"), *charts.glob("*.png")):
        if path.name not in drawn:
            path.unlink(missing_ok=True)


def _replace(folder: Path, name: str, content: bytes) -> None:
    """Writes beside the file and renames over it, which is atomic on one file system."""
    unfinished = folder / f".{name}.{os.getpid()}.tmp"
    try:
        folder.mkdir(exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(folder / name)
    except OSError as error:
        raise record_error(folder, error) from error
    finally:
        with suppress(OSError):  # what is wrong with the folder was told already
            unfinished.unlink()


MOST_LINES = 5
"""Different failures that a terminal shows of one level, and different things that were not counted."""


def standings_table(level: LevelResult) -> Group:
    """One level: a table of the valid cells, and below it a line for each reason that others are not in it.

    A `=` marks the leader and everything that cannot be told apart from it; a line says what a dash means.
    Idle connections have no latencies, and a search has none of one rate. Below the reasons stand the first
    failures of those cells, and what a Locust file did that no figure counts.
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
            apart[short_reason(cell, TEXT_CHARACTERS)].append(cell.subject)
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
    cells = [row.cell for row in rows]
    ranking = [table] if table.row_count else [Text("  no valid figure")]
    return Group(title, *ranking, *notes, *lines, *_failures(cells), *_uncounted(cells), Text())


def _failures(cells: Sequence[CellResult]) -> Iterator[Text]:
    """The first failures of cells that are not valid, those that are alike together."""
    alike: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        if cell.status == "ok":
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
