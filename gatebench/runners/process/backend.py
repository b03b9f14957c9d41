"""Processes of this machine: what a run without containers stands on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gatebench.contract.file import load_contract
from gatebench.contract.rules import Contract
from gatebench.contract.site import LocalSite
from gatebench.load.backend import Circumstances, Ground, Responder
from gatebench.load.calibration import null_responder
from gatebench.load.process import LOCUST_PORT, MasterOptions, local_load
from gatebench.load.responders import OWN_COMMAND, responder_subject
from gatebench.machine.cores import Cores, available_cores, memory_nodes, starting_places
from gatebench.results.schema import NULL_RESPONDER
from gatebench.results.surroundings import DatabaseMeta
from gatebench.runners.base import Readiness
from gatebench.runners.process.runner import ProcessRunner
from gatebench.words.model import Subject
from gatebench.words.options import DEFAULT as DEFAULT_SERVERS
from gatebench.words.options import LoadOptions, ServerOptions
from gatebench.words.paths import CACHE, HOST
from loadtests.engine.protocol import Target


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
            places=starting_places(cores, memory_nodes(available_cores())),
            aside=cores.lab,
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

    def responder_for(self, target: Target) -> Subject:  # noqa: ARG002 - it answers all of them
        """The lab's own null responder."""
        return responder_subject(NULL_RESPONDER, (Path(sys.executable).name, *OWN_COMMAND))

    def describe(self) -> Mapping[str, Any]:
        """The database, where there is one; what a run says of its machine is of this one."""
        facts = self._runner.database
        return {} if facts is None else {"database": DatabaseMeta(**asdict(facts))}
