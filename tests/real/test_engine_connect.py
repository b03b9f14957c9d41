"""Commands where no Docker engine answers: what is refused, and what runs all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.engine import DEAD, leave_no_engine
from tests.support.lab import gatebench


@pytest.fixture(autouse=True)
def no_engine_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leave_no_engine(monkeypatch, tmp_path)


def test_every_problem_is_told_at_once_and_nothing_is_started(tmp_path: Path) -> None:
    out = tmp_path / "run"
    wrong = ("--servers", "uvicron", "--network", "brigde")
    ended = gatebench(tmp_path, "run", "--runner", "docker", *wrong, "--out", str(out))
    assert ended.status == 2, ended.said
    assert "3 problems found; nothing was done:" in ended.said
    assert f"no Docker engine answers at {DEAD}" in ended.said
    assert 'unknown server "uvicron" (did you mean "uvicorn"?)' in ended.said
    assert 'unknown network "brigde" (did you mean "bridge"?)' in ended.said
    assert "Traceback" not in ended.said
    assert not out.exists()


def test_options_of_containers_are_refused_for_processes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = gatebench(tmp_path, "run", "--runner", "auto", "--network", "bridge", "--out", str(out))
    assert ended.status == 2, ended.said
    assert "--network and --server-host apply to containers only" in ended.said
    assert not out.exists()


def test_without_an_engine_auto_runs_processes_and_says_so_first(tmp_path: Path) -> None:
    ended = gatebench(tmp_path, "verify", "--runner", "auto", "--servers", "waitress")
    assert ended.status == 0, ended.said
    assert ended.said.startswith(f"servers run as local processes: no Docker engine answers at {DEAD}")
