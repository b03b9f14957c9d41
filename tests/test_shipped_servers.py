"""Every shipped server, installed and started for real, holds the contract and ends when told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebench.contract import load_contract
from gatebench.cores import available_cores, divide
from gatebench.errors import ServerFailure
from gatebench.holding import hold_all_to_contract
from gatebench.model import Subject
from gatebench.processes import Owner, marked_processes
from gatebench.runner import Budget, Instance, Readiness
from gatebench.runner_process import ProcessRunner
from gatebench.selection import CACHE, open_registry

pytestmark = pytest.mark.real

SUBJECTS: tuple[Subject, ...] = open_registry().subjects()
each_subject = pytest.mark.parametrize("subject", SUBJECTS, ids=[subject.id for subject in SUBJECTS])


class Shipped:
    """All shipped servers up at once, and what came of holding them to the contract."""

    def __init__(self, folder: Path) -> None:
        self.owner = Owner.this()
        # Apache, started by root, serves as another user and must be able to pass through.
        folder.chmod(0o755)
        for parent in list(folder.parents)[:2]:
            parent.chmod(0o755)
        self.runner = ProcessRunner(
            budget=Budget(divide(available_cores()).server),
            owner=self.owner,
            scratch=folder,
            cache=CACHE,
            report=print,
        )
        self.readiness: dict[str, Readiness] = self.runner.prepare(SUBJECTS)
        self.instances: dict[str, Instance] = {
            subject.id: self.runner.start(subject, log=folder / f"{subject.id}.log", hash_seed=1)
            for subject in SUBJECTS
            if not self.readiness[subject.id].reason
        }
        found = hold_all_to_contract(tuple(self.instances.values()), load_contract(), thorough=True)
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


def test_every_shipped_server_ends_at_its_own_stop_signal(shipped: Shipped) -> None:
    # The last test of this module, because it ends them.
    for instance in shipped.instances.values():
        instance.begin_stop()
    for instance in shipped.instances.values():
        instance.finish_stop()
    endings = {name: instance.fault() for name, instance in shipped.instances.items()}
    assert {name: how for name, how in endings.items() if not how or "SIGKILL" in how} == {}
