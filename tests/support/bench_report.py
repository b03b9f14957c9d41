"""`make bench-report`: how long the report of a large run takes, against what it may take.

The run is synthetic: 40 subjects (20 servers before two applications) under 25 workloads are 1,000 cells, and
10 blocks of 20 rounds are 200,000 slices. It prints each figure with its share of the limit, of this machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.table import Table

from tests.support.charts import KEEP_ALIVE, crowd
from tests.support.pages import CHROMIUM
from tests.support.synthetic import make_run
from tests.support.synthetic_model import Plan

SUBJECTS, WORKLOADS, PLAN = 40, 25, Plan(blocks=10, rounds=20, slice_noise=0.02, block_noise=0.005)
MOST_S, MOST_MIB, MOST_PAGE_MIB, MOST_INTERACTIVE_S = 20.0, 1024.0, 5.0, 2.0
_SAMPLE_S = 0.25
_MIB = 2**20


def main() -> None:
    """Makes the run and its report, opens the page, and prints what each took."""
    with tempfile.TemporaryDirectory(prefix="gatebench-bench-") as scratch:
        folder = large_run(Path(scratch) / "run")
        report_s, memory_mib = made(folder)
        page = folder / "report.html"
        rows = [
            ("report", report_s, MOST_S, "s"),
            ("memory of its processes at once, PSS", memory_mib, MOST_MIB, "MiB"),
            ("page", page.stat().st_size / _MIB, MOST_PAGE_MIB, "MiB"),
            ("page until a table was sorted", sorted_after_s(page), MOST_INTERACTIVE_S, "s"),
        ]
    table = Table(title=f"{SUBJECTS * WORKLOADS:,} cells, {slices():,} slices", title_justify="left")
    for heading in ("", "measured", "limit", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, measured, limit, unit in rows:
        table.add_row(name, f"{measured:,.1f} {unit}", f"{limit:,.0f} {unit}", f"{measured / limit:.2f}")
    Console().print(table)


def slices() -> int:
    """How many slices the run has."""
    return SUBJECTS * WORKLOADS * PLAN.blocks * PLAN.rounds


def large_run(folder: Path) -> Path:
    """A run of the size that the limits are for."""
    loads = [replace(KEEP_ALIVE, name=f"load-{number:02}") for number in range(WORKLOADS)]
    rate = KEEP_ALIVE.name
    subjects = [
        replace(truth, rates={load.name: truth.rates[rate] for load in loads}) for truth in crowd(SUBJECTS)
    ]
    make_run(folder, PLAN, subjects, loads)
    for table in ("slices.parquet", "histograms.parquet"):
        for part in list((folder / table).iterdir()):
            _divide(part)
    return folder


def _divide(part: Path) -> None:
    """Makes of a block's part one for each workload: a run writes what it measured every few seconds."""
    rows = pd.read_parquet(part)
    for number, (_, own) in enumerate(rows.groupby("workload", observed=True)):
        own.to_parquet(part.with_stem(f"{part.stem}-{number:02}"))
    part.unlink()


def made(folder: Path) -> tuple[float, float]:
    """Seconds that `gatebench report` took, and the most MiB (PSS) that its processes had at once."""
    command = [sys.executable, "-m", "gatebench", "report", "--quiet", str(folder)]
    most, started = 0.0, time.monotonic()
    with psutil.Popen(command) as process:
        while process.poll() is None:
            most = max(most, _pss_mib(process))
            time.sleep(_SAMPLE_S)
        took_s = time.monotonic() - started
    if process.returncode != 0:
        sys.exit(f"the report failed with status {process.returncode}")
    return took_s, most


def _pss_mib(process: psutil.Popen) -> float:
    total = 0.0
    with suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += each.memory_full_info().pss / _MIB
    return total


def sorted_after_s(page_file: Path) -> float:
    """Seconds from asking a browser for the page until it has sorted a table on a click."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto("about:blank")  # the browser's own start is not the page's
        started = time.monotonic()
        page.goto(page_file.as_uri(), wait_until="domcontentloaded")
        page.locator("th button").first.click()
        page.locator('th[aria-sort="ascending"], th[aria-sort="descending"]').first.wait_for(state="attached")
        took_s = time.monotonic() - started
        browser.close()
    return took_s


if __name__ == "__main__":
    main()
