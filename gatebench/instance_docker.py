"""One server in its container, as the engine and the agent tell of it."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from docker.models.containers import Container

from gatebench.cgroup import usage_of
from gatebench.compose import service_name
from gatebench.compose_file import memory_limit_mib
from gatebench.engine import EngineRefusedError, engine_errors
from gatebench.runner import Around, Budget, Counters, Launch, Memory
from gatebench.site_container import ContainerSite

LOG_TAIL_LINES = 12
STATUS_MEANINGS = {126: "a command cannot be executed", 127: "a command was not found"}
SIGNALLED = 128
"""Over it, a status tells the number of the signal that ended the process."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Containers that were started together: a Compose project of their own.

    Attributes:
        file: its Compose file, kept with the run's logs.
    """

    project: str
    file: Path


class DockerInstance:
    """One server in its container."""

    def __init__(
        self,
        launch: Launch,
        container: Container,
        batch: Batch,
        site: ContainerSite,
        *,
        address: tuple[str, int],
        budget: Budget,
        on_loopback: bool,
        open_files: int | None,
    ) -> None:
        self.subject = launch.subject
        self.log = launch.log
        self.host, self.port = address
        self.workers = budget.workers
        self.argv = tuple(container.attrs["Config"]["Cmd"])
        self.container = container
        self.batch = batch
        self._site = site
        self._killed_for_memory = (
            "the kernel killed a process of the container, which had reached its limit of "
            f"{memory_limit_mib(budget)} MiB of memory"
        )
        self._on_loopback = on_loopback
        self._open_files = open_files
        self._processes: frozenset[str] = frozenset()
        self._started_at = ""
        self._missing = ""
        self._facts: dict[str, str | int | float | bool | None] = {}

    @property
    def service(self) -> str:
        """The name of its service in its project."""
        return service_name(self.subject.id)

    def settle(self) -> None:
        """Notes which processes belong to the server now; from here on none of them may end."""
        with suppress(EngineRefusedError), engine_errors():  # whether it was removed, `fault` tells
            self.container.reload()
        self._started_at = str(self.container.attrs["State"]["StartedAt"])
        self._processes = self._running_processes()
        self._missing = ""

    def fault(self, *, closely: bool = False) -> str:
        """Empty while all of the server's processes run; else what ended.

        Args:
            closely: also looks for single processes that ended and were replaced.
        """
        if told := self._told_by_engine() or self._missing:
            return told
        if closely and (gone := self._processes - self._running_processes()):
            return f"a worker of the server ended: process {', '.join(sorted(gone))}"
        return ""

    def _told_by_engine(self) -> str:
        try:
            with engine_errors():
                self.container.reload()
        except EngineRefusedError:
            return "the container was removed"
        state = self.container.attrs["State"]
        if state.get("OOMKilled"):
            return self._killed_for_memory
        if not state["Running"]:
            return f"the container exited with status {described_status(int(state['ExitCode']))}"
        if self._started_at and state["StartedAt"] != self._started_at:
            return "the container was started anew"
        return ""

    def counters(self, around: Around) -> Counters:
        """The counters of the server's container and of what is around it on its machine, now."""
        neighbours = {
            str(each.container.id): each.subject.id
            for each in around.neighbours
            if isinstance(each, DockerInstance)
        }
        seen = self._site.see(str(self.container.id), around.measured, around.server, list(neighbours))
        usage = seen.usage
        if usage.oom_kills:
            self._missing = self._killed_for_memory
        elif usage.processes is not None and usage.processes < len(self._processes):
            left = f"{usage.processes} of {len(self._processes)} processes are left"
            self._missing = f"a worker of the server ended: {left}"
        return Counters(
            usage.cpu_s,
            usage.throttled_s,
            # On a bridge the server has a listen queue in a network namespace that the agent is not in.
            seen.listen_drops if self._on_loopback else None,
            seen.steal_s,
            seen.core,
            {neighbours[container]: used_s for container, used_s in seen.used_s.items()},
        )

    def processes(self) -> tuple[int, ...]:
        """None: they are of another namespace, perhaps of another machine."""
        return ()

    def memory(self) -> Memory:
        """Anonymous memory of the server's container, and the most it has had."""
        usage = self._site.see(str(self.container.id)).usage
        return Memory(usage.anonymous_mib, usage.peak_mib)

    def port_use(self) -> float | None:
        """Share of the load generator's local ports that connections to the server occupy."""
        return self._site.port_use(self.host, self.port) if self._on_loopback else None

    def open_files(self) -> int | None:
        """How many files the server may have open, None where that is not known."""
        return self._open_files

    def log_tail(self) -> str:
        """The last lines that the server wrote."""
        output = b""
        with suppress(EngineRefusedError), engine_errors():  # a container that was removed took its log along
            output = self.container.logs(tail=LOG_TAIL_LINES)
        return output.decode(errors="replace").rstrip("\n")

    def facts(self) -> Mapping[str, str | int | float | bool | None]:
        """What the engine told of the container at its end; nothing before."""
        return self._facts

    def note_use(self) -> None:
        """Asks the engine for what the container used; while it runs, for that is forgotten with it."""
        with suppress(EngineRefusedError), engine_errors():
            self._facts |= asdict(usage_of(self.container.stats(stream=False, one_shot=True)))

    def keep_log(self) -> None:
        """Writes what the server printed to its file, and notes how its container ended."""
        with suppress(EngineRefusedError), engine_errors():
            with self.log.open("ab") as file:
                file.write(self.container.logs())
            self.container.reload()
            state = self.container.attrs["State"]
            self._facts |= {
                "container": str(self.container.id)[:12],
                "image": str(self.container.attrs["Image"]),
                "exit_code": int(state["ExitCode"]),
                "oom_killed": bool(state.get("OOMKilled")),
                "restarts": int(self.container.attrs.get("RestartCount", 0)),
            }

    def _running_processes(self) -> frozenset[str]:
        """The process IDs on the engine's machine; none where the container has ended."""
        try:
            with engine_errors():
                listed = self.container.top(ps_args="-eo pid")
        except EngineRefusedError:
            return frozenset()
        return frozenset(row[0] for row in listed["Processes"])


def described_status(status: int) -> str:
    """A container's exit status, with what it means where that is known: `137 (SIGKILL)`."""
    meaning = STATUS_MEANINGS.get(status, "")
    if status - SIGNALLED in set(signal.Signals):
        meaning = signal.Signals(status - SIGNALLED).name
    return f"{status} ({meaning})" if meaning else str(status)
