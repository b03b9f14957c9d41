"""Makes everything that is derived from a run's raw data: `summary.json`, the charts and `report.html`."""

from __future__ import annotations

import gc
import json
import os
from typing import TYPE_CHECKING, Any

from analysis.charts.latency import latency_chart
from analysis.charts.leading import leading_chart
from analysis.charts.response import response_chart
from analysis.charts.waiting import waiting_chart
from analysis.load import load_run
from analysis.page import Picture, render
from analysis.summary import as_json, summarize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from analysis.charts.frame import Chart
    from analysis.meta import RunMeta
    from analysis.results import LevelResult


def build_report(folder: Path) -> dict[str, Any]:
    """Makes the derived files of the run in `folder` and returns the content of `summary.json`.

    The run may still be going on. Each file is replaced whole, so a reader never meets half of one.

    Raises:
        GatebenchError: the raw data are missing or damaged.
    """
    run = load_run(folder)
    summary = summarize(run)
    content = as_json(summary)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    _replace(folder / "summary.json", f"{text}\n".encode())
    pictures = {
        (level.workload, level.level): [
            _save(folder / "charts", chart) for chart in level_charts(run.meta, level)
        ]
        for level in summary.levels
    }
    _replace(folder / "report.html", render(run, summary, pictures).encode())
    return content


def level_charts(meta: RunMeta, level: LevelResult) -> Iterator[Chart]:
    """The charts of one level: the leading figure in the form that suits the load, then latency."""
    model = level.plan.model
    if level.plan.paced:
        yield response_chart(meta, level)
        return
    waits = model == "closed" and meta.workload(level.workload).waits
    yield waiting_chart(meta, level) if waits else leading_chart(meta, level)
    if model in {"closed", "locust"}:
        yield latency_chart(meta, level)


def _save(folder: Path, chart: Chart) -> Picture:
    svg = chart.svg()
    _replace(folder / f"{chart.stem}.svg", svg)
    _replace(folder / f"{chart.stem}.png", chart.png())
    # A drawn figure holds some 10 MiB in reference cycles, and a lab may be running beside this.
    gc.collect()
    return Picture(svg, chart.alt)


def _replace(file: Path, content: bytes) -> None:
    """Writes beside the file and renames over it, which is atomic on one file system."""
    file.parent.mkdir(exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
