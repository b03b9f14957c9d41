"""Which engine is used, and what is said where none can be: no engine is needed to find out."""

from __future__ import annotations

import gc
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from gatebench.cli.run import ContainerOptions, choose_containers, choose_runner
from gatebench.runners.docker import engine
from gatebench.runners.docker.engine import Engine, EngineAbsentError, EngineError
from gatebench.words.errors import ConfigurationError
from gatebench.words.paths import HOST
from tests.support.engine import DEAD, leave_no_engine

COMPOSE = '#!/bin/sh\necho "2.26.1"\n'


@pytest.fixture(autouse=True)
def no_engine_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    leave_no_engine(monkeypatch, tmp_path)
    yield
    gc.collect()


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A `docker` command that has Compose, and is the only one on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "docker"
    command.write_text(COMPOSE)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return command


@contextmanager
def answering(**answers: Any) -> Iterator[str]:
    """The address of something that answers as an engine does; other questions are refused with 403."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0

        def do_GET(self) -> None:
            what = self.path.rpartition("/")[2].strip("_")
            found = {"version": {"ApiVersion": "1.41"}, **answers}.get(what)
            body = b"OK" if what == "ping" else json.dumps(found or {"message": "not for you"}).encode()
            self.send_response(200 if found or what == "ping" else 403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"tcp://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def absent() -> str:
    with pytest.raises(EngineAbsentError) as caught:
        Engine.connect()
    return str(caught.value)


# Where the engine is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (DEAD, "Connection refused"),
        ("tcp://", "Invalid bind address format"),
        ("nonsense", "port is required"),
        (f"tcp://{HOST}:99999", "Port out of range"),
        ("unix:///no/such.sock", "No such file"),
    ],
)
def test_an_address_at_which_no_engine_answers_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, address: str, why: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    said = absent()
    assert f"no Docker engine answers at {address}" in said
    assert why in said


def test_looking_for_an_engine_where_none_listens_leaves_no_socket_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'nobody.sock'}")
    before = open_files()
    absent()
    with pytest.raises(ConfigurationError, match="No such file"):
        choose_runner("docker")
    assert choose_runner("auto").engine is None
    assert open_files() == before
    gc.collect()  # where a socket was dropped unclosed, pytest fails this test for the warning


def test_an_engine_that_cannot_be_used_is_let_go(monkeypatch: pytest.MonkeyPatch, compose: Path) -> None:
    with answering(info={"OSType": "windows"}) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        before = open_files()
        assert "windows containers" in absent()
        assert open_files() == before


def test_what_answers_but_is_no_engine_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"220 mail.example.org ESMTP\r\n")

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{HOST}:{listener.getsockname()[1]}")
        said = absent()
        thread.join()
    assert "no Docker engine answers at" in said


def test_an_engine_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECT_S", 0.2)
    with socket.create_server((HOST, 0)) as listener:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{HOST}:{listener.getsockname()[1]}")
        assert "timed out" in absent()


def test_an_engine_that_lets_nobody_ask_counts_as_none(
    monkeypatch: pytest.MonkeyPatch, compose: Path
) -> None:
    with answering() as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        said = absent()
    assert f"no Docker engine answers at {address}" in said
    assert "403" in said


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_context_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, by_variable: bool
) -> None:
    monkeypatch.delenv("DOCKER_HOST")
    if by_variable:
        monkeypatch.setenv("DOCKER_CONTEXT", "dk-nowhere")
    else:
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker" / "config.json").write_text('{"currentContext": "dk-nowhere"}')
    assert 'there is no Docker context "dk-nowhere"; `docker context ls`' in absent()


# What is there besides it -----------------------------------------------------------------------------------


def test_an_engine_is_asked_what_it_is(monkeypatch: pytest.MonkeyPatch, compose: Path) -> None:
    info = {"OSType": "linux", "NCPU": 8, "ServerVersion": "20.10.24", "OperatingSystem": "Debian"}
    with answering(info=info) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        found = Engine.connect()
        assert found.cores == 8
        assert not found.is_local
        assert found.describe().to_json() == {
            "name": "Docker",
            "version": "20.10.24",
            "api": "1.41",
            "system": "Debian",
            "cgroup": "1",
            "storage": "",
            "remote": True,
            "compose": "2.26.1",
        }
    with pytest.raises(EngineError, match="what was measured is kept"):
        found.ping()


def test_an_engine_of_other_containers_is_refused(monkeypatch: pytest.MonkeyPatch, compose: Path) -> None:
    with answering(info={"OSType": "windows"}) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        assert absent() == f"the engine at {address} runs windows containers"


def test_a_missing_docker_command_is_told(monkeypatch: pytest.MonkeyPatch, compose: Path) -> None:
    compose.unlink()
    with answering(info={"OSType": "linux"}) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        assert "the command `docker` is missing" in absent()


def test_a_missing_compose_plug_in_is_told(monkeypatch: pytest.MonkeyPatch, compose: Path) -> None:
    compose.write_text("#!/bin/sh\necho \"docker: 'compose' is not a docker command.\" >&2\nexit 1\n")
    with answering(info={"OSType": "linux"}) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        assert "install the Compose plug-in" in absent()


# The choice -------------------------------------------------------------------------------------------------


def test_auto_falls_back_to_processes_and_says_why() -> None:
    choice = choose_runner("auto")
    assert choice.engine is None
    assert choice.reason.startswith(f"servers run as local processes: no Docker engine answers at {DEAD}")


def test_docker_without_an_engine_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose_runner("docker")
    (problem,) = caught.value.problems
    assert problem.startswith(f'runner "docker": no Docker engine answers at {DEAD}')
    for advice in ("systemctl start docker", "DOCKER_HOST", "docker context use", "--runner=process"):
        assert advice in problem


def test_processes_ask_for_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense")
    choice = choose_runner("process")
    assert (choice.engine, choice.reason) == (None, "servers run as local processes, as asked for")


@pytest.mark.parametrize(("name", "why"), [("auto", "because an engine answers"), ("docker", "as asked for")])
def test_an_engine_that_answers_is_taken_and_named(
    monkeypatch: pytest.MonkeyPatch, compose: Path, name: str, why: str
) -> None:
    with answering(info={"OSType": "linux"}) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        choice = choose_runner(name)
    assert choice.engine is not None
    assert choice.reason.startswith(f"servers run in containers of the engine at {address}, {why}")


def test_how_containers_are_connected_is_chosen() -> None:
    assert choose_containers("host", "192.0.2.7") == ContainerOptions("host", "192.0.2.7")


@pytest.mark.parametrize(
    ("network", "host", "expected"),
    [
        ("brigde", HOST, 'unknown network "brigde" (did you mean "bridge"?)'),
        ("host", "example.org", "--server-host: 'example.org' is not an IPv4 address"),
        ("bridge", "192.0.2.7", "--server-host: on a bridge each server has an address of its own"),
    ],
)
def test_a_connection_that_cannot_be_is_refused(network: str, host: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose_containers(network, host)
    (problem,) = caught.value.problems
    assert problem.startswith(expected)
