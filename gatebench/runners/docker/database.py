"""The database of a run in a container: started before the servers, asked for its time and its faults."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from docker.models.containers import Container

from gatebench.runners.database import NAME, USER, DatabaseFacts, complaints_in, explain
from gatebench.runners.docker.cluster import PASSWORD_VARIABLE, READY
from gatebench.runners.docker.engine import EngineRefusedError, engine_errors
from gatebench.runners.docker.images import Image
from gatebench.runners.docker.services import PIDS, WORK, Service
from gatebench.runners.process.postgres import START_TIMEOUT_S, STEP_TIMEOUT_S, new_password
from gatebench.words.errors import GatebenchError

if TYPE_CHECKING:
    from gatebench.runners.docker.runner import Batch, DockerRunner

SERVICE = "postgres"
MEMORY_MIB = 3072
SCRATCH_MIB = 1024
"""The cluster is some 60 MiB, its log of changes up to 128, and dead rows wait for a vacuum."""
POLL_S = 0.1
STEPS_TIMEOUT_S = STEP_TIMEOUT_S + START_TIMEOUT_S


@dataclass
class ContainerDatabase:
    """A database that runs in a container.

    Attributes:
        url: for the servers, with its password.
        cores: those that it runs on.
        facts: for `run.json`.
        batch: it is in.
    """

    container: Container
    batch: Batch
    url: str
    cores: Sequence[int]
    facts: DatabaseFacts
    read: int = 0

    @property
    def id(self) -> str:
        """Of its container."""
        return str(self.container.id)

    def fault(self) -> str:
        """Empty while it runs; else why not, with its last lines."""
        try:
            with engine_errors():
                self.container.reload()
        except EngineRefusedError:
            return "the database's container was removed"
        state = self.container.attrs["State"]
        if state["Running"]:
            return ""
        how = f"exited with status {state['ExitCode']}"
        return f"the database's container {how}\n{explain(_said(self.container))}"

    def complaints(self) -> tuple[str, ...]:
        """Why it refused connections since the last look, each once, with what helps."""
        said = _said(self.container)
        fresh, self.read = said[self.read :], len(said)
        return complaints_in(fresh)


def start_database(
    runner: DockerRunner, image: Image, *, cores: Sequence[int], connections: int, logs: Path
) -> ContainerDatabase:
    """Starts the database and waits until its tables are filled.

    Raises:
        GatebenchError: it cannot be started, or did not get ready; with its last lines.
    """
    password, (port,) = new_password(), runner.ports(1)
    service = Service(
        name=SERVICE,
        image=image.name,
        command=(
            *("python", "-m", "gatebench.runners.docker.cluster", "--folder", f"{WORK}/postgres"),
            *("--host", runner.listen_host, "--port", str(port), "--connections", str(connections)),
        ),
        # It ends with the run, so that the Compose file that is kept opens nothing.
        environment={PASSWORD_VARIABLE: password},
        cpuset=",".join(map(str, cores)),
        memory_mib=MEMORY_MIB,
        pids=max(PIDS, 2 * connections),
        scratch_mib=SCRATCH_MIB,
    )
    container, batch = runner.run_service(service, logs)
    host, port = runner.address(container, port)
    version = _await_ready(container)
    facts = DatabaseFacts(version, connections, tuple(cores))
    url = f"postgresql://{USER}:{password}@{host}:{port}/{NAME}"
    return ContainerDatabase(container, batch, url, cores, facts)


def _await_ready(container: Container) -> str:
    """Its version, once it is ready."""
    end_s = time.monotonic() + STEPS_TIMEOUT_S
    while time.monotonic() < end_s:
        said = _said(container)
        for line in said.splitlines():
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
        with engine_errors():
            container.reload()
        if not container.attrs["State"]["Running"]:
            break
        time.sleep(POLL_S)
    raise GatebenchError(f"the database did not get ready: {explain(_said(container))}")


def _said(container: Container) -> str:
    """What it has printed; empty once it was removed."""
    output = b""
    with suppress(EngineRefusedError), engine_errors():
        output = container.logs()
    return output.decode(errors="replace")
