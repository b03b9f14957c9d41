"""What a run prints at its end: the figures of its summary, or that there is no report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.figures.summary import summarize
from analysis.figures.summary_file import as_json, levels_of
from analysis.page.terminal import run_tables, standings_table
from analysis.reading.run import Run, load_run
from gatebench.cli.run import conclude
from gatebench.words.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, GatebenchError, Outcome
from tests.support.pages import tell
from tests.support.summaries import BY_ID, QUIET, failure
from tests.support.synthetic import BROADCAST, IDLE, LOADS, SEARCH, STEADY, VISIT, make_run

LOADS_OF_EVERY_KIND = (*LOADS[:2], STEADY, SEARCH, IDLE, BROADCAST, VISIT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run and its summary, with a level of every kind, a subject that failed and one that is not there."""
    loads = LOADS_OF_EVERY_KIND
    figures = {load.name: 9_000.0 for load in loads} | {
        IDLE.name: 20.0,
        BROADCAST.name: 200.0,
        VISIT.name: 60.0,
    }
    subjects = [
        replace(BY_ID[name], rates={load: figure * factor for load, figure in figures.items()})
        for name, factor in (("uvicorn", 1.0), ("hypercorn", 0.7), ("daphne", 0.7))
    ]
    subjects.append(replace(BY_ID["mod_wsgi"], unavailable="not installed"))
    folder = make_run(
        tmp_path_factory.mktemp("run") / "run", QUIET, subjects, loads, [failure(3, "daphne", "close")]
    )
    tell(folder, "uvicorn", "close", examples={"status": ["GET /: 404 Not Found"]})
    run = load_run(folder)
    (folder / "summary.json").write_text(json.dumps(as_json(summarize(run))))
    return run


def printed(*parts: object) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def test_the_tables_of_the_summary_are_those_of_the_raw_data(run: Run) -> None:
    content = json.loads((run.folder / "summary.json").read_text())
    expected = [printed(standings_table(level)) for level in summarize(run).levels]
    assert [printed(standings_table(level)) for level in levels_of(content, run.meta)] == expected


def test_the_tables_follow_the_summary_and_no_other_file(run: Run, tmp_path: Path) -> None:
    for name in ("summary.json", "run.json", "events.jsonl"):
        (tmp_path / name).write_text((run.folder / name).read_text())
    assert printed(*run_tables(tmp_path)).startswith(printed(standings_table(summarize(run).levels[0])))


def test_an_incomplete_run_says_so_below_its_tables(run: Run, tmp_path: Path) -> None:
    for name in ("summary.json", "run.json"):
        (tmp_path / name).write_text((run.folder / name).read_text())
    events = (run.folder / "events.jsonl").read_text().splitlines()
    (tmp_path / "events.jsonl").write_text("".join(f"{each}\n" for each in events if "finished" not in each))
    assert "the run is not complete (still running, or cut off)" in printed(*run_tables(tmp_path))
    assert "not complete" not in printed(*run_tables(run.folder))


def as_schema_1(row: dict[str, Any], refused: str) -> dict[str, Any]:
    """A row in the form of schema 1, in which a gate that failed made all of the cell invalid."""
    figures = row.pop("figures")
    times = figures["latency_us"]
    judged = {key: value for key, value in row["lead"].items() if key != "status"}
    old = {
        "status": "invalid" if row["subject"] == refused and row["status"] == "ok" else row["status"],
        "lead": judged,
        "rps": {key: figures["rps"][key] for key in ("estimate", "low", "high")},
        "latency_us": {name: times[name] for name in ("p50", "p90", "p99", "p999", "max")},
        "typical_us": times["typical"],
        "service_us": times["service"],
        "last_us": times["last"],
        "cpu_us_per_request": figures["cpu_us_per_request"]["estimate"],
        "memory_mib": figures["memory_mib"]["estimate"],
    }
    return {**row, **old}


def test_a_summary_of_schema_1_is_read_and_what_was_invalid_in_it_is_withheld(run: Run) -> None:
    content = json.loads((run.folder / "summary.json").read_text())
    content |= {"schema": 1, "cells": [as_schema_1(row, "hypercorn") for row in content["cells"]]}

    for old, new in zip(levels_of(content, run.meta), summarize(run).levels, strict=True):
        found = {cell.subject: cell for cell in old.cells}
        assert (found["hypercorn"].lead_status, found["hypercorn"].lead) == ("withheld", None)
        (same,) = (cell for cell in new.cells if cell.subject == "uvicorn")
        assert found["uvicorn"].lead_status == same.lead_status == "ok"
        if (p50_us := same.figure("p50")) is not None:
            assert found["uvicorn"].figure("p50") == pytest.approx(p50_us)


def test_a_summary_of_an_earlier_version_names_the_command_that_makes_it_again(
    run: Run, tmp_path: Path
) -> None:
    content = json.loads((run.folder / "summary.json").read_text())
    for row in content["cells"]:
        del row["figures"]
    (tmp_path / "summary.json").write_text(json.dumps(content))
    (tmp_path / "run.json").write_text((run.folder / "run.json").read_text())
    with pytest.raises(GatebenchError, match=f"gatebench report {tmp_path}"):
        list(run_tables(tmp_path))


def said(outcome: Outcome) -> tuple[int, str]:
    console = Console(width=200)
    with console.capture() as capture:
        status = conclude(outcome, console)
    return status, capture.get()


def test_a_run_whose_report_failed_shows_no_tables_of_an_earlier_one(run: Run) -> None:
    status, text = said(Outcome(EXIT_DONE, run.folder, report_failed=True))
    assert status == EXIT_FAILED
    expected = f"no tables: the report could not be made; `gatebench report {run.folder}` makes it again"
    assert text.strip() == expected


def test_a_run_that_was_interrupted_keeps_its_status_and_shows_what_was_measured(run: Run) -> None:
    status, text = said(Outcome(EXIT_INTERRUPTED, run.folder, "interrupted", reported=True))
    assert status == EXIT_INTERRUPTED
    assert f"report: {run.folder / 'report.html'}" in text


def test_a_report_that_was_interrupted_is_spoken_of_once(run: Run) -> None:
    text = f"interrupted; `gatebench report {run.folder}` makes the report"
    assert said(Outcome(EXIT_INTERRUPTED, run.folder, text)) == (EXIT_INTERRUPTED, "")


def test_a_run_without_a_plan_has_no_report_to_speak_of(tmp_path: Path) -> None:
    assert said(Outcome(EXIT_FAILED, tmp_path, "the disk is full")) == (EXIT_FAILED, "")
