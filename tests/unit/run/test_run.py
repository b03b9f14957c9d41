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
    """A results folder whose summary holds only the statuses of leading figures, and the same reasons."""
    rows = [
        {
            "subject": subject,
            "status": "ok" if lead in {"limited", "withheld"} else lead,
            "reasons": list(reasons),
            "lead": {"status": lead},
            "figures": {"rps": {"status": lead}, "memory_mib": {"status": "ok"}},
        }
        for subject, lead in cells
    ]
    (folder / "summary.json").write_text(json.dumps({"schema": 2, "cells": rows}))
    return folder


@pytest.mark.parametrize(
    "cells",
    [
        [("a", "ok"), ("b", "ok")],
        [("a", "ok"), ("b", "withheld")],
        [("a", "limited"), ("a", "withheld")],
        [("a", "ok"), ("a", "unsupported")],
        [("a", "ok"), ("b", "unavailable")],
        [("a", "ok"), ("b", "unsupported")],
    ],
)
def test_a_run_with_any_figure_to_rank_by_is_done(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    assert exit_status(summary_folder(tmp_path, *cells)) == EXIT_DONE


@pytest.mark.parametrize(
    "cells",
    [
        [("a", "ok"), ("b", "failed")],
        [("a", "ok"), ("a", "failed")],
        [("a", "withheld"), ("b", "withheld")],
        [("a", "withheld"), ("a", "unsupported")],
    ],
)
def test_a_run_with_a_failed_server_or_without_any_figure_to_rank_by_has_failed(
    tmp_path: Path, cells: list[tuple[str, str]]
) -> None:
    assert exit_status(summary_folder(tmp_path, *cells)) == EXIT_FAILED


def test_a_run_that_lost_a_worker_has_failed_although_something_is_valid(tmp_path: Path) -> None:
    folder = summary_folder(tmp_path, ("a", "ok"), ("a", "withheld"), reasons=("workers: 1 Locust worker",))
    assert exit_status(folder) == EXIT_FAILED


def test_a_strict_run_with_a_withheld_figure_has_failed(tmp_path: Path) -> None:
    folder = summary_folder(tmp_path, ("a", "ok"), ("b", "withheld"))
    assert exit_status(folder, strict=True) == EXIT_FAILED
    assert exit_status(summary_folder(tmp_path, ("a", "ok"), ("b", "limited")), strict=True) == EXIT_DONE


def test_a_level_in_which_no_chosen_server_can_take_part_is_described_without_rounds() -> None:
    (waitress,) = (subject for subject in REGISTRY.subjects() if subject.id == "waitress")
    workloads = (REGISTRY.workloads["websocket-echo"], REGISTRY.workloads["close"])
    close = REGISTRY.workloads["close"]
    plan = make_plan([Cell(waitress, close, close.levels[0])], PROFILES["smoke"], seed=7)
    websocket, planned = every_level(workloads, plan)
    assert (websocket.id, websocket.cells, websocket.rounds) == ("websocket-echo/c64", (), 0)
    assert planned == plan.levels[0]
