"""Servers in containers that go wrong, each in its own way, in one whole run with one that does not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from docker.models.containers import Container

from gatebench.machine.cgroup import Usage, find, usage_of
from gatebench.runners.docker.images import base_of
from gatebench.runners.docker.services import MEMORY_MIB
from gatebench.words.paths import HOST, ROOT
from tests.support.container_servers.boxed.faulty import LAST_WORDS, STATUS
from tests.support.lab import SUPPORT, Ended, Results, assert_went_well, gatebench, run_arguments
from tests.support.witness import (
    CGROUPS,
    Witness,
    await_words,
    commanded,
    end_of,
    label_of,
    left_over,
    remove_images,
)

WORKLOAD = "steady-keep-alive"
SERVERS = SUPPORT / "container_servers"
PERIOD_US, QUOTA_US = 100_000, 30_000
OCCUPIED = """
homepage = "https://example.org/"
[variants.default]
interface = "wsgi"
command = ["python", "-m", "http.server", "{taken}", "--bind", "127.0.0.1"]
supports = ["close", "keep-alive"]
environment = { PORT = "{port}" }  # which it does not heed
"""


@dataclass(frozen=True)
class Faults:
    """The run, and what was read of a container while it ran: before, by the engine, after."""

    ended: Ended
    results: Results
    label: str
    readings: list[tuple[Usage, Usage, Usage]]

    def reasons(self, subject: str, status: str) -> str:
        """What the subject's only row says."""
        cell = self.results.cell(subject, WORKLOAD)
        assert cell["lead"]["status"] == status, cell
        return "\n".join(cell["reasons"])

    def facts(self, subject: str) -> dict[str, Any]:
        """What the engine told at its end."""
        (found,) = (
            event
            for event in self.results.events
            if (event["kind"], event.get("subject")) == ("ended", subject)
        )
        return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    folder = tmp_path_factory.mktemp("faults")
    results = Results(folder / "run")
    readings: list[tuple[Usage, Usage, Usage]] = []

    def read(container: Container) -> None:
        group = find(str(container.id), CGROUPS)
        assert group is not None
        before = group.usage()
        told = usage_of(container.stats(stream=False, one_shot=True))
        readings.append((before, told, group.usage()))

    def limit(container: Container) -> None:
        container.update(cpu_period=PERIOD_US, cpu_quota=QUOTA_US)

    on_sight = {
        "boxed-honest": read,
        "boxed-quota": limit,
    }
    with socket.create_server((HOST, 0)) as occupied, Witness(on_sight) as witness:
        own = folder / "servers" / "occupied"
        own.mkdir(parents=True)
        (own / "requirements.txt").write_text("# Nothing but Python.\n")
        (own / "server.toml").write_text(OCCUPIED.replace("{taken}", str(occupied.getsockname()[1])))
        arguments = run_arguments(results.folder, "boxed unbuildable vanishing occupied", WORKLOAD)
        folders = ("--servers-dir", str(SERVERS), "--servers-dir", str(own.parent))
        with commanded(folder, *arguments, *folders, "--runner", "docker") as command:
            await_words(command, "starting the load engine")
            remove_images("vanishing")
            await_words(command, "holding every server")
            witness.remove("boxed-removed")
            ended = end_of(command)
    yield Faults(ended, results, label_of(results.folder), readings)
    remove_images("boxed", "occupied", "vanishing")


def test_faulty_servers_make_the_exit_status_1_and_stop_no_other(run: Faults) -> None:
    assert run.ended.status == 1, run.ended.said
    assert run.results.events[-1]["outcome"] == "complete", run.ended.said
    assert_went_well(run.results.cell("boxed-honest", WORKLOAD))


def test_nothing_of_it_is_left(run: Faults) -> None:
    assert left_over(run.label) == []


def test_every_fault_is_said_while_the_run_goes_on(run: Faults) -> None:
    for subject in ("greedy", "greedy-worker", "ends", "worker", "absent", "absent-with-files", "removed"):
        assert f"boxed-{subject} failed in block 1" in run.ended.said


def test_a_build_that_fails_makes_its_subject_unavailable_with_the_builds_last_lines(run: Faults) -> None:
    text = run.reasons("unbuildable", "unavailable")
    assert "no-such-package-of-gatebench" in text
    assert "No matching distribution found" in text
    assert run.ended.said.count("unbuildable is unavailable: ") == 1
    assert run.ended.said.count("failed to solve") == 1
    assert "RUNNER=process" in text


def test_an_image_that_vanishes_before_its_server_starts_is_named(run: Faults) -> None:
    text = run.reasons("vanishing", "failed")
    assert text.startswith("start: ")
    assert "gatebench/vanishing:" in text
    assert "was removed after the run had begun; start again" in text


@pytest.mark.parametrize("subject", ["boxed-absent", "boxed-absent-with-files"])
def test_an_image_without_the_command_is_told_by_the_commands_name(run: Faults, subject: str) -> None:
    text = run.reasons(subject, "failed")
    assert text.startswith("start: ")
    assert "exited with status 127 (a command was not found)" in text
    assert "no-such-server" in text


