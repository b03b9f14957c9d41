"""What a run records of the interface of each server."""

from __future__ import annotations

from pathlib import Path

from analysis.page.interfaces import matrices
from analysis.reading.run import load_run
from tests.support.lab import Results, gatebench, run_arguments


def test_a_run_records_what_each_server_hands_over_once(tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = gatebench(tmp_path / "lab", *run_arguments(out, "honest", "steady-close"))
    assert ended.status in {0, 1}, ended.said  # 1 where the machine is too busy for a valid cell
    events = [event for event in Results(out).events if event["kind"] == "interface"]
    assert sorted(event["subject"] for event in events) == ["honest-asgi", "honest-wsgi"]
    wsgi, asgi = matrices(load_run(out))
    assert {row.key: row for row in wsgi.rows}["REQUEST_METHOD"].entries[0] is not None
    assert {row.key: row for row in asgi.rows}["type"].entries[0] is not None
