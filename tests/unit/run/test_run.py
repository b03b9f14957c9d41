"""What a run decides from data alone: its exit status, and which levels its description holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatebench.registry.registry import load_registry
from gatebench.words.errors import EXIT_DONE, EXIT_FAILED, exit_status
from gatebench.words.model import Cell
from gatebench.words.paths import ROOT
from gatebench.words.plan import PROFILES, every_level, make_plan

REGISTRY = load_registry(ROOT)


def summary_folder(folder: Path, *cells: tuple[str, str], reasons: tuple[str, ...] = ()) -> Path:
    """A results folder whose summary holds only subjects, statuses and the same reasons for all."""
    rows = [{"subject": subject, "status": status, "reasons": list(reasons)} for subject, status in cells]
    (folder / "summary.json").write_text(json.dumps({"schema": 1, "cells": rows}))
    return folder


@pytest.mark.parametrize(
    "cells",
    [
        [("a", "ok"), ("b", "ok")],
        [("a", "ok"), ("a", "invalid")],
        [("a", "ok"), ("a", "unsupported")],
        [("a", "ok"), ("b", "unavailable")],
        [("a", "ok"), ("b", "unsupported")],
    ],
)
def test_a_run_with_something_valid_of_every_subject_that_was_tried_is_done(
    tmp_path: Path, cells: list[tuple[str, str]]
) -> None:
    assert exit_status(summary_folder(tmp_path, *cells)) == EXIT_DONE


@pytest.mark.parametrize(
    "cells",
    [
        [("a", "ok"), ("b", "failed")],
        [("a", "ok"), ("a", "failed")],
        [("a", "ok"), ("b", "invalid")],
        [("a", "invalid"), ("a", "unsupported")],
    ],
)
def test_a_run_with_a_failed_server_or_only_refused_figures_of_one_has_failed(
    tmp_path: Path, cells: list[tuple[str, str]]
) -> None:
    assert exit_status(summary_folder(tmp_path, *cells)) == EXIT_FAILED


def test_a_run_that_lost_a_worker_has_failed_although_something_is_valid(tmp_path: Path) -> None:
    folder = summary_folder(tmp_path, ("a", "ok"), ("a", "invalid"), reasons=("workers: 1 Locust worker",))
    assert exit_status(folder) == EXIT_FAILED


def test_a_level_in_which_no_chosen_server_can_take_part_is_described_without_rounds() -> None:
    (waitress,) = (subject for subject in REGISTRY.subjects() if subject.id == "waitress")
    workloads = (REGISTRY.workloads["websocket-echo"], REGISTRY.workloads["close"])
    close = REGISTRY.workloads["close"]
    plan = make_plan([Cell(waitress, close, close.levels[0])], PROFILES["smoke"], seed=7)
    websocket, planned = every_level(workloads, plan)
    assert (websocket.id, websocket.cells, websocket.rounds) == ("websocket-echo/c64", (), 0)
    assert planned == plan.levels[0]
