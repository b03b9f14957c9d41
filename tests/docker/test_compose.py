"""The Compose files, by a real engine: accepted, hardened as they say, gone without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gatebench.cli.compose import FILE, FIRST_PORT, WEB_PORT
from gatebench.machine.kernel import is_free
from gatebench.registry.registry import load_registry
from gatebench.runners.docker.services import Interpolated, Project, Service, render, service_name
from gatebench.words.paths import ROOT
from tests.support.strings import NASTY

HOST = "127.0.0.1"
BUILD_S = 900
READY_S = 60
SUBJECTS = sorted(subject.id for subject in load_registry(ROOT).subjects())
ASK = """
import json, sys, time, urllib.request
def ask(name):
    for attempt in range(100):
        try:
            return urllib.request.urlopen(f"http://{name}:8000/contract.toml", timeout=5).read().decode()
        except OSError as error:
            last = error
            time.sleep(0.1)
    return repr(last)
print(json.dumps([ask(name) for name in sys.argv[1:]]))
"""
TELL = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


def docker(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ("docker", *arguments), capture_output=True, text=True, timeout=BUILD_S, check=False, **options
    )
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done


class Composed:
    """A project of this test's own on the engine."""

    def __init__(self, file: Path, name: str, **variables: str) -> None:
        self.name = name
        self._file = file
        self._environment = os.environ | variables

    def __call__(self, *arguments: str, given: str = "") -> str:
        return self.run(*arguments, given=given).stdout

    def run(self, *arguments: str, given: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ("compose", "--file", str(self._file), "--project-name", self.name, *arguments)
        return docker(*command, check=check, env=self._environment, input=given)

    def left(self) -> list[str]:
        label = f"label=com.docker.compose.project={self.name}"
        return [
            *docker("ps", "--all", "--quiet", "--filter", label).stdout.split(),
            *docker("network", "ls", "--quiet", "--filter", label).stdout.split(),
            *docker("volume", "ls", "--quiet", "--filter", label).stdout.split(),
        ]

    def inspect(self) -> list[dict[str, Any]]:
        label = f"label=com.docker.compose.project={self.name}"
        containers = docker("ps", "--all", "--quiet", "--filter", label).stdout.split()
        found = json.loads(docker("inspect", *containers).stdout)
        assert isinstance(found, list)
        return found


@pytest.fixture(scope="module")
def ports() -> str:
    """The first digits of ports that are all free."""
    return next(
        str(first)
        for first in range(FIRST_PORT // 100 + 1, 320)
        if all(is_free(HOST, first * 100 + number) for number in range(1, len(SUBJECTS) + 1))
    )


@pytest.fixture(scope="module")
def people(ports: str) -> Iterator[Composed]:
    composed = Composed(ROOT / FILE, f"dk-compose-people-{os.getpid()}", PORTS=ports)
    try:
        yield composed
    finally:
        composed.run("--profile", "*", "down", "--rmi", "local", check=False)
    label = f"label=com.docker.compose.project={composed.name}"
    assert docker("images", "--all", "--quiet", "--filter", label).stdout == ""


@pytest.fixture(scope="module")
def image(people: Composed) -> str:
    people("build", "uvicorn")
    return f"{people.name}-uvicorn"


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[Any]:
    """Makes a project out of services, and removes it."""
    made: list[Composed] = []

    def make(*services: Service, **changes: Any) -> Composed:
        name = f"dk-compose-{os.getpid()}-{len(made)}"
        whole = Project(**{"name": name, "services": services, "owner": "test", **changes})
        file = tmp_path / f"{name}.yml"
        file.write_text(render(whole), encoding="utf-8")
        made.append(Composed(file, name))
        return made[-1]

    yield make
    for each in made:
        each("down", "--remove-orphans")
        assert each.left() == []


def answer(port: str) -> bytes:
    """What a server answers, once it does."""
    end = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/plaintext", timeout=10) as response:
                return bytes(response.read())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def assert_hardened(
    container: dict[str, Any], *, owner: str, log: str = "local", volumes: Sequence[str] = ()
) -> None:
    host = container["HostConfig"]
    assert container["Config"]["User"] == "10001:10001"
    assert container["Config"]["Labels"]["gatebench"] == owner
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["CapAdd"]) == (True, ["ALL"], None)
    assert (host["SecurityOpt"], host["Privileged"]) == (["no-new-privileges:true"], False)
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (2**30, 2**30, 1024)
    assert sorted(host["Tmpfs"]) == ["/scratch", "/tmp"]  # noqa: S108 - the container's own
    assert (host["Binds"] or [], host["Devices"]) == (list(volumes), None)
    assert len(container["Mounts"]) == len(volumes)
    assert (host["PortBindings"], host["PublishAllPorts"], host["Ulimits"]) == ({}, False, None)
    assert host["Init"] is True
    assert host["RestartPolicy"]["Name"] in {"no", ""}  # the latter of `docker compose run`
    assert host["LogConfig"]["Type"] == log
    assert (host["IpcMode"], host["PidMode"], host["UsernsMode"]) == ("private", "", "")


def test_compose_accepts_the_file_for_people(people: Composed) -> None:
    services = people("--profile", "all", "--profile", "load", "config", "--services").split()
    assert sorted(services) == sorted([*map(service_name, SUBJECTS), "loadgen", "worker"])
    people("--profile", "all", "--profile", "load", "config", "--quiet")


def test_a_service_that_is_named_starts_alone_without_its_profile(people: Composed, ports: str) -> None:
    people("up", "--detach", "uvicorn")
    number = 1 + SUBJECTS.index("uvicorn")
    assert answer(f"{ports}{number:02}") == b"Hello, World!"
    (container,) = people.inspect()
    assert_hardened(container, owner="people")
    assert container["HostConfig"]["NetworkMode"] == "host"
    assert container["HostConfig"]["CpusetCpus"] == "0"
    people("--profile", "*", "down")
    assert people.left() == []


@pytest.fixture
def down(people: Composed) -> Iterator[None]:
    """Nothing of the project is up for the next test, however this one ends."""
    yield
    people.run("--profile", "*", "down", check=False)


@pytest.mark.usefixtures("down")
def test_all_subjects_serve_at_once_hardened_and_end_when_told(people: Composed, ports: str) -> None:
    people("--profile", "all", "up", "--detach")
    answers = {name: answer(f"{ports}{number:02}") for number, name in enumerate(SUBJECTS, 1)}
    assert answers == dict.fromkeys(SUBJECTS, b"Hello, World!")
    containers = people.inspect()
    assert len(containers) == len(SUBJECTS)
    for container in containers:
        assert_hardened(container, owner="people")
        docker("exec", container["Id"], "sh", "-c", "touch /scratch/here && ! touch /srv/here")
    # Some twenty servers end at once, on a machine that may have two cores: that is no test of their speed.
    people("--profile", "*", "stop", "--timeout", str(READY_S))
    killed = [each["Name"] for each in people.inspect() if each["State"]["ExitCode"] == 137]
    assert killed == []
    people("--profile", "*", "down")
    assert people.left() == []


@pytest.mark.usefixtures("down")
def test_locust_leads_as_many_workers_as_are_asked_for(people: Composed) -> None:
    if not (is_free(HOST, WEB_PORT) and is_free(HOST, 5557)):
        pytest.skip("somebody's Locust runs on this machine, and its ports are fixed")
    people("--profile", "load", "up", "--detach", "--scale", "worker=2")
    end = time.monotonic() + READY_S
    while "2 workers connected" not in (log := people("--profile", "load", "logs", "loadgen")):
        assert time.monotonic() < end, log
        time.sleep(0.2)
    containers = people.inspect()
    assert len(containers) == 3
    for container in containers:
        assert_hardened(container, owner="people")
    with urllib.request.urlopen(f"http://{HOST}:{WEB_PORT}/", timeout=10) as response:
        assert response.status == 200
    people("--profile", "*", "down")
    assert people.left() == []


def test_strings_reach_the_container_as_they_are(image: str, compose: Any) -> None:
    words = tuple(word.replace("\x00", "") for word in NASTY)
    variables = {f"WORD_{number}": word for number, word in enumerate(words)}
    one = Service("one", image, ("python", "-c", TELL, *words), variables)
    argv, environment = json.loads(compose(one)("run", "--rm", "--no-TTY", "one"))
    assert tuple(argv) == words
    assert {name: environment[name] for name in variables} == variables


def test_a_variable_of_compose_is_filled_in(image: str, compose: Any) -> None:
    text = Interpolated("${DK_COMPOSE_UNSET:-http://127.0.0.1:${DK_COMPOSE_UNSET_TOO:-80}01} $$1")
    one = Service("one", image, ("python", "-c", TELL, text))
    argv, _ = json.loads(compose(one)("run", "--rm", "--no-TTY", "one"))
    assert argv == ["http://127.0.0.1:8001 $1"]


@pytest.fixture(params=["the project's", "somebody else's"])
def network(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A project's settings for a bridge: one that it makes, and one that is there."""
    name = f"dk-compose-{os.getpid()}"
    settings = {"network": "bridge", "network_name": name}
    if request.param == "the project's":
        yield {**settings, "creates_network": True}
        assert name not in docker("network", "ls", "--format", "{{.Name}}").stdout.split()
    else:
        docker("network", "create", "--internal", name)
        yield settings
        docker("network", "rm", name)


def test_on_a_bridge_a_service_is_reached_by_its_name_and_nothing_outside_is(
    image: str, network: dict[str, Any], compose: Any
) -> None:
    names = ("mod_wsgi-tuned", "uvicorn__flask", "uvicorn")
    serve = ("python", "-m", "http.server", "8000", "--directory", "/srv/apps")
    ask = Service("ask", image, ("python", "-c", ASK, *names))
    composed = compose(*(Service(name, image, serve) for name in names), ask, **network)
    composed("up", "--detach", *names)
    answers = json.loads(composed("run", "--rm", "--no-TTY", "ask"))
    assert answers == [(ROOT / "apps" / "contract.toml").read_text(encoding="utf-8")] * len(names)
    (found,) = json.loads(docker("network", "inspect", network["network_name"]).stdout)
    assert found["Internal"] is True
    if "creates_network" in network:
        assert found["Labels"]["gatebench"] == "test"
    for container in composed.inspect():
        assert_hardened(container, owner="test")
        assert list(container["NetworkSettings"]["Networks"]) == [network["network_name"]]


def test_a_load_generator_is_talked_to_reads_the_counters_and_its_output_is_not_kept(
    image: str, compose: Any
) -> None:
    volume = "/sys/fs/cgroup:/cgroup:ro"
    tell = "import os; print(input()[::-1], len(os.listdir('/cgroup')) > 1, os.access('/cgroup', os.W_OK))"
    service = Service("loadgen", image, ("python", "-c", tell), interactive=True, volumes=(volume,))
    composed = compose(service)
    assert composed("run", "--no-TTY", "loadgen", given="abc\n") == "cba True False\n"
    (container,) = composed.inspect()
    assert_hardened(container, owner="test", log="none", volumes=[volume])


def test_a_server_without_a_handler_for_its_signal_ends_by_it(image: str, compose: Any) -> None:
    sleeps = Service("sleeps", image, ("sleep", "600"), stop_signal="SIGTERM")
    composed = compose(sleeps)
    composed("up", "--detach")
    composed("stop")
    assert [each["State"]["ExitCode"] for each in composed.inspect()] == [128 + 15]


def test_a_service_that_takes_more_memory_than_it_may_is_killed(image: str, compose: Any) -> None:
    greedy = Service("greedy", image, ("python", "-c", "x = bytearray(200 << 20)"), memory_mib=64)
    composed = compose(greedy)
    composed.run("up", check=False)
    assert [each["State"]["OOMKilled"] for each in composed.inspect()] == [True]


def test_a_core_that_is_not_there_is_named_by_the_engine() -> None:
    composed = Composed(ROOT / FILE, f"dk-compose-core-{os.getpid()}", SERVER_CPUS="4000")
    failed = composed.run("up", "uvicorn", check=False)
    composed("--profile", "*", "down", "--rmi", "local")
    assert failed.returncode != 0
    assert "4000" in failed.stderr
    assert composed.left() == []
