"""Every container of a whole run, looked at while it runs: DESIGN.md, section 6."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatebench.runners.docker.backend import LOAD_MEMORY_MIB
from gatebench.runners.docker.services import MEMORY_MIB, PIDS, USER
from gatebench.words.paths import HOST
from tests.support.lab import Ended, Results, assert_went_well, run_arguments
from tests.support.witness import RIGHTS, Seen, Witness, commanded, end_of, label_of, left_over

SERVERS = {"gunicorn-gthread", "uvicorn", "waitress"}
LOAD = {"loadgen", "worker"}
RESPONDERS = {"nginx__limit"}
"""It answers HTTP, and the runs ask for nothing else."""
WORKERS = 2
NONE = "0000000000000000"


@dataclass(frozen=True)
class Watched:
    """A run that has ended, and its containers."""

    ended: Ended
    results: Results
    label: str
    containers: list[Seen]

    def of(self, services: set[str]) -> list[Seen]:
        return [each for each in self.containers if each.service in services]


def watch(folder: Path, servers: set[str], network: str, workers: int) -> Watched:
    results = Results(folder / "run")
    arguments = run_arguments(results.folder, " ".join(sorted(servers)), "steady-keep-alive")
    options = ("--runner", "docker", "--network", network, "--load-workers", str(workers))
    with Witness() as witness, commanded(folder, *arguments, *options) as command:
        ended = end_of(command)
    assert (results.folder / "summary.json").exists(), ended.said
    label = label_of(results.folder)
    return Watched(ended, results, label, witness.of(label))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A run in the host's network."""
    return watch(tmp_path_factory.mktemp("host"), SERVERS, "host", WORKERS)


@pytest.fixture(scope="module")
def bridged(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A run on a network of its own, as on Docker Desktop."""
    return watch(tmp_path_factory.mktemp("bridge"), {"waitress"}, "bridge", 1)


def test_every_part_of_a_run_is_a_container_that_was_seen(run: Watched) -> None:
    assert run.results.events[-1]["outcome"] == "complete", run.ended.said
    count = Counter(each.service for each in run.containers)
    assert count == dict.fromkeys(SERVERS | RESPONDERS | {"loadgen"}, 1) | {"worker": WORKERS}


def test_no_process_of_any_container_has_a_right_beyond_its_user(run: Watched) -> None:
    user, group = USER.split(":")
    expected = (" ".join([user] * 4), " ".join([group] * 4), *[NONE] * 5, "1")
    for each in run.containers:
        assert each.rights == {expected}, (each.service, RIGHTS)


def test_every_container_is_asked_for_without_rights(run: Watched) -> None:
    for each in run.containers:
        asked = each.host_config
        assert each.attributes["Config"]["User"] == USER, each.service
        assert asked["CapDrop"] == ["ALL"], each.service
        assert not asked["CapAdd"], each.service
        assert not asked["Privileged"], each.service
        assert asked["SecurityOpt"] == ["no-new-privileges:true"], each.service
        assert not asked["Devices"], each.service
        assert asked["PidMode"] == "", each.service


def test_every_container_is_read_only_but_for_its_own_memory(run: Watched) -> None:
    for each in run.containers:
        assert each.host_config["ReadonlyRootfs"] is True, each.service
        assert set(each.host_config["Tmpfs"]) == {"/scratch", "/tmp"}, each.service  # noqa: S108 - its own


def test_every_container_has_a_limit_of_memory_and_of_processes(run: Watched) -> None:
    for each in run.containers:
        limit = (LOAD_MEMORY_MIB if each.service in LOAD else MEMORY_MIB) << 20
        asked = each.host_config
        assert (asked["Memory"], asked["MemorySwap"]) == (limit, limit), each.service
        assert asked["PidsLimit"] == PIDS, each.service


def test_the_only_thing_mounted_is_what_the_agent_reads_control_groups_from(run: Watched) -> None:
    for each in run.containers:
        mounts = [
            (mount["Source"], mount["RW"]) for mount in each.attributes["Mounts"] if mount["Type"] != "tmpfs"
        ]
        assert mounts == ([("/sys/fs/cgroup", False)] if each.service == "loadgen" else []), each.service


def test_nothing_is_published_and_everything_listens_on_loopback_alone(run: Watched) -> None:
    for each in run.containers:
        assert each.host_config["NetworkMode"] == "host", each.service
        assert not each.host_config["PortBindings"], each.service
        assert not each.host_config["PublishAllPorts"], each.service
        assert each.listening <= {HOST}, each.service
    assert all(each.listening for each in run.of(SERVERS | RESPONDERS))


def test_servers_and_load_share_no_core(run: Watched) -> None:
    def cores(services: set[str]) -> set[str]:
        found = [each.host_config["CpusetCpus"] for each in run.of(services)]
        assert all(found)
        return {core for text in found for core in text.split(",")}

    assert cores(SERVERS | RESPONDERS) & cores(LOAD) == set()


def test_no_container_is_restarted_or_can_block_on_its_log(run: Watched) -> None:
    for each in run.containers:
        assert each.host_config["RestartPolicy"]["Name"] in {"", "no"}, each.service
        log = each.host_config["LogConfig"]
        assert log["Type"] == "none" or log["Config"]["mode"] == "non-blocking", each.service
        assert (log["Type"] == "none") is (each.service == "loadgen"), each.service


def test_a_run_leaves_no_container_and_no_network(run: Watched) -> None:
    assert left_over(run.label) == []


def test_every_server_is_measured_by_the_workers(run: Watched) -> None:
    for subject in SERVERS:
        assert_went_well(run.results.cell(subject, "steady-keep-alive"))


def test_on_a_bridge_all_share_one_network_that_leads_nowhere(bridged: Watched) -> None:
    assert bridged.results.events[-1]["outcome"] == "complete", bridged.ended.said
    assert {each.service for each in bridged.containers} == {"waitress", *RESPONDERS, *LOAD}
    (network,) = {
        name for each in bridged.containers for name in each.attributes["NetworkSettings"]["Networks"]
    }
    assert network.startswith("gatebench-")
    for each in bridged.containers:
        assert each.internal == {network}, each.service


def test_on_a_bridge_nothing_is_published_and_nothing_is_left(bridged: Watched) -> None:
    for each in bridged.containers:
        assert not each.host_config["PortBindings"], each.service
        assert not any(each.attributes["NetworkSettings"]["Ports"].values()), each.service
    assert left_over(bridged.label) == []


def test_on_a_bridge_the_rights_are_the_same(bridged: Watched) -> None:
    user, group = USER.split(":")
    for each in bridged.containers:
        assert each.rights == {(" ".join([user] * 4), " ".join([group] * 4), *[NONE] * 5, "1")}, each.service


def test_on_a_bridge_a_server_is_measured(bridged: Watched) -> None:
    assert_went_well(bridged.results.cell("waitress", "steady-keep-alive"))
    assert json.loads((bridged.results.folder / "run.json").read_text())["network"] == "bridge"
