"""Whose a container is: what may be removed after a crash, and what is somebody else's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import psutil
import pytest

from gatebench.machine.processes import OWNER_VARIABLE, Owner, _start_ticks, marked_processes
from gatebench.runners.docker.engine import ContainerOwner, is_left_over
from tests.support.engine import needs_namespaces

THIS = ContainerOwner.this()
DEAD = Owner(os.getpid(), THIS.owner.start_ticks + 1)
"""A lab whose process ID this process has by now."""
TELL = "from gatebench.runners.docker.engine import ContainerOwner; print(ContainerOwner.this().machine)"
SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
APART = ["unshare", "--pid", "--fork", "--kill-child"]


def test_a_running_lab_is_never_left_over() -> None:
    assert not is_left_over(str(THIS), None)


def test_a_lab_that_ended_is_left_over_also_where_its_number_was_given_again() -> None:
    assert is_left_over(str(ContainerOwner.this(DEAD)), None)


def test_a_lab_that_sweeps_up_after_itself_is_left_over_and_no_other() -> None:
    parent = ContainerOwner.this(Owner(os.getppid(), _start_ticks(os.getppid()) or 0))
    assert is_left_over(str(THIS), THIS.owner)
    assert not is_left_over(str(parent), THIS.owner)


@pytest.mark.parametrize(
    "label",
    [
        *("people", "", ".", "x", "12-1", "people.12-1"),
        f"{'0' * len(THIS.machine)}.{DEAD}",
        f"{THIS.machine}.",
        f"{THIS.machine}.{DEAD}.1",
        f"{THIS.machine}{DEAD}",
    ],
    ids=range(10),  # several processes may run these tests, and each has a number of its own
)
def test_what_carries_another_label_is_somebody_elses(label: str) -> None:
    assert not is_left_over(label, None)
    assert not is_left_over(label, DEAD)


def test_a_label_tells_machines_apart_without_naming_them() -> None:
    machine, _, owner = str(THIS).partition(".")
    assert Owner.parse(owner) == Owner.this()
    assert len(machine) == 12
    assert socket.gethostname() not in str(THIS)
    assert (
        machine
        == subprocess.run(
            [sys.executable, "-c", TELL], capture_output=True, text=True, check=True
        ).stdout.strip()
    )


@needs_namespaces
def test_a_lab_in_a_container_of_this_machine_is_not_taken_for_one_of_its_own() -> None:
    command = [*APART, "--mount-proc", sys.executable, "-c", TELL]
    inside = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert inside != THIS.machine


@needs_namespaces
def test_the_processes_of_a_lab_in_a_container_are_not_taken_for_a_dead_ones() -> None:
    marked = {**os.environ, OWNER_VARIABLE: str(DEAD)}
    with (
        subprocess.Popen(SLEEP, env=marked, stdout=subprocess.PIPE) as ours,
        subprocess.Popen([*APART, *SLEEP], env=marked, stdout=subprocess.PIPE) as outside,
    ):
        try:
            for process in (ours, outside):
                assert process.stdout is not None
                process.stdout.readline()
            (inside,) = psutil.Process(outside.pid).children()
            found = marked_processes()
            assert found[ours.pid] == DEAD
            assert inside.environ()[OWNER_VARIABLE] == str(DEAD)
            assert inside.pid not in found
        finally:
            ours.kill()
            outside.kill()
