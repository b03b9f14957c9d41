"""The agent that runs beside the servers in a container, run here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatebench.load.process import LoadProcess
from gatebench.machine.processes import Owner

AGENT = (sys.executable, "-m", "gatebench.runners.docker.agent")


@contextmanager
def running_agent(folder: Path) -> Iterator[LoadProcess]:
    """The agent as it runs in the container; without the control groups that are mounted there."""
    with LoadProcess(AGENT, owner=Owner.this(), log=folder / "agent.log", through_output=True) as process:
        yield process