@pytest.mark.parametrize("subject", ["boxed-greedy", "boxed-greedy-worker"])
def test_a_server_that_is_killed_for_its_memory_is_told_the_limit(run: Faults, subject: str) -> None:
    text = run.reasons(subject, "failed")
    assert "died: " in text
    assert f"limit of {MEMORY_MIB} MiB" in text
    assert run.facts(subject)["oom_killed"] is True


def test_a_server_that_ends_is_told_its_status_and_its_last_words(run: Faults) -> None:
    text = run.reasons("boxed-ends", "failed")
    assert f"exited with status {STATUS}" in text
    assert LAST_WORDS in text
    assert run.facts("boxed-ends")["exit_code"] == STATUS


def test_a_worker_that_is_killed_and_replaced_is_noticed(run: Faults) -> None:
    text = run.reasons("boxed-worker", "failed")
    assert "a worker of the server ended" in text
    assert "Booting worker" in text


def test_a_port_that_is_taken_is_told_by_the_server(run: Faults) -> None:
    text = run.reasons("occupied", "failed")
    assert text.startswith("start: ")
    assert "Address already in use" in text


def test_a_container_that_somebody_removes_is_a_failed_server_and_no_more(run: Faults) -> None:
    assert "the container was removed" in run.reasons("boxed-removed", "failed")


def test_a_cpu_quota_withholds_what_it_spoils(run: Faults) -> None:
    assert "throttled: " in run.reasons("boxed-quota", "withheld")
    slices = pd.read_parquet(run.results.folder / "slices.parquet").set_index("subject")["throttled_s"]
    assert (slices["boxed-quota"] > 0).all()
    assert (slices["boxed-honest"] == 0).all()


def test_what_a_server_prints_is_kept_in_its_log(run: Faults) -> None:
    logs = run.results.folder / "logs"
    assert LAST_WORDS in (logs / "boxed-ends-b0.log").read_text()
    assert "Listening at" in (logs / "boxed-honest-b0.log").read_text()
    assert "no-such-server" in (logs / "boxed-absent-b0.log").read_text()


def test_the_engine_and_the_control_group_tell_the_same_use(run: Faults) -> None:
    ((before, told, after),) = run.readings
    assert None not in {before.cpu_s, told.cpu_s, after.cpu_s}
    # Read one after the other, so that no tolerance is needed.
    assert before.cpu_s <= told.cpu_s <= after.cpu_s  # type: ignore[operator]  # checked in the line above
    assert told.throttled_s == after.throttled_s == 0
    assert before.processes
    assert before.oom_kills == 0


def test_the_end_of_a_server_is_told_with_what_its_container_used(run: Faults) -> None:
    facts = run.facts("boxed-honest")
    slices = pd.read_parquet(run.results.folder / "slices.parquet").set_index("subject")["server_cpu_s"]
    assert facts["cpu_s"] > slices["boxed-honest"].sum() > 0
    assert facts["anonymous_mib"] > 1
    assert (facts["exit_code"], facts["oom_killed"], facts["restarts"]) == (0, False, 0)


def test_what_cannot_be_known_of_a_container_that_has_ended_is_null(run: Faults) -> None:
    facts = run.facts("boxed-ends")
    assert facts["cpu_s"] is None
    assert facts["throttled_s"] is None


def test_a_run_tells_its_engine_its_images_and_its_limits(run: Faults) -> None:
    said = json.loads((run.results.folder / "run.json").read_text())
    assert said["runner"] == "docker"
    assert said["network"] == "host"
    assert said["limits"]["memory_mib"] == MEMORY_MIB
    assert said["engine"]["version"]
    images = {each["id"]: each["image"] for each in said["subjects"]}
    assert images["unbuildable"] is None
    for image in (images["boxed-honest"], said["load_image"]):
        assert image["id"].startswith("sha256:")
        assert image["base"] == base_of((ROOT / "servers" / "Dockerfile").read_text())
        assert image["base_id"].startswith("sha256:")
        assert image["python"].startswith("3.")
    assert run.facts("boxed-honest")["image"] == images["boxed-honest"]["id"]
    (honest,) = (each for each in said["subjects"] if each["id"] == "boxed-honest")
    assert set(honest["packages"]) >= {"gunicorn", "waitress"}


def test_a_run_in_containers_has_the_rows_of_one_in_processes(run: Faults, tmp_path: Path) -> None:
    local = Results(tmp_path / "run")
    gatebench(tmp_path, *run_arguments(local.folder, "honest-wsgi", WORKLOAD))
    assert shape(run.results.cell("boxed-honest", WORKLOAD)) == shape(local.cell("honest-wsgi", WORKLOAD))
    assert run.results.summary.keys() == local.summary.keys()
    contained, here = (
        list(pd.read_parquet(each.folder / "slices.parquet").columns) for each in (run.results, local)
    )
    assert contained == here


def shape(cell: Any) -> Any:
    """The keys of a row, those of what is nested in it included."""
    return {key: shape(value) for key, value in cell.items()} if isinstance(cell, dict) else None
