"""What the lab needs from whatever starts servers: processes here, containers elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gatebench.model import Subject

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Budget:
    """What every server gets, the same for all."""

    cores: tuple[int, ...]
    workers: int = 1
    threads: int = 4


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a subject can be started here.

    Attributes:
        reason: empty where it can; else what is missing and the command that mends it.
        packages: versions of what its environment holds.
    """

    reason: str
    packages: Mapping[str, str]


class Instance(Protocol):
    """One running server of one subject."""

    subject: Subject
    host: str
    port: int
    argv: tuple[str, ...]
    log: Path

    def settle(self) -> None:
        """Notes which processes belong to the server now; from here on none of them may end."""

    def fault(self) -> str:
        """Empty while all of the server's processes run; else what ended."""

    def cpu_s(self) -> float:
        """CPU seconds used so far by all of the server's processes.

        Raises:
            ProcessLookupError: one of them is gone.
        """

    def memory_mib(self) -> float:
        """Resident memory of all of the server's processes, shared pages counted once."""

    def open_files(self) -> int | None:
        """How many files the server may have open, None where that cannot be read."""

    def log_tail(self) -> str:
        """The last lines that the server wrote."""

    def begin_stop(self) -> None:
        """Asks the server to end."""

    def finish_stop(self) -> None:
        """Waits until the server has ended, or ends it."""


class Runner(Protocol):
    """Starts servers."""

    name: str

    def prepare(self, subjects: Sequence[Subject]) -> dict[str, Readiness]:
        """Installs what the subjects need; subject ID → readiness."""

    def start(self, subject: Subject, *, log: Path, hash_seed: int, port: int | None = None) -> Instance:
        """Starts a server and returns at once; `port` None takes a fresh one.

        Raises:
            ServerFailure: it could not be started at all.
        """
