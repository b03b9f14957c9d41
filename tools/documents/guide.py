"""What the guide and its neighbours quote of the runs in `docs/`, made from their raw data."""

from __future__ import annotations

import io
import re
import tempfile
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from analysis.claims.check import check
from analysis.claims.evidence import capabilities, shown
from analysis.claims.file import CapabilityCondition, load_claims
from analysis.compare.show import compare_command
from analysis.figures.summary import summarize
from analysis.page.terminal import standings_table
from analysis.reading.run import load_run
from gatebench.cli.resume import tell
from gatebench.results.bundle import unpacked
from gatebench.words.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analysis.figures.results import CellResult, Summary
    from analysis.reading.run import Run

DOCS = ROOT / "docs"
WIDTH = 100
HELD_BY = {
    "gunicorn-sync": "one thread",
    "gunicorn-gthread": "{threads} threads",
    "gunicorn-gevent": "greenlets in one thread",
    "uvicorn": "tasks on one event loop",
}
"""Subjects that the guide speaks of → what a waiting request occupies in a worker of theirs."""


@cache
def headline() -> tuple[Run, Summary]:
    """The run and what follows from it."""
    run = load_run(DOCS / "headline")
    return run, summarize(run)


def waiting_table() -> str:
    """How many requests waited at once: the rate times the time that each waits by design."""
    run, summary = headline()
    service_s = run.meta.workload("wait").service_s
    cells = _cells(summary, "wait")
    rows = []
    for subject, held_by in HELD_BY.items():
        rate = cells[subject].rps if cells[subject].status == "ok" else None
        figures = "no valid figure"
        if rate is not None and rate.low is not None and rate.high is not None:
            figures = "{} ({} to {})".format(
                *(shown(rps * service_s) for rps in (rate.estimate, rate.low, rate.high))
            )
        interface = cells[subject].interface.upper()
        rows.append((subject, interface, held_by.format(threads=run.meta.threads), figures))
    return _table(
        ("subject", "interface", "what waits in its worker", "waiting at once (95 % interval)"), rows
    )


def keep_alive_table() -> str:
    """Which WSGI subjects keep a connection open, alone and under load."""
    run, summary = headline()
    cells = _cells(summary, "keep-alive")
    rows = []
    for seen in capabilities(
        CapabilityCondition(kind="capability", capability="keep-alive", interface="wsgi", of="none"),
        run.meta,
        summary,
    )[1]:
        cell = cells[seen.name]
        keeps = {True: "kept open", False: "closed after each answer", None: seen.detail}[seen.holds]
        load = {"ok": "measured", "unsupported": "not asked"}.get(
            cell.status, f"{cell.status}: `{cell.code}`"
        )
        answers = cell.requests_per_connection
        rows.append((seen.name, keeps, load, "–" if answers is None else shown(answers)))
    return _table(("WSGI subject", "one connection", "64 connections", "answers a connection"), rows)


def verdicts_table() -> str:
    """The project's claims and what the run says of each."""
    run, summary = headline()
    claims = load_claims()
    rows = [(each.text, each.verdict) for each in check(claims, run.meta, summary)]
    return _table(("claim", "verdict"), rows)


def evidence_text() -> str:
    """What the run says of the example in `docs/claims.md`."""
    run, summary = headline()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "my-claims.toml"
        file.write_text(own_claims(), encoding="utf-8")
        own = load_claims([file])[len(load_claims()) :]
    paragraphs = [
        f"{claim.verdict}: {claim.text}\n"
        + textwrap.fill(claim.evidence, WIDTH, initial_indent="  ", subsequent_indent="  ")
        for claim in check(own, run.meta, summary)
    ]
    return _printed("\n".join(paragraphs))


def own_claims() -> str:
    """The claims file that `docs/claims.md` shows."""
    text = (DOCS / "claims.md").read_text(encoding="utf-8")
    (shown_file,) = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return str(shown_file)


def standings_text() -> str:
    """What a run prints at its end of short answers over connections that stay."""
    file = io.StringIO()
    level = next(each for each in headline()[1].levels if each.plan.workload == "keep-alive")
    Console(file=file, width=WIDTH).print(standings_table(level))
    return _printed("\n".join(line.rstrip() for line in file.getvalue().strip().splitlines()))


def compare_text() -> str:
    """What `gatebench compare` prints of the two runs in `docs/exclusive`."""
    file = io.StringIO()
    both = DOCS / "exclusive"
    compare_command(both / "alone", both / "together", Console(file=file, width=WIDTH))
    return _printed("\n".join(line.rstrip() for line in file.getvalue().strip().splitlines()))


def reproduce_text() -> str:
    """What `gatebench reproduce` prints at its end of the two runs in `docs/reproduced`."""
    file = io.StringIO()
    both = DOCS / "reproduced"
    with unpacked(both / "given") as given:
        tell(load_run(given), load_run(both / "here"), (), Console(file=file, width=WIDTH))
    return _printed("\n".join(line.rstrip() for line in file.getvalue().strip().splitlines()))


GUIDE = "docs/wsgi-and-asgi.md"
TABLES = {
    (GUIDE, "waiting"): waiting_table,
    (GUIDE, "keep-alive"): keep_alive_table,
    (GUIDE, "verdicts"): verdicts_table,
    ("docs/claims.md", "evidence"): evidence_text,
    ("docs/compare.md", "compare"): compare_text,
    ("docs/compare.md", "reproduce"): reproduce_text,
    ("README.md", "standings"): standings_text,
}
"""Document and marker → what stands there; `tools.documents` writes them."""


def _printed(text: str) -> str:
    return f"```text\n{text}\n```"


def _cells(summary: Summary, workload: str) -> dict[str, CellResult]:
    return {cell.subject: cell for cell in summary.cells if cell.workload == workload}


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
