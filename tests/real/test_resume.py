"""A run that was ended early goes on: with the blocks it lacks, and only where everything is as it was."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from analysis.figures.cells import whole_blocks
from analysis.reading.run import load_run
from tests.support.lab import Command, Ended, Results, assert_done, gatebench, long_run

SERVERS = "waitress uvicorn"
"""A run goes on from the folders that it kept, in which the tests' own servers cannot be started."""


def contents(folder: Path) -> dict[Path, bytes]:
    """The run's raw data and plan, file by file."""
    files = [folder / "run.json", *folder.glob("*.parquet/part-*.parquet")]
    return {file: file.read_bytes() for file in files}


def blocks_of_each_level(results: Results) -> set[int]:
    """How many blocks hold all of a level, whether or not the machine let all of their slices count."""
    run = load_run(results.folder)
    return {len(whole_blocks(run, plan)) for plan in run.meta.levels}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, dict[Path, bytes], str, Ended]:
    """A run that was interrupted in its second block, what its folder held, its words, and how it went on."""
    folder = tmp_path_factory.mktemp("interrupted")
    command, results = long_run(folder, SERVERS)
    command.send(signal.SIGINT)
    said = command.end().said
    before = contents(results.folder)
    return results, before, said, gatebench(folder / "again", "resume", str(results.folder))


def test_an_interrupted_run_says_how_to_go_on(
    interrupted: tuple[Results, dict[Path, bytes], str, Ended],
) -> None:
    results, _, said, _ = interrupted
    assert f"gatebench resume {results.folder}" in said


def test_a_run_goes_on_with_the_blocks_that_it_lacks(
    interrupted: tuple[Results, dict[Path, bytes], str, Ended],
) -> None:
    results, _, _, resumed = interrupted
    assert_done(resumed, results)
    kinds = Counter(event["kind"] for event in results.events)
    assert (kinds["resumed"], kinds["finished"]) == (1, 2)
    assert results.events[-1]["outcome"] == "complete"
    blocks = [event["block"] for event in results.events if event["kind"] == "block-finished"]
    assert len(blocks) == 5
    assert blocks == sorted(set(blocks)) != [0, 1, 2, 3, 4]  # the one that was cut off is not counted
    assert blocks_of_each_level(results) == {5}


def test_what_was_measured_before_stays_as_it_was(
    interrupted: tuple[Results, dict[Path, bytes], str, Ended],
) -> None:
    results, before, _, _ = interrupted
    after = contents(results.folder)
    assert len(after) > len(before) > 2
    assert {file: after[file] for file in before} == before


def test_the_subject_that_is_measured_twice_is_the_same_all_the_time(
    interrupted: tuple[Results, dict[Path, bytes], str, Ended],
) -> None:
    slices = pd.read_parquet(interrupted[0].folder / "slices.parquet")
    finished = [event["block"] for event in interrupted[0].events if event["kind"] == "block-finished"]
    subjects = slices[slices["block"].isin(finished)].groupby("block")["subject"].unique()
    (every,) = {frozenset(found) for found in subjects}
    assert len([subject for subject in every if subject.endswith("~again")]) == 1


def test_the_page_tells_that_the_run_went_on_later(
    interrupted: tuple[Results, dict[Path, bytes], str, Ended],
) -> None:
    page = (interrupted[0].folder / "report.html").read_text()
    assert "This run is not complete" not in page
    assert "Went on" in page


def test_a_run_with_all_of_its_blocks_is_left_as_it_is(
    interrupted: tuple[Results, dict[Path, bytes], str, Ended], tmp_path: Path
) -> None:
    results, *_ = interrupted
    before = {path: path.stat().st_mtime_ns for path in results.folder.rglob("*")}
    ended = gatebench(tmp_path, "resume", str(results.folder))
    assert ended.status == 0
    assert "has all of its blocks" in ended.said
    assert {path: path.stat().st_mtime_ns for path in results.folder.rglob("*")} == before


def test_a_run_that_lacks_nothing_but_its_page_is_told_how_to_get_it(
    interrupted: tuple[Results, dict[Path, bytes], str, Ended], tmp_path: Path
) -> None:
    results, *_ = interrupted
    folder = tmp_path / "without-a-page"
    shutil.copytree(results.folder, folder, ignore=shutil.ignore_patterns("report.html"))
    ended = gatebench(tmp_path, "resume", str(folder))
    assert ended.status == 1
    assert f"gatebench report {folder}" in ended.said.replace("\n", "")


def test_after_kill_9_a_run_goes_on(tmp_path: Path) -> None:
    command, results = long_run(tmp_path, SERVERS)
    command.send(signal.SIGSTOP)  # or it would be over before it is asked for
    refused = gatebench(tmp_path / "refused", "resume", str(results.folder))
    assert refused.status == 2
    assert "this run is still going on" in refused.said
    command.send(signal.SIGKILL)
    assert command.end().status == -signal.SIGKILL
    with (results.folder / "events.jsonl").open("a") as events:
        events.write('{"at": "2026')  # as a write that was cut off leaves it
    assert_done(gatebench(tmp_path / "again", "resume", str(results.folder)), results)
    assert blocks_of_each_level(results) == {5}


def test_a_run_does_not_go_on_where_something_is_not_as_it_was(tmp_path: Path) -> None:
    command, results = long_run(tmp_path, SERVERS)
    command.send(signal.SIGINT)
    command.end()
    file = results.folder / "run.json"
    description = json.loads(file.read_text())
    description["machine"]["kernel"] = "5.4.0-another"
    description["hashes"]["engine"] = "of another engine"
    file.write_text(json.dumps(description))
    before = {path: path.stat().st_mtime_ns for path in results.folder.glob("*.*")}
    ended = gatebench(tmp_path / "again", "resume", str(results.folder))
    assert ended.status == 2, ended.said
    for expected in ("machine.kernel: was 5.4.0-another", "hashes.engine: was of another engine"):
        assert expected in ended.said
    assert {path: path.stat().st_mtime_ns for path in results.folder.glob("*.*")} == before


def test_a_folder_without_a_plan_cannot_go_on(tmp_path: Path) -> None:
    for folder, reason in (
        (tmp_path, "ended before it had a plan"),
        (tmp_path / "absent", "no results folder"),
    ):
        ended = gatebench(tmp_path / "command", "resume", str(folder))
        assert ended.status == 2
        assert reason in ended.said
    command = Command(tmp_path / "help", "resume", "--help")
    assert "Resume a run that ended early" in command.end().said
