"""Runs in containers that end early, or find what others left: nothing measured is lost, nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from docker.errors import APIError, NotFound

from gatebench.machine.processes import Owner
from gatebench.runners.docker.engine import ContainerOwner, Engine, EngineRefusedError
from gatebench.runners.docker.images import base_of
from gatebench.runners.docker.services import OWNER_LABEL
from gatebench.words.paths import ROOT
from tests.support.engine import (
    Forwarder,
    client,
    ended_without_trace,
    labels,
    left_by,
    run_arguments,
)
from tests.support.lab import MEASURED, Command, Results, assert_done, gatebench, wait_until

BASE = base_of((ROOT / "servers" / "Dockerfile").read_text())
pytestmark = pytest.mark.usefixtures("local_container_engine")  # something is put before its socket

BUDGET = "40s"
"""Of a run that is ended in its middle."""
STARTS, SLICES = "starting 3 servers (", "keep-alive/c64\n"
"""What a run says when it starts a block's servers, and when the block's slices begin."""
SOME_SLICES_S = 1.0
LEFT = "that a killed run had left behind"


@pytest.fixture
def own_rest() -> Iterator[list[Command]]:
    """Commands whose containers and networks are removed whatever a test finds of them."""
    commands: list[Command] = []
    yield commands
    for command in commands:
        if command.running:
            command.send(signal.SIGKILL)
            command._process.wait()
        remove(left_by(command))


def remove(marks: list[str]) -> None:
    """Removes containers and networks with these labels, unless a lab's own watch process is faster."""
    with client() as engine:
        for mark in marks:
            chosen = {"label": f"{OWNER_LABEL}={mark}"}
            for container in engine.containers.list(all=True, filters=chosen, ignore_removed=True):
                with suppress(APIError):  # NotFound, or a removal that is in progress
                    container.remove(force=True)
            for network in engine.networks.list(filters=chosen):
                with suppress(NotFound):
                    network.remove()


def begun(
    folder: Path,
    commands: list[Command],
    stage: str,
    count: int,
    *options: str,
    environment: dict[str, str] | None = None,
) -> tuple[Command, Results]:
    """A run that would take longer, once it has said so many times what it is doing."""
    results = Results(folder / "run")
    arguments = run_arguments(results.folder, *options, profile="standard", budget=BUDGET)
    command = Command(folder, *arguments, environment=environment)
    commands.append(command)
    command.wait_until(f"{stage} ({count})", lambda: command.said.count(stage) >= count)
    return command, results


def blocks(results: Results) -> set[int]:
    """The blocks of which there are slices."""
    return set(pd.read_parquet(results.folder / "slices.parquet")["block"])


# An engine that stops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "measured"), [(SLICES, {0, 1}), (STARTS, {0})], ids=["slices", "start"])
def test_an_engine_that_stops_ends_the_run_and_what_was_measured_is_reported(
    tmp_path: Path, own_rest: list[Command], stage: str, measured: set[int]
) -> None:
    with Forwarder() as way:
        command, results = begun(tmp_path, own_rest, stage, 2, environment=way.environment)
        if stage == SLICES:
            time.sleep(SOME_SLICES_S)
        way.cut()
        ended = command.end()
    assert ended.status == 1, ended.said
    assert "the Docker engine no longer answers" in ended.said
    assert "what was measured is kept. Start the engine again" in ended.said
    assert "Traceback" not in ended.said
    assert results.events[-1]["outcome"] == "error"
    assert blocks(results) == measured
    assert {cell["status"] for cell in results.summary["cells"]} <= MEASURED
    assert (results.folder / "report.html").exists()

    if stage == SLICES:  # what is still starting may not have got so far
        assert left_by(command)
    again = gatebench(tmp_path / "again", "verify", "--runner", "docker", "--servers", "waitress")
    assert again.status == 0, again.said
    assert stage != SLICES or LEFT in again.said
    assert not left_by(command)


