"""Makes a run's report in a process of its own, beside the run: pandas and matplotlib stay out of the lab."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Literal

from gatebench.machine.processes import OWNER_VARIABLE, Owner, memory_mib, peak_memory_mib, tree
from gatebench.results.record import Record

Extent = Literal["all", "leading charts", "figures"]
EXTENTS: dict[Extent, tuple[str, ...]] = {
    "all": (),
    "leading charts": ("--interim",),
    "figures": ("--figures",),
}
"""What makes a report of that extent."""
CHECK_S = 0.05
PROCESSES = 2
"""Each has a picture in memory, and the lab is to stay under 500 MiB. Beside a run it is a single one."""


INTERIM_FROM_S = 30.0
"""Charts of less would not be worth the wait."""
INTERIM_SHARE = 0.025
"""Of a run's time that its blocks may wait for reports."""


def is_due(since_s: float, awaited_s: float) -> bool:
    """Whether a report is made between two blocks.

    Args:
        since_s: how long ago the last one was begun, or the first block.
        awaited_s: how long a block waited for the last one.
    """
    return since_s >= max(INTERIM_FROM_S, awaited_s / INTERIM_SHARE)


class Reporter:
    """Makes one report after the other of what a run has measured so far.

    Args:
        record: the run's.
        owner: the lab whose mark the report's processes carry.
        note: told of a report that could not be made.

    Attributes:
        made: whether the last report that was asked for could be made.
    """

    def __init__(self, record: Record, owner: Owner, note: Callable[[str], None]) -> None:
        self._record = record
        self._owner = owner
        self._note = note
        self._log = record.logs / "report.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.made = True

    def start(self, extent: Extent = "all") -> None:
        """Begins a report when none is being made.

        Args:
            extent: all of it; the leading charts and the page; or the figures alone, without chart and page.
        """
        command = [sys.executable, "-m", "gatebench", "report", str(self._record.folder), "--quiet"]
        command += [*EXTENTS[extent], "--processes", str(PROCESSES if extent == "all" else 1)]
        try:
            with self._log.open("ab") as output:
                self._process = subprocess.Popen(
                    command,
                    env={**os.environ, OWNER_VARIABLE: str(self._owner)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            self.made = False
            self._note(f"no report yet: {error}")

    def wait(self) -> float:
        """Waits until no report is being made.

        Returns:
            The most memory in MiB that the report has had; 0 where none was being made.
        """
        if self._process is None:
            return 0.0
        peak_mib = 0.0
        while self._process.poll() is None:
            peak_mib = max(peak_mib, memory_mib(tree(self._process.pid)), peak_memory_mib(self._process.pid))
            time.sleep(CHECK_S)
        self.made = self._process.returncode == 0
        if not self.made:
            self._note(f"the report could not be made: {self._last_line()} (all of it: {self._log})")
        self._process = None
        return peak_mib

    def _last_line(self) -> str:
        """What the report said last, which is its error; on a full disk it may not have said anything."""
        lines = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
        return next((line for line in reversed(lines) if line.strip()), "it said nothing; is the disk full?")
