"""What a run stands on: where its servers and its load run, and what it measures with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gatebench.contract.rules import Contract
from gatebench.contract.site import Site
from gatebench.load.process import LoadProcess
from gatebench.machine.cores import Cores
from gatebench.machine.processes import Owner
from gatebench.runners.base import Readiness, Runner
from gatebench.words.model import Subject
from gatebench.words.options import Budget, LoadOptions
from loadtests.engine.protocol import Target


@dataclass(frozen=True, slots=True)
class Ground:
    """What is up while a run measures."""

    runner: Runner
    site: Site
    load: LoadProcess


class Backend(Protocol):
    """Processes of this machine, or containers of an engine."""

    @property
    def name(self) -> str:
        """`process` or `docker`."""

    @property
    def cores(self) -> Cores:
        """The cores of the servers' machine, divided; of containers known once they are prepared."""

    @property
    def budget(self) -> Budget:
        """What every server gets; of containers known once they are prepared."""

    def prepare(self, subjects: Sequence[Subject]) -> dict[str, Readiness]:
        """Installs or builds what the subjects need; subject ID → readiness."""

    def open(self, logs: Path, options: LoadOptions) -> AbstractContextManager[Ground]:
        """Starts the load process; what it started ends with the block.

        Args:
            logs: folder for what is printed.
            options: where the load comes from.
        """

    def responders(self, logs: Path) -> AbstractContextManager[Callable[[Target], Responder]]:
        """Runs null responders; the answer tells which of them answers a target. They end with the block."""

    def responder_for(self, target: Target) -> Subject:
        """The null responder that answers a target, as a subject that the runner starts, once prepared."""

    def describe(self) -> Mapping[str, Any]:
        """What `run.json` says of it, over what it says of every run."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What every backend is made from.

    Attributes:
        owner: the lab whose mark everything carries.
        scratch: folder for what is not kept; its owner removes it.
        report: called with a line of progress.
    """

    owner: Owner
    scratch: Path
    report: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Means:
    """What a run measures with.

    Attributes:
        open_files: how many files an engine may have open, None where that is not known.
    """

    runner: Runner
    site: Site
    load: LoadProcess
    contract: Contract
    cores: Cores
    open_files: int | None = None


class Responder(Protocol):
    """A null responder that is up.

    Attributes:
        name: what it is, for a person.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - described by the class
    @property
    def host(self) -> str: ...  # noqa: D102 - where it listens
    @property
    def port(self) -> int: ...  # noqa: D102 - where it listens

    def cpu_s(self) -> float | None:
        """CPU seconds that it has used, None where that cannot be read.

        Raises:
            GatebenchError: it has ended; with its last lines.
        """
