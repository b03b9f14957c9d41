"""What every server gets, as asked for on the command line: cores, worker processes, threads."""

from __future__ import annotations

from dataclasses import dataclass

from gatebench.errors import ConfigurationError
from gatebench.runner import Budget

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
            f"--workers: {workers} worker processes on {cores} core(s); over {MOST_WORKERS_A_CORE} a core "
            f"({most} here) only take turns, and the figures are then the scheduler's"
        )
    if problems:
        raise ConfigurationError(problems)
    return ServerOptions(cores, workers or cores, threads or DEFAULT.threads)
