"""Every shipped server, installed and started for real, holds the contract and ends when told to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gatebench.contract.file import load_contract
from gatebench.contract.site import LocalSite
from gatebench.machine.cores import available_cores, divide
from gatebench.machine.processes import Owner, marked_processes, tree
from gatebench.registry.registry import open_registry
from gatebench.runners.base import Readiness
from gatebench.runners.process.instance import ProcessInstance
from gatebench.runners.process.runner import ProcessRunner
from gatebench.runners.readiness import hold_all_to_contract
from gatebench.words.errors import ServerFailure
from gatebench.words.model import Subject
from gatebench.words.options import Budget
from gatebench.words.paths import CACHE, HOST
from tests.support.lab import let_others_pass, wait_until

MANY = 20
PLAIN = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
UPGRADE = (
    b"GET /ws/echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SUBJECTS: tuple[Subject, ...] = open_registry().subjects()
each_subject = pytest.mark.parametrize("subject", SUBJECTS, ids=[subject.id for subject in SUBJECTS])


class Shipped:
    """All shipped servers up at once, and what came of holding them to the contract."""

    def __init__(self, folder: Path) -> None:
        self.owner = Owner.this()
        let_others_pass(folder)  # Apache, started by root, serves as another user
        self.runner = ProcessRunner(
            budget=Budget(divide(available_cores()).server),
            owner=self.owner,
            scratch=folder,
            cache=CACHE,
            report=print,
        )
        self.readiness: dict[str, Readiness] = self.runner.prepare(SUBJECTS)
        self.instances: dict[str, ProcessInstance] = {
            subject.id: self.runner.launch(subject, log=folder / f"{subject.id}.log", hash_seed=1)
            for subject in SUBJECTS
            if not self.readiness[subject.id].reason
        }
        found = hold_all_to_contract(
            tuple(self.instances.values()), LocalSite(load_contract()), thorough=True
        )
        self.failures: dict[str, ServerFailure] = {
            instance.subject.id: failure for instance, failure in found
        }


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    servers = Shipped(tmp_path_factory.mktemp("shipped"))
    yield servers
    for instance in servers.instances.values():
        instance.begin_stop()
    for instance in servers.instances.values():
        instance.finish_stop()
    assert servers.owner not in marked_processes().values()


@each_subject
def test_a_shipped_server_holds_the_whole_contract(shipped: Shipped, subject: Subject) -> None:
    if reason := shipped.readiness[subject.id].reason:
        pytest.skip(reason)
    assert shipped.failures.get(subject.id) is None


@each_subject
def test_a_shipped_server_reports_its_version(shipped: Shipped, subject: Subject) -> None:
    if reason := shipped.readiness[subject.id].reason:
        pytest.skip(reason)
    names = {name.lower().replace("-", "_") for name in shipped.readiness[subject.id].packages}
    assert subject.server.name in names


@each_subject
def test_a_shipped_server_writes_no_line_for_a_request_or_a_websocket(
    shipped: Shipped, subject: Subject
) -> None:
    if reason := shipped.readiness[subject.id].reason:
        pytest.skip(reason)
    instance = shipped.instances[subject.id]
    requests = {PLAIN: b""}
    if "websocket" in subject.variant.supports:
        requests[UPGRADE] = bytes([0x88, 0x80, 0, 0, 0, 0])  # a masked close frame: a WebSocket ends with it
    before = instance.log.read_text(errors="replace").count("\n")
    for request, farewell in [*requests.items()] * MANY:
        with socket.create_connection((HOST, instance.port), timeout=10) as connection:
            connection.sendall(request)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 ")
            connection.sendall(farewell)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
    assert instance.log.read_text(errors="replace").count("\n") - before < MANY / 2


@pytest.fixture
def behind_nginx(shipped: Shipped, tmp_path: Path) -> Iterator[tuple[ProcessInstance, list[psutil.Process]]]:
    """A uWSGI of its own behind nginx, and its processes: uWSGI's master, its worker and nginx's two."""
    (subject,) = (each for each in SUBJECTS if each.id == "uwsgi-nginx")
    if reason := shipped.readiness[subject.id].reason:
        pytest.skip(reason)
    instance = shipped.runner.launch(subject, log=tmp_path / "log", hash_seed=1)
    try:
        main = instance._process.pid
        wait_until("both masters with a worker each", lambda: len(nginx_of(main)) == 2)
        instance.settle()
        yield instance, [psutil.Process(pid) for pid in tree(main)]
    finally:
        instance.begin_stop()
        instance.finish_stop()


def nginx_of(main: int) -> list[psutil.Process]:
    """The processes of nginx below a process, the master first."""
    return [each for each in psutil.Process(main).children(recursive=True) if each.name() == "nginx"]


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_uwsgi_that_is_killed_leaves_no_nginx_on_the_port(
    behind_nginx: tuple[ProcessInstance, list[psutil.Process]],
) -> None:
    instance, processes = behind_nginx
    processes[0].kill()
    wait_until("the end of all its processes", lambda: all(map(has_ended, processes)))
    assert instance.fault() == "the server was ended by SIGKILL"


def test_uwsgi_ends_where_its_nginx_does(
    behind_nginx: tuple[ProcessInstance, list[psutil.Process]],
) -> None:
    instance, processes = behind_nginx
    nginx_of(processes[0].pid)[0].kill()
    wait_until("the end of uWSGI", lambda: instance.fault() == "the server exited with status 0")


def test_every_shipped_server_ends_at_its_own_stop_signal(shipped: Shipped) -> None:
    # The last test of this module, because it ends them.
    for instance in shipped.instances.values():
        instance.begin_stop()
    for instance in shipped.instances.values():
        instance.finish_stop()
    endings = {name: instance.fault() for name, instance in shipped.instances.items()}
    assert {name: how for name, how in endings.items() if not how or "SIGKILL" in how} == {}
