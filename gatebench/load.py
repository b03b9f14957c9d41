"""The lab's handle on its load process (Locust and its engine)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gatebench.cores import Cores
from gatebench.errors import GatebenchError
from gatebench.processes import OWNER_VARIABLE, Owner
from loadtests.engine.messages import Message, receive_message, send_message
from loadtests.engine.tally import SliceResult
from loadtests.engine.target import Target

REPLY_MARGIN_S = 30.0
GRACE_S = 5.0


class LoadError(GatebenchError):
    """The load process ended or does not answer; the run cannot go on."""


class LoadProcess:
    """Locust in a process of its own, which holds the connections and drives them when told to.

    Args:
        cores: where the lab and the engine may run.
        owner: the lab whose mark the process carries.
        log: file for what it prints.
    """

    def __init__(self, *, cores: Cores, owner: Owner, log: Path) -> None:
        self._log = log
        ours, theirs = socket.socketpair()
        self._control = ours
        command = [sys.executable, "-m", "loadtests.lab", "--fd", str(theirs.fileno())]
        command += ["--engine-cpu", str(cores.engine[0])]
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env={**os.environ, OWNER_VARIABLE: str(owner)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
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
        """The load process's ID; its engine is a child of it."""
        return self._process.pid

    def hello(self) -> Message:
        """Waits until the process is up; returns its versions."""
        return self._call({"op": "hello"})

    def spawn(self, cells: Sequence[tuple[str, Target, int]]) -> None:
        """Has Locust start the users of these cells: (cell, target, connections) each."""
        listed = [
            {"cell": cell, "target": target.to_json(), "connections": connections}
            for cell, target, connections in cells
        ]
        self._call({"op": "spawn", "cells": listed})

    def prepare(self, cell: str) -> None:
        """Untimed: reconnects what the server closed while the cell was idle."""
        self._call({"op": "prepare", "cell": cell}, timeout_s=60.0)

    def run_slice(self, cell: str, window_s: float) -> SliceResult:
        """Drives the cell's connections for `window_s` seconds and drains them."""
        reply = self._call({"op": "slice", "cell": cell, "window_s": window_s}, timeout_s=window_s)
        return SliceResult.from_json(reply["result"])

    def stop(self) -> None:
        """Has Locust stop all users; every connection is closed."""
        self._call({"op": "stop"})

    def close(self) -> None:
        """Ends the process and its engine."""
        self._control.close()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _call(self, message: Message, timeout_s: float = 0.0) -> dict[str, Any]:
        self._control.settimeout(timeout_s + REPLY_MARGIN_S)
        try:
            send_message(self._control, message)
            reply = receive_message(self._control)
        except OSError as error:
            raise LoadError(self._describe(f"does not answer ({error})")) from error
        if reply is None:
            raise LoadError(self._describe("ended"))
        if "error" in reply:
            raise LoadError(self._describe(f"failed: {reply['error']}"))
        return reply

    def _describe(self, what: str) -> str:
        tail = self._log.read_text(errors="replace").splitlines()[-8:] if self._log.exists() else []
        said = (f"its last lines ({self._log}):", *tail) if tail else ("it had written nothing",)
        return "\n".join((f"the load process {what}; what was measured is kept, start again.", *said))
