"""The null responder in the rounds of a run: where it fails, the run goes on without it and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.lab import (
    Command,
    Results,
    assert_done,
    assert_went_well,
    long_run,
    measured_blocks,
    run_arguments,
)


def null_servers(command: Command) -> list[int]:
    """The null responders that carry the run's mark."""
    found = []
    for pid in command.servers:
        with suppress(FileNotFoundError):  # it has just ended
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            found += [pid] * (b"loadtests.null_server" in words)
    return found


def test_a_responder_that_dies_in_a_block_ends_neither_the_run_nor_its_own_figures(tmp_path: Path) -> None:
    command, results = long_run(tmp_path)
    command.wait_until("a null responder", lambda: bool(null_servers(command)))
    os.kill(null_servers(command)[0], signal.SIGKILL)

    assert_done(command.end(), results)
    assert "null-responder~limit failed in block 2" in " ".join(command.said.split())
    (limit,) = results.summary["limits"]
    assert "block 2: " in limit["reasons"][0]
    assert limit["status"] == "ok"
    assert 1 <= limit["blocks"] < 5
    assert {measured_blocks(results, cell["subject"]) for cell in results.summary["cells"]} == {5}


def test_a_responder_that_cannot_be_started_leaves_a_run_without_a_limit(tmp_path: Path) -> None:
    # In a process of its own: a run sweeps up everything that carries its process's mark.
    arguments = run_arguments(tmp_path / "run", "honest-asgi", "steady-keep-alive")
    code = (
        "import sys\n"
        "from gatebench.cli import app\n"
        "from gatebench.runners.process import backend\n"
        "backend.OWN_COMMAND = ('-c', 'raise SystemExit(\"no such core\")')\n"
        f"sys.argv = {['gatebench', *arguments, '--runner', 'process']!r}\n"
        "app.main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )

    results = Results(tmp_path / "run")
    said = " ".join((ended.stdout + ended.stderr).split())
    assert results.events[-1]["outcome"] == "complete", said
    assert "null-responder~limit failed in block 1: start: the server ended before it was ready" in said
    assert "no such core" in said
    (limit,) = results.summary["limits"]
    assert (limit["status"], limit["rps"]["estimate"]) == ("failed", None)
    assert_went_well(results.cell("honest-asgi", "steady-keep-alive"))
