"""Runs that ask for a precision: they end when they have it, say so, and go on to a finer one."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gatebench.words.precision import FIRST_LOOK
from tests.support.lab import (
    OWN_FOLDERS,
    Command,
    Ended,
    Results,
    assert_done,
    gatebench,
    run_arguments,
)

SERVERS = "waitress uvicorn"
"""A run goes on from the folders that it kept, in which the tests' own servers cannot be started."""
UNLUCKY = "no valid pair"
"""What a look says where others on the machine left no figure of a server."""


def arguments(out: Path, precision: str, budget: str = "40s") -> tuple[str, ...]:
    chosen = ("--servers", SERVERS, "--workloads", "steady-keep-alive", "--profile", "standard")
    asked = ("--precision", precision, "--budget", budget, "--out", str(out))
    return ("run", *OWN_FOLDERS, *chosen, *asked)


def of_kind(results: Results, kind: str) -> list[dict[str, Any]]:
    return [event for event in results.events if event["kind"] == kind]


@pytest.fixture(scope="module")
def ended_early(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Results]:
    """A run of two servers that asks for so little that it has it at its first look."""
    folder = tmp_path_factory.mktemp("precise")
    return gatebench(folder, *arguments(folder / "run", "50%")), Results(folder / "run")


def test_a_run_ends_at_the_look_at_which_it_is_precise_enough(ended_early: tuple[Ended, Results]) -> None:
    ended, results = ended_early
    assert_done(ended, results)
    looks, blocks = of_kind(results, "look"), of_kind(results, "block-finished")
    assert looks
    assert all(look["blocks"] >= FIRST_LOOK or not look["met"] for look in looks)
    if UNLUCKY in looks[-1]["text"]:
        pytest.skip("others on this machine left no valid pair to look at")
    assert looks[-1]["met"]
    assert len(blocks) == looks[-1]["blocks"] < 10
    assert results.events[-1]["ended_for"] == "precision"
    assert "so the run ends here" in " ".join(ended.said.split())


def test_its_plan_and_its_report_say_what_was_asked_for_and_reached(
    ended_early: tuple[Ended, Results],
) -> None:
    _, results = ended_early
    plan = json.loads((results.folder / "run.json").read_text())["plan"]
    assert (plan["precision"]["share"], plan["blocks"]) == (0.5, 10)
    found = results.summary["precision"]
    assert found["asked"] == "50%"
    if found["met"]:
        assert 0 < found["reached"] <= 0.5
    page = (results.folder / "report.html").read_text()
    assert "Precision: 50% was asked for and " in page
    assert "This run is not complete" not in page
    assert "so far: " not in page


def test_a_run_that_has_what_it_asked_for_goes_on_to_a_finer_precision_alone(
    ended_early: tuple[Ended, Results], tmp_path: Path
) -> None:
    _, results = ended_early
    if results.events[-1].get("ended_for") != "precision":
        pytest.skip("others on this machine left no valid pair to look at")
    before = {path: path.read_bytes() for path in results.folder.glob("slices.parquet/*")}
    ended = gatebench(tmp_path, "resume", str(results.folder))
    assert (ended.status, "has reached ±50 %" in ended.said) == (0, True), ended.said

    finer = gatebench(tmp_path / "finer", "resume", str(results.folder), "--precision", "0.5%")
    assert_done(finer, results)
    assert {path: path.read_bytes() for path in before} == before
    blocks = [event["block"] for event in of_kind(results, "block-finished")]
    assert blocks == list(range(10))  # the budget's, none twice
    counts = [look["blocks"] for look in of_kind(results, "look")]
    assert counts == sorted(set(counts))
    assert results.summary["precision"]["asked"] == "0.5%"
    assert "not reached when the budget was used up" in " ".join(finer.said.split())


def test_a_run_that_is_interrupted_goes_on_to_what_it_asked_for(tmp_path: Path) -> None:
    results = Results(tmp_path / "run")
    command = Command(tmp_path, *arguments(results.folder, "50%"))
    command.wait_until("two blocks", lambda: len(of_kind(results, "block-finished")) >= 2)
    command.send(signal.SIGINT)
    assert command.end().status == 130
    assert of_kind(results, "look") == []
    resumed = gatebench(tmp_path / "again", "resume", str(results.folder))
    assert_done(resumed, results)
    assert of_kind(results, "resumed")[0]["precision"]["share"] == 0.5
    looks = of_kind(results, "look")
    assert looks
    finished = {event["block"] for event in of_kind(results, "block-finished")}
    slices = pd.read_parquet(results.folder / "slices.parquet", columns=["block"])
    assert finished <= set(slices["block"])
    # The block that was cut off may hold the whole level, and counts then.
    assert FIRST_LOOK <= looks[-1]["blocks"] <= len(finished) + 1


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        ("three", 'is not a percentage such as "3%"'),
        ("0%", "is not between 0.5% and 50%"),
        ("3% uvicron", 'no server "uvicron" (did you mean "uvicorn"?)'),
    ],
)
def test_a_bad_precision_is_refused_before_anything_is_started(
    tmp_path: Path, precision: str, said: str
) -> None:
    ended = gatebench(tmp_path, *arguments(tmp_path / "run", precision))
    assert ended.status == 2
    assert said in " ".join(ended.said.split())
    assert not (tmp_path / "run").exists()


def test_a_precision_of_one_server_is_refused(tmp_path: Path) -> None:
    one = run_arguments(tmp_path / "run", "honest-wsgi", "steady-close")
    ended = gatebench(tmp_path, *one, "--precision", "3%")
    assert ended.status == 2
    assert "asked of the ratio of two servers" in " ".join(ended.said.split())
