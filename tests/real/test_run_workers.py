"""Whole runs with two workers for every server, on two cores where there are four; repeated, too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from tests.support.lab import OWN_FOLDERS, Ended, Results, assert_went_well, gatebench, run_arguments

CORES = sorted(os.sched_getaffinity(0))[:4]
SERVER_CORES = 2 if len(CORES) == 4 else 1
"""Two workers share a core where there are not two for them, one for the load and one for the lab."""
WORKLOADS = "[sk]*-[kb]*a[ls]*"  # steady-keep-alive, and kind-broadcast, in which none can take part


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Results]:
    folder = tmp_path_factory.mktemp("workers")
    out = folder / "run"
    options = ("--server-cores", str(SERVER_CORES), "--workers", "2", "--threads", "3")
    arguments = run_arguments(out, "several honest-asgi", WORKLOADS)
    return gatebench(folder, *arguments, *options, cores=set(CORES)), Results(out)


def described(results: Results) -> dict[str, object]:
    told = json.loads((results.folder / "run.json").read_text())
    return {
        "cores": {role: len(numbers) for role, numbers in told["cores"].items()},
        "workers": told["workers"],
        "threads": told["threads"],
    }


EXPECTED = {"cores": {"server": SERVER_CORES, "engine": 1, "lab": 1}, "workers": 2, "threads": 3}


def test_the_servers_get_their_cores_and_each_has_two_workers(run: tuple[Ended, Results]) -> None:
    ended, results = run
    assert described(results) == EXPECTED, ended.said
    argv = {event["subject"]: event["argv"] for event in results.events if event["kind"] == "argv"}
    assert argv.keys() == {"several", "null-responder~limit"}
    assert argv["several"][-2:] == ["--workers", "2"]


def test_a_server_of_two_workers_is_measured_and_both_work(run: tuple[Ended, Results]) -> None:
    _, results = run
    assert_went_well(results.cell("several", "steady-keep-alive"))
    slices = pd.read_parquet(results.folder / "slices.parquet")
    slices = slices[slices["subject"] == "several"]
    assert (slices["server_memory_mib"].dropna() > 20).any()  # of three Pythons, in the last round
    assert slices["server_cpu_s"].notna().all()


def test_a_server_of_one_process_is_a_row_that_says_unsupported(run: tuple[Ended, Results]) -> None:
    ended, results = run
    for cell in results.cells("honest-asgi"):
        assert cell["status"] == "unsupported"
        why = "honest-asgi runs one worker process only: its command takes no {workers}"
        assert cell["reasons"] == [f"unsupported: {why}"]
        assert f"left out: {why}" in ended.said


def test_a_broadcast_is_a_row_that_says_unsupported(run: tuple[Ended, Results]) -> None:
    cell = run[1].cell("several", "kind-broadcast")
    assert cell["status"] == "unsupported"
    why = "several has 2 worker processes, and a broadcast stays within one"
    assert cell["reasons"] == [f"unsupported: {why}"]


def test_it_is_reproduced_with_the_same_cores_workers_and_threads(
    run: tuple[Ended, Results], tmp_path: Path
) -> None:
    again = Results(tmp_path / "again")
    arguments = ("reproduce", str(run[1].folder), "--budget", "3s", "--out", str(again.folder))
    ended = gatebench(tmp_path, *arguments, cores=set(CORES))
    assert "cannot be compared" not in ended.said
    assert described(again) == EXPECTED, ended.said


def test_where_nothing_can_have_two_workers_the_run_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = gatebench(tmp_path, *run_arguments(out, "honest-wsgi", "steady-close"), "--workers", "2")
    assert ended.status == 2
    assert (
        'workload "steady-close": no chosen subject can take part: honest-wsgi runs one worker' in ended.said
    )
    assert not out.exists()


def test_verify_takes_a_number_of_workers_too(tmp_path: Path) -> None:
    arguments = ("verify", *OWN_FOLDERS[:2], "--workers", "2", "--servers", "several honest-asgi")
    ended = gatebench(tmp_path, *arguments)
    assert ended.status == 0, ended.said
    assert "holds" in ended.said
    assert "unsupported" in ended.said
