"""Makes the report of a run: page, charts and summary."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from analysis.charts.registry import draw_all
from analysis.page.page import render
from analysis.page.pictures import Picture
from analysis.page.summary import replace_file, write_summary

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path


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
    derived = write_summary(folder, claims_files)
    run, summary = derived.run, derived.summary
    of_level: dict[tuple[str, str], list[Picture]] = {
        (level.workload, level.level): [] for level in summary.levels
    }
    of_workload: dict[str, list[Picture]] = defaultdict(list)
    of_run: list[Picture] = []
    drawn = draw_all(run, summary, partial(replace_file, folder / CHARTS), interim=interim, every=every_chart)
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
    replace_file(
        folder,
        "report.html",
        render(run, summary, of_level, of_workload, of_run, derived.claims, drawn.left_out).encode(
            errors="replace"
        ),
    )
    return derived.content


def _remove_others(charts: Path, drawn: Collection[str]) -> None:
    """Removes charts that an earlier report, or an earlier version, drew and this one did not."""
    for path in (*charts.glob("*.svg"), *charts.glob("*.png")):
        if path.name not in drawn:
            path.unlink(missing_ok=True)
