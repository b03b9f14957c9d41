"""Watches the containers of a run while they run, from outside, and can do something to one of them."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker
import docker.errors
import psutil
from docker.models.containers import Container

from gatebench.machine import cgroup
from gatebench.runners.docker.engine import SERVICE_LABEL
from gatebench.runners.docker.services import OWNER_LABEL
from tests.support.lab import Command, Ended

CGROUPS = Path("/sys/fs/cgroup")
NUMBER_LABEL = "com.docker.compose.container-number"
"""Which Compose gives to a service's containers. Its other labels are also on images that it built."""
LOOK_S = 0.05
BUILD_PATIENCE_S = 1200.0
"""For a run that must build every image first."""
RIGHTS = ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")


@dataclass
class Seen:
    """One container, as it was while it ran.

    Attributes:
        attributes: what the engine told of it.
        rights: of all of its processes, the lines of /proc/PID/status that say what they may do.
        listening: addresses at which its processes listened.
        internal: those of its networks that have no way out.
    """

    service: str
    label: str
    attributes: Mapping[str, Any]
    rights: set[tuple[str, ...]] = field(default_factory=set)
    listening: set[str] = field(default_factory=set)
    internal: set[str] = field(default_factory=set)

    @property
    def host_config(self) -> Mapping[str, Any]:
        """How it was asked for."""
        found: Mapping[str, Any] = self.attributes["HostConfig"]
        return found

    def look(self, container_id: str) -> None:
        """Looks at its processes."""
        group = cgroup.find(container_id, CGROUPS)
        if group is None:
            return
        try:
            processes = (group.cpuacct / "cgroup.procs").read_text().split()
        except OSError:
            return  # it has just ended
        for process in map(int, processes):
            try:
                self._look_at(process)
            except (OSError, psutil.Error):
                continue  # it has just ended

    def _look_at(self, process: int) -> None:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        if status["Name"].strip().startswith("runc"):
            return  # what becomes the container's first process, when it has given up its rights
        self.rights.add(tuple(" ".join(status[name].split()) for name in RIGHTS))
        for connection in psutil.Process(process).net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                self.listening.add(connection.laddr.ip)


class Witness:
    """Looks at every container of the lab's label until it is told to stop.

    Args:
        on_sight: service → what to do to its container as soon as it is seen running.
    """

    def __init__(self, on_sight: Mapping[str, Callable[[Container], object]] | None = None) -> None:
        self._on_sight = on_sight or {}
        self._seen: dict[str, Seen] = {}
        self._client = docker.from_env()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._client.close()

    def of(self, label: str) -> list[Seen]:
        """The containers with that label that belong to a service."""
        return [each for each in self._seen.values() if each.label == label and each.service]

    def remove(self, service: str) -> None:
        """Removes a service's container, running as it is."""
        (container,) = self._client.containers.list(
            filters={"label": f"{SERVICE_LABEL}={service}"}, ignore_removed=True
        )
        container.remove(force=True)

    def _look(self) -> None:
        while not self._end.wait(LOOK_S):
            try:
                running = self._client.containers.list(
                    filters={"label": OWNER_LABEL, "status": "running"}, ignore_removed=True
                )
            except docker.errors.APIError:
                continue  # one of them was removed while it was asked for
            for container in running:
                self._meet(container)

    def _meet(self, container: Container) -> None:
        found = self._seen.get(str(container.id))
        if found is None:
            labels = container.labels
            service = labels[SERVICE_LABEL] if NUMBER_LABEL in labels else ""
            found = Seen(service, labels[OWNER_LABEL], container.attrs)
            self._seen[str(container.id)] = found
            for network in self._client.networks.list(
                names=list(container.attrs["NetworkSettings"]["Networks"])
            ):
                if network.attrs["Internal"]:
                    found.internal.add(str(network.name))
            if found.service in self._on_sight:
                self._on_sight[found.service](container)
        found.look(str(container.id))


def label_of(run: Path) -> str:
    """The label of a run's containers, from a Compose file that it keeps."""
    text = (run / "logs" / "compose-load.yml").read_text()
    found = re.search(rf'labels: {{{OWNER_LABEL}: "?([^"}}]+)"?}}', text)
    assert found, text
    return found[1]


def left_over(label: str) -> list[str]:
    """Containers and networks of a run, by name; none is what a run has to leave."""
    client = docker.from_env()
    labelled = {"label": f"{OWNER_LABEL}={label}"}
    containers = client.containers.list(all=True, filters=labelled, ignore_removed=True)
    names = [str(each.name) for each in (*containers, *client.networks.list(filters=labelled))]
    client.close()
    return names


@contextmanager
def commanded(folder: Path, *arguments: str) -> Iterator[Command]:
    """A command that is ended with the block, if it still runs then."""
    command = Command(folder, *arguments)
    try:
        yield command
    finally:
        if command.running:
            command.send(signal.SIGTERM)
            command.end()


def await_words(command: Command, words: str) -> None:
    """Waits until a command, which may have to build everything first, has said these words."""
    _wait(lambda: words in command.said or not command.running)
    assert words in command.said, command.said


def end_of(command: Command) -> Ended:
    """How a command ended, which may have had to build everything first."""
    _wait(lambda: not command.running)
    return command.end()


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BUILD_PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def remove_images(*servers: str) -> None:
    """Removes every image of these servers of the tests."""
    client = docker.from_env()
    for server in servers:
        for image in client.images.list(name=f"gatebench/{server}"):
            client.images.remove(image.id, force=True)
    client.close()
