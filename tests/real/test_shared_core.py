"""Real runs beside a server that works at rest: nobody's figure has its work in it and says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gatebench.results.columns import SHARED_LIMIT
from tests.support.lab import Ended, Results, assert_done, gatebench, run_arguments

BUSY = '''
"""The plain application with a task of its own: 4 ms of work in every 10, asked or not."""

import asyncio
import time

from apps.plain.asgi import app as plain

TASKS = set()


async def work():
    while True:
        end = time.perf_counter() + 0.004
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0.006)


async def app(scope, receive, send):
    if not TASKS:
        TASKS.add(asyncio.create_task(work()))
    await plain(scope, receive, send)
'''
HONEST, AT_WORK = "honest-asgi", "honest-asgi+busy"
WORKLOADS = "steady-keep-alive kind-open"


def measured(folder: Path, *options: str) -> tuple[Ended, Results]:
    """A run of the honest server with and without the application that works at rest."""
    busy = folder / "apps" / "busy"
    busy.mkdir(parents=True)
    (busy / "asgi.py").write_text(BUSY)
    arguments = run_arguments(folder / "run", HONEST, WORKLOADS)
    applications = ("--apps-dir", str(busy.parent), "--apps", "plain busy")
    return gatebench(folder, *arguments, *applications, *options), Results(folder / "run")


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Results]:
    """Both up at the same time."""
    return measured(tmp_path_factory.mktemp("together"))


def notices(results: Results) -> list[dict[str, Any]]:
    """What a run noticed of its subjects; what is told of none is told of another lab on this machine."""
    return [event for event in results.events if event["kind"] == "notice" and event["subject"]]


def shared_core(cell: dict[str, Any]) -> str:
    """Why a cell's core was somebody else's, too; empty where it was not."""
    return next((reason for reason in cell["reasons"] if reason.startswith("shared-core: ")), "")


def test_a_server_that_works_at_rest_is_named_before_the_load_and_on_the_page(
    together: tuple[Ended, Results],
) -> None:
    ended, results = together
    (noticed,) = notices(results)
    assert noticed["subject"] == AT_WORK
    assert f"{AT_WORK} works although nobody asks it anything" in " ".join(ended.said.split())
    assert f"{AT_WORK} works although nobody asks it anything" in (results.folder / "report.html").read_text()
    before_load = ended.said.index("works although nobody") < ended.said.index("warming up")
    assert before_load


@pytest.mark.parametrize("workload", WORKLOADS.split())
def test_the_figure_of_a_server_beside_it_is_refused_with_its_name(
    together: tuple[Ended, Results], workload: str
) -> None:
    ended, results = together
    assert_done(ended, results)
    cell = results.cell(HONEST, workload)
    assert cell["lead"]["status"] == "withheld"
    assert f"among them {AT_WORK} (" in shared_core(cell)
    assert "rate-missed" not in json.dumps(cell["reasons"])


def test_every_slice_beside_it_is_marked_and_its_latencies_are_kept_apart(
    together: tuple[Ended, Results],
) -> None:
    _, results = together
    slices = pd.read_parquet(results.folder / "slices.parquet")
    beside = slices[slices["subject"] == HONEST]
    assert beside["shared"].all()
    assert (beside["others_s"] / beside["elapsed_s"] > SHARED_LIMIT).all()
    histograms = pd.read_parquet(results.folder / "histograms.parquet")
    own = histograms[(histograms["subject"] == HONEST) & (histograms["clock"] == "response")]
    assert own["shared"].all()
    assert own["count"].sum() == beside["latency_count"].sum()


def test_one_server_at_a_time_is_beside_no_other(tmp_path: Path) -> None:
    ended, results = measured(tmp_path, "--exclusive")
    assert_done(ended, results)
    assert notices(results) == []
    for subject in (HONEST, AT_WORK):
        for cell in results.cells(subject):
            assert AT_WORK not in shared_core(cell)
            assert HONEST not in shared_core(cell)
