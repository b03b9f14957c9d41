"""Runs the `gatebench` command as a person does, in a process and with a temporary folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from gatebench.machine.processes import marked_processes
from gatebench.words.paths import HOST

SUPPORT = Path(__file__).parent
OWN_FOLDERS = ("--servers-dir", str(SUPPORT / "servers"), "--workloads-dir", str(SUPPORT / "workloads"))
T = TypeVar("T")

PATIENCE_S = 120.0
UNDISTURBED = 8
"""How long anything may take before a test gives up; only a hang ever comes near it."""


RUNNERS = {"run", "verify"}
"""Commands that would take containers where an engine answers."""
NOTES = frozenset({"not-measured", "too-few-blocks", "too-few-samples", "left-out"})
"""Codes of figures that so short a run cannot give, and of slices that were disturbed and left out."""
OF_THE_MACHINE = frozenset(
    {
        *("steal", "shared-core"),  # somebody else had a core
        *("generator-busy", "ceiling", "send-lag"),  # the engine or its core was held up
        *("server-idle", "uneven", "rate-missed", "unsteady"),  # so was the server, for a part of a slice
        "database-busy",  # or the database, which then is the slower of the two
    }
)
"""What others who use the machine can do to any cell of any server, and to other ones in each run.

No test may ask for a cell without these: it would judge the machine. What a server or the lab did wrong has
other codes, and a test that plants one of these names it.
"""


MEASURED = frozenset({"ok", "limited", "withheld"})
"""Statuses of a cell that was measured, whatever may be said of its figures."""


def blamed(cell: Mapping[str, Any], *planted: str) -> set[str]:
    """The codes of a cell's reasons for which its server or the lab is to be blamed.

    Args:
        cell: a row of the summary.
        planted: codes among those of a busy machine that the test itself has provoked, and that count.
    """
    found = {reason.partition(":")[0] for reason in cell["reasons"]}
    return found - NOTES - (OF_THE_MACHINE - {*planted})


def assert_went_well(cell: Mapping[str, Any]) -> None:
    """The cell was measured, nothing failed, and only the machine may have kept figures of it back."""
    assert cell["status"] in MEASURED, cell["reasons"]
    assert blamed(cell) == set(), cell["reasons"]
    assert cell["requests"] > 0
    assert set(cell["errors"].values()) == {0}


def found_undisturbed(measure: Callable[[], T], holds: Callable[[T], bool]) -> bool:
    """Whether a measurement in real time once comes out as it must, of as many as a noisy machine may spoil.

    What is wrong by nature comes out wrong every time.
    """
    return any(holds(measure()) for _ in range(UNDISTURBED))


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Polls until `condition` holds; fails the test, naming `what`, where it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.05)


def fetch(port: int, path: str, form: Mapping[str, int] | None = None) -> bytes:
    """The body of the answer to a GET or, with a form, to a POST."""
    data = None if form is None else urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", data=data, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    said: str


class Command:
    """One `gatebench` process.

    Args:
        folder: gets the command's output and is where its temporary files go.
        arguments: of the command.
        environment: variables beside the test's own.
        cores: the cores it may use, or None for all.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        cores: set[int] | None = None,
    ) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self._log = folder / "said.txt"
        # The tests' own servers run from the repository's virtual environment, in which no container is.
        chosen = () if "--runner" in arguments or arguments[0] not in RUNNERS else ("--runner", "process")
        command = [sys.executable, "-m", "gatebench", *arguments, *chosen]
        if cores is not None:
            command = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "TMPDIR": str(self.temporary), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """Its output so far, standard error included."""
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def servers(self) -> list[int]:
        """The processes that carry its mark."""
        return [pid for pid, owner in marked_processes().items() if owner.pid == self._process.pid]

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Polls until `condition` holds or the command ends, which fails the test."""
        wait_until(what, lambda: condition() or not self.running)
        assert condition(), f"it ended before {what}:\n{self.said}"

    def end(self) -> Ended:
        """Waits for its end, and holds it to the promise that it leaves nothing behind."""
        try:
            status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGTERM)
            self._process.wait(PATIENCE_S)
            raise
        self.assert_nothing_is_left()
        return Ended(status, self.said)

    def assert_nothing_is_left(self) -> None:
        """No process carries its mark and its temporary folder is empty, soon if not at once."""
        wait_until("no process of the run to be left", lambda: not self.servers)
        wait_until("no temporary folder to be left", lambda: not any(self.temporary.iterdir()))


def gatebench(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    cores: set[int] | None = None,
) -> Ended:
    """Runs a command to its end."""
    return Command(folder, *arguments, environment=environment, cores=cores).end()


def run_arguments(
    out: Path, servers: str, workloads: str = "steady-*", budget: str = "3s"
) -> tuple[str, ...]:
    """The arguments of a short run of the tests' own servers and workloads."""
    chosen = ("--servers", servers, "--workloads", workloads, "--budget", budget, "--out", str(out))
    return ("run", "--profile", "smoke", *OWN_FOLDERS, *chosen)


@dataclass(frozen=True)
class Results:
    """A results folder."""

    folder: Path

    @property
    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        return dict(json.loads((self.folder / "summary.json").read_text()))

    @property
    def events(self) -> list[dict[str, Any]]:
        """The whole lines of `events.jsonl`; none while there is no such file."""
        file = self.folder / "events.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def cells(self, subject: str) -> list[dict[str, Any]]:
        """The summary's rows of one subject; at least one."""
        found = [cell for cell in self.summary["cells"] if cell["subject"] == subject]
        assert found
        return found

    def cell(self, subject: str, workload: str) -> dict[str, Any]:
        """The summary's row of one subject in one workload."""
        (found,) = (cell for cell in self.cells(subject) if cell["workload"] == workload)
        return found


def measured_blocks(results: Results, subject: str) -> int:
    """Blocks in which a subject was under load, those of which others spoiled every slice among them."""
    slices = pd.read_parquet(results.folder / "slices.parquet", columns=["subject", "block"])
    return int(slices.loc[slices["subject"] == subject, "block"].nunique())


def long_run(folder: Path, servers: str = "honest") -> tuple[Command, Results]:
    """A run that would take some time more, once it has finished a block and is well into the next."""
    results = Results(folder / "run")
    options = ("--profile", "standard", "--budget", "8s", "--out", str(results.folder))
    chosen = ("--servers", servers, "--workloads", "steady-keep-alive")
    command = Command(folder, "run", *OWN_FOLDERS, *chosen, *options)

    def is_in_second_block() -> bool:
        return [event["block"] for event in results.events if event["kind"] == "argv"][-1:] == [1]

    command.wait_until("the second block", is_in_second_block)
    return command, results


def assert_done(ended: Ended, results: Results) -> None:
    """The run ended as it should, whatever others did to the machine meanwhile.

    Its status is 0, or 1 where they left no cell with the figure that it is ranked by; nothing else may be
    the cause.
    """
    assert results.events[-1].get("outcome") == "complete", ended.said
    for cell in results.summary["cells"]:
        assert blamed(cell) <= {cell["status"]} - MEASURED, cell["reasons"]
    leads = {cell["lead"]["status"] for cell in results.summary["cells"]} - {"unsupported", "unavailable"}
    assert ended.status == (1 if leads == {"withheld"} else 0), ended.said


def let_others_pass(folder: Path) -> None:
    """Lets other users get at a folder of a test, through those that pytest keeps to itself."""
    closed = [each for each in folder.parents if each.name.startswith(("popen-", "pytest-"))]
    for each in (folder, *closed):
        each.chmod(0o755)
