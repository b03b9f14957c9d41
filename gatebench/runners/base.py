"""What the lab needs from whatever starts servers: processes here, containers elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gatebench.machine.kernel import CoreTime
from gatebench.machine.processes import Composition
from gatebench.results.surroundings import ImageMeta
from gatebench.words.errors import ServerFailure
from gatebench.words.model import Subject


@dataclass(frozen=True, slots=True)
class Launch:
    """A server that is to be started.

    Attributes:
        log: file for its output.
        hash_seed: its PYTHONHASHSEED.
    """

    subject: Subject
    log: Path
    hash_seed: int


@dataclass(frozen=True, slots=True)
class Around:
    """What of a server's surroundings is read together with the server.

    Attributes:
        measured: cores of server and engine, from which a hypervisor might steal.
        server: the servers' cores.
        neighbours: the other servers that are up on these.
    """

    measured: Sequence[int] = ()
    server: Sequence[int] = ()
    neighbours: Sequence[Instance] = ()


@dataclass(frozen=True, slots=True)
class Counters:
    """What has been counted since a start that does not matter; None where it cannot be read.

    Attributes:
        cpu_s: CPU seconds of the server.
        throttled_s: seconds for which a quota kept the server from its CPU.
        listen_drops: connection attempts that full listen queues dropped.
        steal_s: seconds that a hypervisor took from the measured cores.
        core: how long tasks have run on the servers' cores.
        neighbours_s: ID of another server's subject → CPU seconds of that server, where they can be read.
        children_s: CPU seconds of the server's processes that have ended, where `cpu_s` is without them.
        database_s: CPU seconds of the database that its application needs.
        database_core: how long tasks have run on the cores of that database.
    """

    cpu_s: float | None = None
    throttled_s: float | None = None
    listen_drops: int | None = None
    steal_s: float | None = None
    core: CoreTime | None = None
    neighbours_s: Mapping[str, float] = field(default_factory=dict)
    children_s: float = 0.0
    database_s: float | None = None
    database_core: CoreTime | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one server in MiB; None where it cannot be read.

    Attributes:
        used_mib: its anonymous memory now, which it shares with no other server and with no cached file.
        peak_mib: the most that its container has had, cached files included.
    """

    used_mib: float | None = None
    peak_mib: float | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a subject can be started here.

    Attributes:
        reason: empty where it can; else what is missing and the command that mends it.
        packages: versions of what its environment holds.
        image: facts of the container image that it runs in, for `run.json`; None for a process.
    """

    reason: str
    packages: Mapping[str, str]
    image: ImageMeta | None = None


class Instance(Protocol):
    """One running server of one subject."""

    subject: Subject
    host: str
    port: int
    workers: int
    argv: tuple[str, ...]
    log: Path

    def settle(self) -> None:
        """Notes which processes belong to the server now; from here on none of them may end."""

    def fault(self, *, closely: bool = False) -> str:
        """Empty while all of the server's processes run; else what ended.

        Args:
            closely: however long that takes; else it may miss a process that was replaced at once.
        """

    def database_fault(self) -> str:
        """Empty while the database that its application needs runs, or where it needs none."""

    def complaints(self) -> tuple[str, ...]:
        """Why that database refused connections since anybody's last look, each once, with what helps."""

    def counters(self, around: Around) -> Counters:
        """The counters of the server and of what is around it, now."""

    def processes(self) -> tuple[int, ...]:
        """IDs of its processes on this machine; none where they have others here, as in a container."""

    def composition(self) -> Composition:
        """Its processes and threads now, and which compiled libraries they have mapped."""

    def memory(self) -> Memory:
        """What the server holds now."""

    def port_use(self) -> float | None:
        """Share of the load generator's local ports that connections to the server occupy."""

    def open_files(self) -> int | None:
        """How many files the server may have open, None where that cannot be read."""

    def log_tail(self) -> str:
        """The last lines that the server wrote."""

    def facts(self) -> Mapping[str, str | int | float | bool | None]:
        """What was told of it at its end, for the run's events; nothing of a process."""


class Runner(Protocol):
    """Starts servers and ends them."""

    def start(self, launches: Sequence[Launch]) -> list[Instance | ServerFailure]:
        """Starts servers, each on a fresh port, and returns at once: for each the server, or why not.

        Several may start on all of the machine's cores, each on as many as it will have; see `place`.
        """

    def place(self, instances: Sequence[Instance]) -> list[tuple[Instance, ServerFailure]]:
        """Puts servers that were started side by side on the servers' cores, where the load is to meet them.

        Returns:
            Those of which that is not certain, and why.
        """

    def stop(self, instances: Sequence[Instance]) -> None:
        """Ends servers and waits until they have ended, by force where they do not obey."""


def start_one(runner: Runner, launch: Launch) -> Instance:
    """Starts one server.

    Raises:
        ServerFailure: it could not be started.
    """
    (started,) = runner.start([launch])
    if isinstance(started, ServerFailure):
        raise started
    return started