def slow_server(folder: Path, seconds: int) -> Path:
    """A servers folder with a server whose image takes so long to build."""
    own = folder / "servers" / "slow"
    own.mkdir(parents=True)
    (own / "requirements.txt").write_text(f"# {uuid.uuid4()}\n")
    (own / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo {uuid.uuid4()} && sleep {seconds}\n")
    (own / "server.toml").write_text(
        'homepage = "https://example.org/"\n'
        '[variants.default]\ninterface = "wsgi"\ncommand = ["serve", "{app}", "{port}"]\n'
        'supports = ["keep-alive"]\n'
    )
    return own.parent


def test_an_engine_that_stops_during_a_build_ends_the_run(tmp_path: Path, own_rest: list[Command]) -> None:
    arguments = run_arguments(
        tmp_path / "run", "--servers-dir", str(slow_server(tmp_path, 100)), servers="slow", budget=BUDGET
    )
    with Forwarder() as way:
        command = Command(tmp_path, *arguments, environment=way.environment)
        own_rest.append(command)
        command.wait_until("a build", lambda: "slow: building its image" in command.said)
        wait_until("its step", lambda: sleeps(100))
        way.cut()
        ended = ended_without_trace(command)
    assert ended.status == 1, ended.said
    assert "the Docker engine no longer answers" in ended.said
    assert "Traceback" not in ended.said


def sleeps(seconds: int) -> bool:
    """Whether there is such a process on the engine's machine, which is this one."""
    return any(each.info["cmdline"] == ["sleep", str(seconds)] for each in psutil.process_iter(["cmdline"]))


def test_a_run_that_is_interrupted_while_it_builds_ends_its_builds(
    tmp_path: Path, own_rest: list[Command]
) -> None:
    folder = slow_server(tmp_path, 101)
    arguments = run_arguments(tmp_path / "run", "--servers-dir", str(folder), servers="slow", budget=BUDGET)
    command = Command(tmp_path, *arguments)
    own_rest.append(command)
    command.wait_until("a build", lambda: "slow: building its image" in command.said)
    wait_until("its step", lambda: sleeps(101))
    command.send(signal.SIGINT)
    ended = ended_without_trace(command)
    assert ended.status == 130, ended.said
    assert "slow: built" not in ended.said
    wait_until("the build's end", lambda: not sleeps(101))


# A lab that ends early --------------------------------------------------------------------------------------


def test_an_interrupted_run_is_reported_and_leaves_nothing(tmp_path: Path, own_rest: list[Command]) -> None:
    command, results = begun(tmp_path, own_rest, SLICES, 2)
    assert len(left_by(command)) == 5  # two servers, a twin, a null responder and the load generator
    command.send(signal.SIGINT)
    ended = ended_without_trace(command)
    assert ended.status == 130, ended.said
    assert results.events[-1]["outcome"] == "interrupted"
    assert 0 in blocks(results)
    assert {cell["status"] for cell in results.summary["cells"]} <= MEASURED
    assert (results.folder / "report.html").exists()


def test_an_interrupted_run_goes_on_in_containers(tmp_path: Path, own_rest: list[Command]) -> None:
    command, results = begun(tmp_path, own_rest, SLICES, 2)
    command.send(signal.SIGINT)
    assert command.end().status == 130
    assert_done(gatebench(tmp_path / "again", "resume", str(results.folder)), results)
    planned = json.loads((results.folder / "run.json").read_text())["plan"]["blocks"]
    assert sum(event["kind"] == "block-finished" for event in results.events) == planned


def test_a_run_that_is_ended_while_its_servers_start_leaves_nothing(
    tmp_path: Path, own_rest: list[Command]
) -> None:
    command, results = begun(tmp_path, own_rest, STARTS, 1, "--network", "bridge")
    command.send(signal.SIGTERM)
    ended = ended_without_trace(command)
    assert ended.status == 130, ended.said
    assert "Traceback" not in ended.said
    assert results.events[-1]["outcome"] == "interrupted"


def test_after_kill_9_the_watch_process_removes_containers_and_network(
    tmp_path: Path, own_rest: list[Command]
) -> None:
    command, results = begun(tmp_path, own_rest, SLICES, 2, "--network", "bridge")
    assert len(left_by(command)) == 6  # with the network
    command.send(signal.SIGKILL)
    assert ended_without_trace(command).status == -signal.SIGKILL
    assert 0 in blocks(results)


def test_what_lab_and_watch_process_left_is_removed_by_the_next_start(
    tmp_path: Path, own_rest: list[Command]
) -> None:
    command, _ = begun(tmp_path, own_rest, SLICES, 1, "--network", "bridge")
    (watch,) = (
        each
        for each in psutil.Process(command._process.pid).children()
        if "gatebench.runners.session" in each.cmdline()
    )
    watch.kill()
    command.send(signal.SIGKILL)
    command._process.wait()
    assert left_by(command)
    # In the same temporary folder, for what the lab left there.
    again = gatebench(tmp_path, "verify", "--runner", "docker", "--servers", "waitress")
    assert again.status == 0, again.said
    assert LEFT in again.said
    assert not left_by(command)
    assert not command.servers


# Whose containers -------------------------------------------------------------------------------------------


@contextmanager
def marked(*marks: str) -> Iterator[None]:
    """For each mark a container that is not started, and a network."""
    with client() as engine:
        made: list[Any] = []
        try:
            for mark in marks:
                made.append(engine.containers.create(BASE, ["true"], labels={OWNER_LABEL: mark}))
                name = f"dk-marked-{uuid.uuid4().hex[:8]}"
                made.append(engine.networks.create(name, internal=True, labels={OWNER_LABEL: mark}))
            yield
        finally:
            remove(list(marks))


def test_only_what_dead_labs_of_this_machine_left_is_removed(dead: Owner) -> None:
    this = ContainerOwner.this()
    mine, alive = str(ContainerOwner.this(dead)), str(this)
    others = f"{'0' * len(this.machine)}.{dead}"
    people = f"people-{uuid.uuid4().hex[:8]}"
    with marked(mine, alive, others, people):
        assert Engine.connect().remove_left_over() >= 2
        left = labels()
        assert [left.count(mark) for mark in (mine, alive, others, people)] == [0, 2, 2, 2]


@pytest.fixture
def dead() -> Owner:
    """A lab that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return Owner(process.pid, 1)


# Before anything is started ---------------------------------------------------------------------------------


def refused(folder: Path, *options: str, cores: set[int] | None = None) -> str:
    out = folder / "run"
    ended = gatebench(folder, *run_arguments(out, *options), cores=cores)
    assert ended.status == 2, ended.said
    assert "found; nothing was done:" in ended.said
    assert "Traceback" not in ended.said
    assert not out.exists()
    return ended.said


def test_on_a_single_core_containers_are_refused_too(tmp_path: Path) -> None:
    said = refused(tmp_path, cores={min(os.sched_getaffinity(0))})
    assert "1 core available, 2 needed" in said


def test_more_engines_than_cores_are_refused(tmp_path: Path) -> None:
    with client() as engine:
        count = engine.info()["NCPU"]
    assert f"available, {count + 1} needed" in refused(tmp_path, "--engines", str(count))


def test_a_wrong_name_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    ended = gatebench(tmp_path, "verify", "--runner", "docker", "--servers", "waitres")
    assert ended.status == 2
    assert 'unknown server "waitres" (did you mean "waitress"?)' in ended.said


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("no-such-program",), "no-such-program"),
        (("python", "-c", "import sys; sys.exit('a word')"), "a word"),
    ],
)
def test_a_command_in_an_image_that_fails_says_why_and_leaves_no_container(
    command: tuple[str, ...], told: str
) -> None:
    mark = str(ContainerOwner.this())
    before = labels().count(mark)
    with closing(Engine.connect()) as engine:
        assert engine.output_of(BASE, ["python", "-c", "print(6 * 7)"]).strip() == "42"
        with pytest.raises(EngineRefusedError, match=told):
            engine.output_of(BASE, command)
    assert labels().count(mark) == before
