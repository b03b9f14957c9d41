"""An engine elsewhere, and loads from containers: the lab looks up nothing where it runs itself."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gatebench.runners.docker.engine import SERVICE_LABEL
from tests.support.engine import (
    UNIX,
    Forwarder,
    client,
    containers_of,
    ended_without_trace,
    engine_found,
    labels,
    needs_namespaces,
    run_arguments,
)
from tests.support.lab import PATIENCE_S, Command, Ended, Results, assert_done, assert_went_well, blamed
from tests.support.witness import label_of

pytestmark = pytest.mark.usefixtures("local_container_engine")  # something is put before its socket

AFFINITIES = """
import json, os, pathlib
found = []
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    if b"loadtests.engine" in (folder / "cmdline").read_bytes().split(b"\\0"):
        found.append(sorted(os.sched_getaffinity(int(folder.name))))
print(json.dumps(found))
"""


def described(results: Results) -> dict[str, Any]:
    """The content of `run.json`."""
    return dict(json.loads((results.folder / "run.json").read_text()))


def assert_measured(ended: Ended, results: Results) -> None:
    """The run was complete, and each cell is valid but for what the machine is to be blamed for."""
    assert_done(ended, results)
    for subject in ("uvicorn", "waitress"):
        for cell in results.cells(subject):
            assert_went_well(cell)


# A remote engine --------------------------------------------------------------------------------------------


def test_a_run_over_tcp_is_complete_and_says_that_its_engine_is_remote(tmp_path: Path) -> None:
    results = Results(tmp_path / "run")
    with Forwarder() as way:
        command = Command(tmp_path, *run_arguments(results.folder), environment=way.environment)
        ended = ended_without_trace(command)
    assert f"servers run in containers of the engine at {way.address}, as asked for" in ended.said
    assert described(results)["engine"]["remote"] is True
    assert described(results)["network"] == "host"
    assert_measured(ended, results)


@needs_namespaces
def test_a_lab_that_sees_nothing_of_the_servers_machine_measures_all_the_same(tmp_path: Path) -> None:
    results = Results(tmp_path / "run")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    blind = "mount -t tmpfs none /sys/fs/cgroup && test $(ls /proc | grep -c '^[0-9]') -lt 9 && exec "
    lab = [sys.executable, "-m", "gatebench", *run_arguments(results.folder)]
    done = subprocess.run(
        [
            *("unshare", "--net", "--pid", "--mount", "--ipc", "--uts", "--fork", "--kill-child"),
            *("--mount-proc", "sh", "-c", blind + shlex.join(lab)),
        ],
        env={**os.environ, "DOCKER_HOST": f"{UNIX}{engine_found().socket}", "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert_measured(Ended(done.returncode, done.stdout), results)
    assert list(temporary.iterdir()) == []
    assert label_of(results.folder) not in labels()


def test_a_docker_context_names_the_engine_and_servers_are_held_to_the_contract(tmp_path: Path) -> None:
    settings = {**os.environ, "DOCKER_CONFIG": str(tmp_path / "docker")}
    settings.pop("DOCKER_HOST", None)
    with Forwarder() as way:
        create = ("docker", "context", "create", "dk-away", "--docker", f"host={way.address}")
        subprocess.run(create, env=settings, check=True, capture_output=True)
        subprocess.run(("docker", "context", "use", "dk-away"), env=settings, check=True, capture_output=True)
        chosen = {"DOCKER_CONFIG": settings["DOCKER_CONFIG"], "DOCKER_HOST": ""}
        arguments = ("verify", "--runner", "docker", "--servers", "uvicorn waitress")
        ended = ended_without_trace(Command(tmp_path, *arguments, environment=chosen))
    assert ended.status == 0, ended.said
    assert f"the engine at {way.address}" in ended.said
    assert ended.said.count("holds") == 2


# Networks and workers ---------------------------------------------------------------------------------------


def affinities(command: Command, service: str) -> list[list[list[int]]]:
    """For each container of a service the cores that each of its load engines may use."""
    with client() as engine:
        found = []
        for container in containers_of(engine, command):
            if container.labels[SERVICE_LABEL] == service:
                status, output = container.exec_run(["python", "-c", AFFINITIES])
                found.append(json.loads(output) if status == 0 else [])
        return found


def assert_a_core_for_each_worker(command: Command, count: int) -> None:
    """Every worker has its engines, and no two share a core while there is another beside the server's."""
    command.wait_until("every worker's engine", lambda: "keep-alive/c64\n" in command.said)
    each = affinities(command, "worker")
    assert len(each) == count
    cores = [core for engines in each for (core,) in engines]
    assert len(cores) >= count
    assert len(set(cores)) == min(len(cores), len(os.sched_getaffinity(0)) - 1)
    assert affinities(command, "loadgen") == [[]]


def test_on_a_bridge_all_share_a_network_without_a_way_out(tmp_path: Path) -> None:
    results = Results(tmp_path / "run")
    command = Command(tmp_path, *run_arguments(results.folder, "--network", "bridge"))
    command.wait_until("load", lambda: "keep-alive/c64\n" in command.said)
    with client() as engine:
        containers = containers_of(engine, command)
        assert len(containers) == 4  # two servers, the null responder and the load generator
        names = {name for each in containers for name in each.attrs["NetworkSettings"]["Networks"]}
        (name,) = names
        network = engine.networks.get(name)
        assert network.attrs["Internal"] is True
        assert f".{command._process.pid}-" in network.attrs["Labels"]["gatebench"]
    ended = ended_without_trace(command)
    assert_measured(ended, results)
    assert described(results)["network"] == "bridge"


def test_locust_workers_are_containers_with_cores_of_their_own(tmp_path: Path) -> None:
    results = Results(tmp_path / "run")
    command = Command(tmp_path, *run_arguments(results.folder, "--load-workers", "2"))
    assert_a_core_for_each_worker(command, 2)
    ended = ended_without_trace(command)
    assert_measured(ended, results)


def test_a_worker_that_is_killed_is_told_and_ends_in_status_1(tmp_path: Path) -> None:
    results = Results(tmp_path / "run")
    arguments = run_arguments(
        results.folder, "--load-workers", "2", "--network", "bridge", profile="standard", budget="15s"
    )
    command = Command(tmp_path, *arguments)
    assert_a_core_for_each_worker(command, 2)
    command.wait_until("the second block", lambda: command.said.count("keep-alive/c64\n") >= 2)
    with client() as engine:
        workers = [each for each in containers_of(engine, command) if each.labels[SERVICE_LABEL] == "worker"]
        workers[0].kill()
    ended = ended_without_trace(command)
    assert ended.status == 1, ended.said
    assert "Locust worker gave no count" in ended.said
    missing = pd.read_parquet(results.folder / "slices.parquet").groupby("block")["workers_missing"].max()
    assert missing[0] == 0
    assert missing.max() == 1
    for subject in ("uvicorn", "waitress"):
        assert all("workers" in blamed(cell) for cell in results.cells(subject))


def test_more_workers_than_cores_are_refused(tmp_path: Path) -> None:
    with client() as engine:
        count = engine.info()["NCPU"] + 1
    command = Command(tmp_path, *run_arguments(tmp_path / "run", "--load-workers", str(count)))
    ended = ended_without_trace(command)
    assert ended.status == 2, ended.said
    assert f"--load-workers: {count} workers for {count - 1} core" in ended.said
    assert "Traceback" not in ended.said
