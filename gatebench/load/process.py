"""The lab's handle on its load process (Locust and its engines)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gatebench.machine.cores import Cores
from gatebench.machine.processes import OWNER_VARIABLE, Owner
from gatebench.words.errors import GatebenchError
from loadtests.engine.protocol import Arrivals, Message, Target, receive_message, send_message
from loadtests.engine.tally import SliceResult

REPLY_MARGIN_S = 30.0
JOIN_S = 90.0
PREPARE_S = 60.0
STOP_S = 120.0
DRAIN_S = 110.0
"""Of a Locust file: longer than its warm-up lasts beyond what was asked, and its drain, together."""
GRACE_S = 10.0
POLL_S = 0.02
LAST_WORDS_S = 1.0
LOCUST_PORT = 5557
"""Where a Locust worker looks for its master by default."""


def _here(locustfile: Path) -> str:
    return str(locustfile.resolve())


class LoadError(GatebenchError):
    """The load process ended or does not answer; the run cannot go on."""


class CellError(LoadError):
    """One cell's Locust file cannot be used; the load process can go on with others."""


@dataclass(frozen=True, slots=True)
class LoadCell:
    """What the load process is told of a cell.

    Attributes:
        name: how it is called in later commands.
        connections: how many Locust users; each is one connection, but for a Locust file's own.
        target: what the load engine sends; None where a Locust file does it.
        locustfile, host: an ordinary Locust file and its `http://ADDRESS:PORT`, in place of a target;
            transport and options (its own command-line options that are set) are with it.
        apart: whether the connections are opened one by one, so that several workers share them.
    """

    name: str
    connections: int
    target: Target | None
    locustfile: Path | None = None
    host: str = ""
    apart: bool = False
    transport: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def to_json(self, locustfiles: Callable[[Path], str] = _here) -> Message:
        """As `loadtests.swarm.cells.Cells` takes it, with the Locust file's path where that runs."""
        return {
            "cell": self.name,
            "connections": self.connections,
            "target": self.target.to_json() if self.target is not None else None,
            "locustfile": locustfiles(self.locustfile) if self.locustfile is not None else None,
            "host": self.host,
            "apart": self.apart,
            "transport": self.transport,
            "options": dict(self.options),
        }


@dataclass(frozen=True, slots=True)
class MasterOptions:
    """What makes the load process Locust's master.

    Attributes:
        workers: 0 loads from the one process; more make it the master of so many workers.
        bind, port: where the workers connect to; port 0 takes a free one.
        external: the workers are not started by the process itself.
        deals_cores: external workers run beside it, so that it tells each which of the cores are its own.
    """

    workers: int = 0
    bind: str = "127.0.0.1"
    port: int = 0
    external: bool = False
    deals_cores: bool = False

    def arguments(self, engine_cores: Sequence[int]) -> list[str]:
        """The options of `loadtests.swarm.process`."""
        found = [part for core in engine_cores for part in ("--engine-cpu", str(core))]
        if self.workers:
            found += ["--workers", str(self.workers), "--bind", self.bind, "--port", str(self.port)]
            found += ["--external"] * self.external + ["--deal-cores"] * self.deals_cores
        return found


def local_load(*, cores: Cores, owner: Owner, log: Path, options: MasterOptions | None = None) -> LoadProcess:
    """The load process on this machine; a worker of it gets its part of `cores.engine`."""
    options = options or MasterOptions()
    command = [sys.executable, "-m", "loadtests.swarm.process", "--fd", "0", *options.arguments(cores.engine)]
    before = os.sched_getaffinity(0)
    # A Locust file's users run in the process itself, which would wander to the server's core.
    os.sched_setaffinity(0, {*cores.engine, *cores.lab})
    try:
        return LoadProcess(command, owner=owner, log=log, options=options)
    finally:
        os.sched_setaffinity(0, before)


