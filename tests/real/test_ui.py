"""`gatebench ui`: who is offered, what is said when something ends, and that nothing outlives it."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.error
from pathlib import Path
from typing import Self

import psutil
import pytest

from gatebench.machine.kernel import fresh_port
from gatebench.words.paths import HOST
from tests.support.lab import OWN_FOLDERS, Command, fetch, gatebench, wait_until

SERVERS = OWN_FOLDERS[:2]
OFFERED = re.compile(r'"available_user_classes": (\[[^]]*\])')


class Ui:
    """The command with a subject of the tests, and its two ports."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.port = fresh_port(HOST, set())
        self.web_port = fresh_port(HOST, {self.port})
        ports = ("--port", str(self.port), "--web-port", str(self.web_port))
        self.command = Command(folder, "ui", subject, *ports, *SERVERS)

    def __enter__(self) -> Self:
        self.command.wait_until("the web UI", self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what a failed test leaves."""
        if self.command.running:
            self.command.send(signal.SIGTERM)
            self.command.end()

    def page(self) -> str:
        """Locust's start page."""
        return fetch(self.web_port, "/").decode()

    def swarm(self) -> None:
        """Starts a test, and returns when requests have been counted."""
        assert json.loads(fetch(self.web_port, "/swarm", {"user_count": 4, "spawn_rate": 4}))["success"]
        self.command.wait_until("requests to be counted", lambda: self.rows() != {})

    def rows(self) -> dict[str, int]:
        """Name → number of requests, of every row that has some."""
        shown = json.loads(fetch(self.web_port, "/stats/requests"))["stats"]
        return {f"{row['method']} {row['name']}": row["num_requests"] for row in shown if row["num_requests"]}

    def process(self, part_of_command: str) -> psutil.Process:
        """The first process of the command with these words in its own command line."""
        found = [psutil.Process(pid) for pid in self.command.servers]
        return next(each for each in found if part_of_command in " ".join(each.cmdline()))

    def _answers(self) -> bool:
        try:
            return bool(self.page())
        except urllib.error.URLError:
            return False


@pytest.mark.parametrize(
    ("subject", "offered"),
    [
        ("honest-wsgi", ["CloseUser", "KeepAliveUser"]),
        ("honest-asgi", ["CloseUser", "KeepAliveUser", "WebSocketUser"]),
    ],
)
def test_the_users_that_can_be_picked_are_those_that_the_subject_can_answer(
    tmp_path: Path, subject: str, offered: list[str]
) -> None:
    with Ui(tmp_path, subject) as ui:
        match = OFFERED.search(ui.page())
        assert match is not None
        assert json.loads(match[1]) == offered
        ui.swarm()
        wait_until("a row for each kind of user", lambda: len(ui.rows()) == len(offered) + 1)
        ui.command.send(signal.SIGTERM)
        assert ui.command.end().status == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_under_load_ends_locust_before_its_server(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Ui(tmp_path, "honest-asgi") as ui:
        ui.swarm()
        ui.command.send(number)
        ended = ui.command.end()
        assert ended.status == 130, ended.said
        # Locust ended in order: it printed its last table, and no user of it had met a server that was gone.
        assert "Shutting down (exit code 0)" in ended.said
        assert "Aggregated" in ended.said
        assert "refused" not in ended.said


def test_a_server_that_is_killed_ends_locust_and_is_told(tmp_path: Path) -> None:
    with Ui(tmp_path, "honest-asgi") as ui:
        ui.process("tests.support.small_server").kill()
        ended = ui.command.end()
        assert ended.status == 1
        assert "the server was ended by SIGKILL" in ended.said
        assert "Traceback" not in ended.said


def test_a_server_that_ends_under_load_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Ui(tmp_path, "faulty-dies") as ui:
        fetch(ui.web_port, "/swarm", {"user_count": 4, "spawn_rate": 4})
        ended = ui.command.end()
        assert ended.status == 1
        last = ended.said.rpartition("the server exited with status 7; its last lines:")[2]
        assert "planted fault: this process ends now" in last


def test_locust_that_is_killed_ends_the_server_and_is_told(tmp_path: Path) -> None:
    with Ui(tmp_path, "honest-asgi") as ui:
        ui.swarm()
        ui.process("-m locust").kill()
        ended = ui.command.end()
        assert ended.status == 1
        assert f"Locust ended with status {-signal.SIGKILL}" in ended.said


def runs(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that init has not looked after yet has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_is_left_of_a_command_that_is_killed(tmp_path: Path) -> None:
    with Ui(tmp_path, "honest-asgi") as ui:
        ui.swarm()
        locust = ui.process("-m locust")
        engines = locust.children()
        assert len(engines) == 1
        ui.command.send(signal.SIGKILL)
        assert ui.command.end().status == -signal.SIGKILL
        assert not any(runs(process) for process in (locust, *engines))


@pytest.mark.parametrize("option", ["--port", "--web-port"])
def test_a_busy_port_is_refused_with_the_option_that_chooses_another(tmp_path: Path, option: str) -> None:
    with socket.create_server((HOST, 0)) as listener:
        busy = listener.getsockname()[1]
        ports = {"--port": fresh_port(HOST, {busy}), "--web-port": fresh_port(HOST, {busy}), option: busy}
        words = [word for name, port in ports.items() for word in (name, str(port))]
        ended = gatebench(tmp_path, "ui", "honest-wsgi", *words, *SERVERS)
    assert ended.status == 1
    assert f"port {busy} is in use; choose another one" in ended.said
    assert f"({option})" in ended.said
    assert "Traceback" not in ended.said
