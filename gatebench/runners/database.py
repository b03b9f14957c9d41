"""What the lab asks of a PostgreSQL that it has set up for a run, wherever that runs, and how it is set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gatebench.machine.kernel import CoreTime

NAME = USER = "gatebench"
POOL = 8
"""Connections of a shipped application in each worker process (`apps/plain/stored.py`)."""
SPARE_CONNECTIONS = 24
"""Those of the lab, of migrations, and of what PostgreSQL keeps for its superuser."""
LEAST_CONNECTIONS = 100
LAST_LINES = 8

SETTINGS: dict[str, str] = {
    # The database is thrown away with the run, and a disk is not what is measured.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "128MB",
    "min_wal_size": "32MB",
    # One query has one process, so that the time of a query is that of a core.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
"""Settings that differ from PostgreSQL's own, or that matter to a figure."""
SILENT_SETTINGS: dict[str, str] = {
    # Shared memory as files of the cluster, which end with its folder.
    "dynamic_shared_memory_type": "mmap",
    # The log is read for complaints.
    "log_min_messages": "warning",
    "log_line_prefix": "",
    "lc_messages": "C",
    "timezone": "UTC",
}
"""Those that matter to no figure."""

_COMPLAINT = re.compile(r"(?:FATAL|PANIC):\s+(?P<text>.*)")
_NOT_COMPLAINTS = ("terminating connection", "connection to client lost", "the database system is")
"""How connections end when servers do, and what a client hears that asks too early."""
_NEXT_STEPS = (
    (
        "too many clients",
        (
            "the applications' pools together want more connections than the lab has set up "
            f"(max_connections): make them smaller ({POOL} in each worker process), or measure fewer "
            "servers at once (--exclusive)"
        ),
    ),
    (
        "no space left on device",
        "the disk of the folder for temporary files is full: free some space, or name another one in TMPDIR",
    ),
    (
        "permission denied",
        (
            "PostgreSQL does not run as root, and the user it runs as has to be able to enter the folder for "
            "temporary files (TMPDIR) and those above it"
        ),
    ),
    ("could not bind", "another program has its port: start the run again"),
    (
        "could not map anonymous shared memory",
        "there is too little memory for its buffers: free some",
    ),
)


class Database(Protocol):
    """A PostgreSQL of the run's own.

    Attributes:
        url: for the servers, with its password.
        cores: those that it runs on.
    """

    url: str
    cores: Sequence[int]

    def fault(self) -> str:
        """Empty while it runs; else why not, with its last lines."""

    def cpu_s(self) -> float | None:
        """CPU seconds that all of its processes have used, those that have ended included."""

    def core(self) -> CoreTime | None:
        """How long its cores have run anything; None where they are another machine's, or cannot be read."""

    def complaints(self) -> tuple[str, ...]:
        """Why it refused connections or ended since the last look, each once, with what helps."""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What `run.json` says of it.

    Attributes:
        version: such as `15.18`.
        max_connections: how many it accepts.
        cores: their numbers.
        pool, settings: those of this module.
    """

    version: str
    max_connections: int
    cores: tuple[int, ...]
    pool: int = POOL
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)


def max_connections(subjects: int, workers: int) -> int:
    """Enough for a pool in each worker process of so many servers that are up at once."""
    return max(LEAST_CONNECTIONS, subjects * workers * POOL + SPARE_CONNECTIONS)


def complaints_in(text: str) -> tuple[str, ...]:
    """The refusals in a part of its log, each once, with the next step where the cause is known."""
    found = (match["text"].strip() for match in _COMPLAINT.finditer(text))
    told = dict.fromkeys(each for each in found if not each.startswith(_NOT_COMPLAINTS))
    return tuple(f"{each}{_step(each)}" for each in told)


def explain(output: str) -> str:
    """The next step where the cause is a known one, and the last lines of what was printed, each once."""
    lines = list(dict.fromkeys(line for line in output.splitlines() if line.strip()))[-LAST_LINES:]
    step = next((text for sign, text in _NEXT_STEPS if sign in output.lower()), "")
    return "\n".join(filter(None, (step, *lines)))


def _step(complaint: str) -> str:
    step = next((text for sign, text in _NEXT_STEPS if sign in complaint.lower()), "")
    return f": {step}" if step else ""
