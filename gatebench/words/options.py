"""What a run is asked to do: what servers get, where the load comes from, what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Subject, Workload
from gatebench.words.plan import Profile
from gatebench.words.precision import Precision
from gatebench.words.text import counted


@dataclass(frozen=True, slots=True)
class Budget:
    """What every server gets, the same for all."""

    cores: tuple[int, ...]
    workers: int = 1
    threads: int = 4


MOST_WORKERS_A_CORE = 4
"""Server documentation asks for two to four processes a core; more only take turns, and take memory."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The same for every server.

    Attributes:
        cores: how many each server may use; all have the same ones.
        workers: worker processes, what `{workers}` stands for.
        threads: what `{threads}` stands for.
    """

    cores: int = 1
    workers: int = 1
    threads: int = Budget(()).threads

    def budget(self, cores: tuple[int, ...]) -> Budget:
        """What a runner gives, once it is known which cores."""
        return Budget(cores, self.workers, self.threads)


DEFAULT = ServerOptions()


def choose_server_options(
    cores: int = 1, workers: int | None = None, threads: int | None = None
) -> ServerOptions:
    """What every server gets; as many worker processes as cores where nobody says.

    Raises:
        ConfigurationError: with every number that cannot be.
    """
    asked = {"--server-cores": cores, "--workers": workers, "--threads": threads}
    problems = [
        f"{name}: {number} is under 1" for name, number in asked.items() if number is not None and number < 1
    ]
    most = MOST_WORKERS_A_CORE * cores
    if cores >= 1 and workers is not None and workers > most:
        problems.append(
            f"--workers: {workers} worker processes on {counted(cores, 'core')}; over {MOST_WORKERS_A_CORE} "
            f"a core ({most} here) only take turns, and the figures are then the scheduler's"
        )
    if problems:
        raise ConfigurationError(problems)
    return ServerOptions(cores, workers or cores, threads or DEFAULT.threads)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Where the load comes from.

    Attributes:
        engines: engine processes on this machine, a core each; None for what the cores allow.
        workers: Locust workers; 0 for none, which is the load process alone.
        bind: address at which external workers join; empty where the workers are started here.
    """

    engines: int | None = None
    workers: int = 0
    bind: str = ""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a person asked for, names already resolved.

    Attributes:
        references: workload → the subject that the rates of its ladder refer to.
        servers: what every server gets.
        claims: files with claims of the user's own.
        precision: at which the run may end before its budget is used up; None for none.
    """

    subjects: tuple[Subject, ...]
    workloads: tuple[Workload, ...]
    profile: Profile
    seed: int
    out: Path
    exclusive: bool
    command: str
    runner_reason: str
    references: Mapping[str, Subject] = field(default_factory=dict)
    load: LoadOptions = LoadOptions()
    servers: ServerOptions = DEFAULT
    claims: tuple[Path, ...] = ()
    precision: Precision | None = None