class LoadProcess:
    """Locust in a process of its own, which holds the connections and drives them when told to.

    Args:
        command: what to start; it takes commands on its standard input, which is a socket, and answers there.
        owner: the lab whose mark the processes carry.
        log: file for what they print.
        options: how many workers it waits for, and who starts them.
        through_output: it answers on its standard output instead, as what runs in a container does.
        locustfiles: from a Locust file here to its path where the process runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        owner: Owner,
        log: Path,
        options: MasterOptions | None = None,
        through_output: bool = False,
        locustfiles: Callable[[Path], str] = _here,
    ) -> None:
        self._log = log
        self._locustfiles = locustfiles
        self._options = options or MasterOptions()
        self._drain_s: dict[str, float] = {}
        self._answer_due = False
        ours, theirs = socket.socketpair()
        self._control = ours
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, OWNER_VARIABLE: str(owner)},
                stdin=theirs.fileno(),
                stdout=theirs.fileno() if through_output else output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The load process's ID; its engines and the workers it starts are children of it."""
        return self._process.pid

    @property
    def instructions(self) -> str:
        """What a person starts on the machines of external workers; empty where there are none."""
        options = self._options
        if not options.external or options.deals_cores:
            return ""
        everywhere = options.bind in {"*", "0.0.0.0"}  # noqa: S104 - compared with, not bound to
        address = socket.gethostname() if everywhere else options.bind
        return (
            f"waiting for {options.workers} Locust workers; start each, in a checkout of the same version: "
            ".venv/bin/locust -f loadtests/locustfile.py --worker "
            f"--master-host {address} --master-port {options.port}"
        )

    def hello(self) -> Message:
        """Waits until the process and its workers are up.

        Returns:
            `locust`'s version, the number of `workers`, and `open_files`: how many files each of the engines
            may have open, None where that is not known.

        Raises:
            LoadError: they are not, within two minutes where there are workers; with `instructions`.
        """
        try:
            return self.ask({"op": "hello"}, timeout_s=JOIN_S if self._options.workers else 0.0)
        except LoadError as error:
            if not self._options.external:
                raise
            raise LoadError(f"{error}\n{self.instructions}") from error

    def spawn(self, cells: Sequence[LoadCell]) -> None:
        """Has Locust start the users of these cells.

        Raises:
            CellError: a Locust file cannot be used; no cell was started then.
        """
        self._drain_s = {cell.name: cell.target.timeout_s if cell.target else DRAIN_S for cell in cells}
        message = {"op": "spawn", "cells": [cell.to_json(self._locustfiles) for cell in cells]}
        self.ask(message, timeout_s=JOIN_S if self._options.workers else 0.0)

    def prepare(self, cell: str) -> None:
        """Untimed: reconnects what the server closed while the cell was idle."""
        self.ask({"op": "prepare", "cell": cell}, timeout_s=PREPARE_S)

    def run_slice(self, cell: str, window_s: float, arrivals: Arrivals | None = None) -> SliceResult:
        """Drives the cell's connections for `window_s` seconds, in an open loop with `arrivals`; drains them.

        Raises:
            CellError: the cell's Locust file failed.
        """
        message = {
            "op": "slice",
            "cell": cell,
            "window_s": window_s,
            "arrivals": arrivals.to_json() if arrivals is not None else None,
        }
        reply = self.ask(message, timeout_s=window_s + self._drain_s.get(cell, 0.0))
        return SliceResult.from_json(reply["result"])

    def stop(self) -> None:
        """Has Locust stop all users; every connection is closed.

        Where a command was interrupted, its answer is still due, and nobody can be told anything: the process
        is then ended as a whole.
        """
        if self._answer_due:
            return
        self.ask({"op": "stop"}, timeout_s=STOP_S if self._options.workers else 0.0)

    def close(self) -> None:
        """Ends the process, its engines and the workers it started."""
        self._control.close()
        if self._process.returncode is not None:
            return
        # Who was interrupted does not wait for the rest of a slice.
        deadline = time.monotonic() + (0.0 if self._answer_due else GRACE_S)
        while self._running() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        # Itself, if it hangs, and workers that it left behind. Until it is waited for, the group is its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _running(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def ask(self, message: Message, timeout_s: float = 0.0) -> dict[str, Any]:
        """Sends one command and waits for its answer.

        Raises:
            CellError: one cell's Locust file cannot be used.
            LoadError: the process has ended, reports a failure, or gave no answer in that time and 30 s more.
        """
        self._control.settimeout(timeout_s + REPLY_MARGIN_S)
        self._answer_due = True
        try:
            send_message(self._control, message)
            reply = receive_message(self._control)
        except OSError as error:
            raise LoadError(self._describe(f"does not answer ({error})")) from error
        self._answer_due = False
        if reply is None:
            raise LoadError(self._describe("ended"))
        if reply.get("cell"):
            raise CellError(reply["error"])
        if "error" in reply:
            raise LoadError(self._describe(f"failed: {reply['error']}"))
        return reply

    def _describe(self, what: str) -> str:
        # What it has to say of its end may come a moment after its socket is closed.
        deadline = time.monotonic() + LAST_WORDS_S
        while self._process.returncode is None and self._running() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        tail = self._log.read_text(errors="replace").splitlines()[-8:] if self._log.exists() else []
        said = (f"its last lines ({self._log}):", *tail) if tail else ("it had written nothing",)
        return "\n".join((f"the load process {what}; what was measured is kept.", *said))
