"""One server that runs as a local process: what is read of it, and how it ends with all of its children."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gatebench.machine.kernel import core_time, listen_drops, open_file_limit, port_use, steal_s
from gatebench.machine.processes import (
    Composition,
    anonymous_mib,
    composition,
    cpu_s,
    ended_children_s,
    kill,
    move,
    signal_number,
    tree,
)
from gatebench.runners.base import Around, Counters, Memory
from gatebench.runners.database import Database
from gatebench.words.errors import ServerFailure
from gatebench.words.footing import SHARED_OBJECTS
from gatebench.words.model import Subject
from gatebench.words.paths import HOST

STOP_GRACE_S = 3.0
LOG_TAIL_LINES = 12


class ProcessInstance:
    """One server process with its children."""

    def __init__(
        self,
        subject: Subject,
        *,
        port: int,
        workers: int,
        argv: tuple[str, ...],
        log: Path,
        process: subprocess.Popen[bytes],
        cores: Sequence[int],
        database: Database | None = None,
    ) -> None:
        self.subject = subject
        self._database = database
        self.host = HOST
        self.port = port
        self.workers = workers
        self.argv = argv
        self.log = log
        self._process = process
        self._cores = cores
        self._pids: tuple[int, ...] = (process.pid,)

    def settle(self) -> None:
        """Notes which processes belong to the server now; from here on none of them may end."""
        self._pids = tree(self._process.pid) or self._pids

    def fault(self, *, closely: bool = False) -> str:  # noqa: ARG002 - a look at processes is always close
        """Empty while all of the server's processes run; else what ended."""
        status = self._process.poll()
        if status is not None:
            how = (
                f"was ended by {signal.Signals(-status).name}"
                if status < 0
                else f"exited with status {status}"
            )
            return f"the server {how}"
        try:
            cpu_s(self._pids)
        except ProcessLookupError as error:
            return f"a worker of the server ended: process {error.errno}"
        return ""

    def database_fault(self) -> str:
        """Empty while the database that its application needs runs, or where it needs none."""
        return "" if self._database is None else self._database.fault()

    def complaints(self) -> tuple[str, ...]:
        """Why that database refused connections since anybody's last look."""
        return () if self._database is None else self._database.complaints()

    def counters(self, around: Around) -> Counters:
        """The counters of the server's processes and of what is around them on this machine, now."""
        neighbours = {each.subject.id: _cpu_s(each.processes()) for each in around.neighbours}
        return Counters(
            _cpu_s(self._pids),
            None,
            listen_drops(),
            steal_s(around.measured),
            core_time(around.server),
            {subject: used_s for subject, used_s in neighbours.items() if used_s is not None},
            ended_children_s(self._pids),
            None if self._database is None else self._database.cpu_s(),
            None if self._database is None else self._database.core(),
        )

    def processes(self) -> tuple[int, ...]:
        """IDs of the server's processes."""
        return self._pids

    def composition(self) -> Composition:
        """The server's processes and threads now, also those that it has started since it settled."""
        return composition(tree(self._process.pid), SHARED_OBJECTS)

    def memory(self) -> Memory:
        """Anonymous memory of all of the server's processes."""
        return Memory(anonymous_mib(self._pids))

    def port_use(self) -> float | None:
        """Share of the local ports that connections to the server occupy."""
        return port_use(self.port)

    def open_files(self) -> int | None:
        """How many files the server may have open, None where that cannot be read."""
        limits = [limit for pid in self._pids if (limit := open_file_limit(pid)) is not None]
        return min(limits, default=None)

    def log_tail(self) -> str:
        """The last lines that the server wrote."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def facts(self) -> Mapping[str, str | int | float | bool | None]:
        """Nothing: what a process used is known while it runs."""
        return {}

    def place(self, cores: Sequence[int]) -> None:
        """Puts all of the server's threads on these cores, as many as it was started on.

        Raises:
            ServerFailure: that cannot be done.
        """
        if {*cores} == {*self._cores}:
            return
        try:
            move(self._process.pid, self._cores, cores)
        except OSError as error:
            why = error.strerror or str(error)
            raise ServerFailure("start", f"it cannot be put on the servers' cores: {why}") from error
        self._cores = cores

    def begin_stop(self) -> None:
        """Asks the server to end."""
        self._pids = tuple({*self._pids, *tree(self._process.pid)})
        if self._process.poll() is None:
            self._process.send_signal(signal_number(self.subject.variant.stop))

    def finish_stop(self, within_s: float | None = None) -> None:
        """Waits until the server has ended, or then ends it with everything in its process group."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_GRACE_S if within_s is None else within_s)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        kill(pid for pid in self._pids if pid != self._process.pid)


def _cpu_s(pids: Sequence[int]) -> float | None:
    """CPU seconds that these processes have used; None where one of them has ended."""
    try:
        return cpu_s(pids)
    except ProcessLookupError:
        return None
