"""What a run stands on: where its servers, its load and its null responder run, and how it gets there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from gatebench.calibrate import Responder, null_responder
from gatebench.contract import Contract, load_contract
from gatebench.cores import Cores
from gatebench.load import LOCUST_PORT, LoadProcess, MasterOptions, local_load
from gatebench.model import Subject
from gatebench.processes import Owner, sweep
from gatebench.runner import HOST, Budget, Readiness, Runner
from gatebench.runner_process import ProcessRunner
from gatebench.selection import CACHE, LoadOptions, RunnerChoice
from gatebench.server_options import DEFAULT as DEFAULT_SERVERS
from gatebench.server_options import ServerOptions
from gatebench.site import LocalSite, Site
from gatebench.watch import watched
from loadtests.engine.target import Target


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


class ProcessBackend:
    """Processes of this machine."""

    name = "process"

    def __init__(
        self,
        cores: Cores,
        circumstances: Circumstances,
        cache: Path = CACHE,
        servers: ServerOptions = DEFAULT_SERVERS,
    ) -> None:
        self.cores = cores
        self.budget = servers.budget(cores.server)
        self._owner = circumstances.owner
        self._contract: Contract = load_contract()
        self._runner = ProcessRunner(
            budget=self.budget,
            owner=circumstances.owner,
            scratch=circumstances.scratch,
            cache=cache,
            report=circumstances.report,
        )

    def prepare(self, subjects: Sequence[Subject]) -> dict[str, Readiness]:
        """Installs what the subjects need; subject ID → readiness."""
        return self._runner.prepare(subjects)

    @contextmanager
    def open(self, logs: Path, options: LoadOptions) -> Iterator[Ground]:
        """Starts the load process."""
        master = MasterOptions(
            options.workers,
            options.bind or HOST,
            port=LOCUST_PORT if options.bind else 0,
            external=bool(options.bind),
        )
        with local_load(cores=self.cores, owner=self._owner, log=logs / "load.log", options=master) as load:
            yield Ground(self._runner, LocalSite(self._contract), load)

    @contextmanager
    def responders(self, logs: Path) -> Iterator[Callable[[Target], Responder]]:
        """Runs the null responder on the first of the servers' cores: it has one loop, as the engine has."""
        with null_responder(core=self.cores.server[0], owner=self._owner, log=logs / "null.log") as responder:
            yield lambda _: responder

    def describe(self) -> Mapping[str, Any]:
        """Nothing more: what a run says of its machine is of this one."""
        return {}


@contextmanager
def command_backend(
    make: Callable[[Circumstances], Backend], console: Console, choice: RunnerChoice
) -> Iterator[tuple[Backend, Path]]:
    """A backend with its scratch folder, for a command that is no run; all it started ends with it."""
    sweep()
    owner = Owner.this()
    scratch = owner.scratch()
    console.print(choice.reason, soft_wrap=True)
    with watched(owner, containers=choice.engine is not None):
        say = partial(console.print, markup=False, soft_wrap=True)
        yield make(Circumstances(owner, scratch, say)), scratch
