"""The container engine that tests use: whether there is one, what is on it, a way to it that can be cut."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import docker
import pytest

from gatebench.runners.docker.engine import Engine, EngineAbsentError
from gatebench.runners.docker.services import OWNER_LABEL
from gatebench.words.paths import HOST
from tests.support.lab import Command, Ended, wait_until

UNIX = "unix://"
DEAD = f"tcp://{HOST}:1"
"""An address at which no engine answers."""
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Found:
    """What the tests know of the engine.

    Attributes:
        absent: why none can be used; empty where one can.
        elsewhere: why nothing can be put between the lab and its socket; empty where that can be done.
        socket: the path of its socket on this machine.
    """

    absent: str = ""
    elsewhere: str = ""
    socket: str = ""


@functools.cache
def engine_found() -> Found:
    """Looks for the engine, once and only when a test needs it: collecting tests asks nobody."""
    try:
        engine = Engine.connect()
    except EngineAbsentError as error:
        return Found(absent=str(error), elsewhere=str(error))
    with contextlib.closing(engine):
        local = engine.is_local and engine.address.startswith(UNIX)
        elsewhere = "" if local else "the engine is not on this machine"
        return Found(elsewhere=elsewhere, socket=engine.address.removeprefix(UNIX))


def leave_no_engine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Makes this process, and what it starts, look for its engine at `DEAD` alone."""
    monkeypatch.setenv("DOCKER_CONFIG", str(folder / "docker"))
    monkeypatch.setenv("DOCKER_HOST", DEAD)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)


def _can_unshare() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(
    not _can_unshare(), reason="a process namespace takes root and `unshare`"
)


@contextlib.contextmanager
def client() -> Iterator[docker.DockerClient]:
    """A connection to the engine, by its socket."""
    found = docker.DockerClient(base_url=f"{UNIX}{engine_found().socket}", timeout=60)
    try:
        yield found
    finally:
        found.close()


def labels() -> list[str]:
    """The owner labels of all containers and networks on the engine, one each."""
    labelled = {"label": OWNER_LABEL}
    with client() as engine:
        containers = engine.containers.list(all=True, filters=labelled, ignore_removed=True)
        networks = engine.networks.list(filters=labelled)
    return [
        *(each.labels[OWNER_LABEL] for each in containers),
        *(each.attrs["Labels"][OWNER_LABEL] for each in networks),
    ]


def containers_of(engine: docker.DockerClient, command: Command) -> list[Any]:
    """The containers of a command, stopped ones included."""
    found = engine.containers.list(all=True, filters={"label": OWNER_LABEL}, ignore_removed=True)
    return [each for each in found if f".{command._process.pid}-" in each.labels[OWNER_LABEL]]


def left_by(command: Command) -> list[str]:
    """The labels of what a command has on the engine."""
    return [label for label in labels() if f".{command._process.pid}-" in label]


def ended_without_trace(command: Command) -> Ended:
    """Waits for its end; nothing of it is left on the engine either, soon if not at once."""
    ended = command.end()
    wait_until("no container and no network to be left", lambda: not left_by(command))
    return ended


def run_arguments(
    out: Path,
    *options: str,
    servers: str = "uvicorn waitress",
    profile: str = "smoke",
    budget: str = "6s",
) -> tuple[str, ...]:
    """The arguments of a short run in containers."""
    chosen = ("--servers", servers, "--workloads", "keep-alive", "--profile", profile, "--budget", budget)
    return ("run", "--runner", "docker", *chosen, "--out", str(out), *options)


class Forwarder:
    """A way to the engine that can be cut, as over a network.

    Attributes:
        address: what DOCKER_HOST must say.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.address = f"tcp://{HOST}:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._cut = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a lab comes this way."""
        return {"DOCKER_HOST": self.address}

    def cut(self) -> None:
        """Ends all connections and takes no more, as when the engine stops."""
        with self._lock:
            if self._cut:
                return
            self._cut = True
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (*self._sockets, self._listener):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(engine_found().socket)
            with self._lock:
                self._sockets += [near, far]
                if self._cut:
                    return
                for source, sink in ((near, far), (far, near)):
                    thread = threading.Thread(target=_pump, args=(source, sink))
                    self._threads.append(thread)
                    thread.start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            sink.sendall(data)
    # Either side may end only its half, as an attached input that is closed.
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
