"""What is said of a result: places, sentences and the table on a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from analysis.load import Run
from analysis.results import Summary
from analysis.standings import standings
from analysis.summary import summarize
from analysis.tables import standings_table
from analysis.wording import findings
from tests.summaries import BY_ID, QUIET, places, small, whole_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return whole_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def summary(run: Run) -> Summary:
    return summarize(run)


def test_places_leave_open_what_the_comparisons_leave_open(summary: Summary) -> None:
    found = places(standings(summary.levels[0]))

    assert found["granian-asgi"] == "1"
    assert found["uvicorn"] == found["gunicorn-uvicorn"] == "3 to 4"
    assert found["uwsgi-http11"] == found["gunicorn-sync"] == ""


def test_only_the_leader_and_its_ties_lead(tmp_path: Path) -> None:
    twins = small(tmp_path, BY_ID["uvicorn"], BY_ID["gunicorn-uvicorn"], BY_ID["hypercorn"])

    leads = {row.cell.subject for row in standings(twins.levels[0]) if row.leads}

    assert leads == {"uvicorn", "gunicorn-uvicorn"}


def test_a_tied_leader_is_never_called_the_fastest(tmp_path: Path, run: Run) -> None:
    twins = small(tmp_path, BY_ID["uvicorn"], BY_ID["gunicorn-uvicorn"], BY_ID["hypercorn"])

    sentences = findings(twins.levels[0], run.meta.workload("keep-alive"))

    assert "cannot be told apart from it" in sentences[0]
    assert "has the highest figure" not in " ".join(sentences)


def test_a_clear_leader_is_named_with_its_ratio_to_the_next(run: Run, summary: Summary) -> None:
    first, *_, last = findings(summary.levels[0], run.meta.workload("keep-alive"))

    assert first.startswith("Of the valid results, granian-asgi has the highest figure")
    assert "the requests/s of the next, granian-wsgi" in first
    assert last == "Left out of the comparison: uwsgi-http11 (invalid: reuse)."


def test_waiting_requests_are_told_as_how_many_wait_at_once(run: Run, summary: Summary) -> None:
    sentences = " ".join(findings(summary.levels[3], run.meta.workload("wait")))

    assert "With requests that wait 10 ms, granian-asgi kept 5" in sentences


def test_one_block_is_told_without_a_ranking(tmp_path: Path, run: Run) -> None:
    one = small(tmp_path, BY_ID["uvicorn"], BY_ID["granian-asgi"], plan=replace(QUIET, blocks=1))

    assert findings(one.levels[0], run.meta.workload("keep-alive"))[0].startswith(
        "No ranking: that needs 3 blocks"
    )


def test_the_terminal_table_shows_places_ties_and_reasons(summary: Summary) -> None:
    console = Console(width=200, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(standings_table(summary.levels[0], "keep-alive"))

    text = captured.get()
    assert "3 to 4" in text
    assert "invalid: reuse" in text
    assert "unsupported: does not declare keep-alive" in text
