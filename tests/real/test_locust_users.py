"""The Locust file on its own: one user is one connection, every answer is counted, nothing outlives it."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from gatebench.machine.kernel import fresh_port
from gatebench.words.paths import HOST, ROOT
from tests.support.contract_server import ContractServer, Faults
from tests.support.lab import PATIENCE_S, fetch, wait_until

USERS = 8
COUNTED = re.compile(r"^(GET|WS) +/\S+( \(new connection\))? +[1-9]", re.MULTILINE)
"""A row of Locust's table on the terminal with a number of requests other than 0."""
LOCUST = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py")]


class CountingServer(ContractServer):
    """An honest server that counts its connections."""

    def __init__(self, faults: Faults | None = None, host: str = HOST) -> None:
        super().__init__(faults, host)
        self.opened = 0
        self.open = 0

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open += 1
        try:
            await super()._connection(reader, writer)
        finally:
            self.open -= 1


def headless(folder: Path, users: str, port: int, *options: str) -> int:
    """Locust without its UI until it has shown something counted of each of its users; its exit status.

    Its tables are in `folder`, as CSV files.
    """
    names = users.split()
    command = [*LOCUST, *names, "--headless", "-u", str(USERS), "-r", str(USERS), "-t", f"{PATIENCE_S:.0f}s"]
    command += ["--host", f"http://{HOST}:{port}", "--csv", str(folder / "table"), *options]
    log = folder / "locust.log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=folder, stdout=output, stderr=output) as locust,
    ):
        try:
            wait_until(
                "rows of Locust's table", lambda: len(set(COUNTED.findall(log.read_text()))) == len(names)
            )
            locust.terminate()
            return locust.wait(PATIENCE_S)
        finally:
            locust.kill()


def rows(folder: Path, table: str = "stats") -> list[dict[str, str]]:
    with (folder / f"table_{table}.csv").open() as file:
        return list(csv.DictReader(file))


def run_honestly(folder: Path, user: str, *options: str) -> tuple[dict[str, str], int]:
    """Locust's row of an honest server, and how many connections that server saw."""
    with CountingServer() as server:
        assert headless(folder, user, server.port, *options) == 0
        wait_until("every connection to be closed", lambda: server.open == 0)
    row, total = rows(folder)
    assert total["Request Count"] == row["Request Count"]
    assert row["Failure Count"] == "0"
    return row, server.opened


@pytest.mark.parametrize(
    ("user", "kind", "name"), [("KeepAliveUser", "GET", "/plaintext"), ("WebSocketUser", "WS", "/ws/echo")]
)
def test_one_user_is_one_connection_on_which_every_answer_is_counted(
    tmp_path: Path, user: str, kind: str, name: str
) -> None:
    row, connections = run_honestly(tmp_path, user)
    assert (row["Type"], row["Name"]) == (kind, name)
    assert connections == USERS
    assert int(row["Request Count"]) > USERS


def has_ipv6() -> bool:
    """Whether something can listen at the IPv6 loopback address here."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("user", ["KeepAliveUser", "CloseUser", "WebSocketUser"])
@pytest.mark.parametrize(
    ("listens", "host", "prefix"),
    [
        pytest.param(
            "::1", "http://[::1]:{port}", "", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
        ),
        pytest.param(
            "::1", "http://localhost:{port}/", "", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
        ),
        (HOST, "http://localhost:{port}", ""),
        (HOST, f"http://{HOST}:{{port}}/shop/v1/", "/shop/v1"),
        (HOST, f"ws://{HOST}:{{port}}/shop", "/shop"),
    ],
)
def test_a_host_may_be_a_name_an_ipv6_address_or_have_a_path_before_every_route(
    tmp_path: Path, user: str, listens: str, host: str, prefix: str
) -> None:
    if "localhost" in host and listens not in {each[4][0] for each in socket.getaddrinfo("localhost", 80)}:
        pytest.skip(f"localhost is not {listens} on this machine")
    with CountingServer(Faults(prefix=prefix), listens) as server:
        assert headless(tmp_path, user, server.port, "--host", host.format(port=server.port)) == 0
    row, _ = rows(tmp_path)
    assert row["Name"].startswith(f"{prefix}/")
    assert int(row["Request Count"]) > USERS
    assert row["Failure Count"] == "0"


def test_a_user_that_closes_opens_a_connection_for_every_request(tmp_path: Path) -> None:
    # Locust writes its CSV files once a second, and this one when all is counted.
    counts = tmp_path / "counts.json"  # Locust adds the ending itself
    row, connections = run_honestly(tmp_path, "CloseUser", "--json-file", str(counts.with_suffix("")))
    assert (row["Type"], row["Name"]) == ("GET", "/plaintext (new connection)")
    (entry,) = json.loads(counts.read_text())
    # What is in flight when Locust ends only the server has seen.
    assert connections - USERS <= entry["num_requests"] <= connections
    assert connections > USERS


def test_kept_and_new_connections_are_two_rows(tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    options = ("--json-file", str(counts.with_suffix("")))
    with CountingServer() as server:
        assert headless(tmp_path, "KeepAliveUser CloseUser", server.port, *options) == 0
    shown = [(entry["method"], entry["name"]) for entry in json.loads(counts.read_text())]
    assert sorted(shown) == [("GET", "/plaintext"), ("GET", "/plaintext (new connection)")]


MERGING = """
import dataclasses, json
from locust.stats import RequestStats
from loadtests.engine.tally import SliceResult
from loadtests.engine.protocol import Target
from loadtests.swarm.users import merge_into

nothing = {field.name: 0 for field in dataclasses.fields(SliceResult)} | {"failures": {}, "examples": {}}
latencies_us = {"response": {433: 2, 1236: 1, 123456: 1}}
stats = RequestStats()
for _ in range(2):
    result = SliceResult(**nothing | {"completed": 4, "histograms": latencies_us})
    merge_into(stats, Target("127.0.0.1", 9, "keep-alive", path="/plaintext"), result)
print(json.dumps([stats.get("/plaintext", "GET").to_dict(), stats.total.to_dict()]))
"""
"""In a process of its own: Locust changes the standard library of whatever imports it."""


def test_locusts_percentiles_have_three_digits_and_its_average_is_exact() -> None:
    told = subprocess.run(
        [sys.executable, "-c", MERGING], cwd=ROOT, capture_output=True, timeout=PATIENCE_S, check=True
    )
    for row in json.loads(told.stdout):
        assert row["num_requests"] == 8
        assert row["median_response_time"] == 1.24
        assert row["response_time_percentile_0.95"] == 123
        assert row["avg_response_time"] == pytest.approx((0.433 * 2 + 1.236 + 123.456) / 4)


def test_another_route_of_the_contract_can_be_chosen(tmp_path: Path) -> None:
    with CountingServer() as server:
        assert headless(tmp_path, "KeepAliveUser", server.port, "--path", "/json") == 0
    assert rows(tmp_path)[0]["Name"] == "/json"


def test_wrong_bytes_are_failures_in_locusts_tables(tmp_path: Path) -> None:
    faults = Faults(spoil={"GET /plaintext": lambda answer: answer.replace(b"World", b"Wurld")})
    with CountingServer(faults) as server:
        assert headless(tmp_path, "KeepAliveUser", server.port) == 1
    (failure,) = rows(tmp_path, "failures")
    assert failure["Error"].startswith("body:")
    assert int(failure["Occurrences"]) > 0


def test_a_host_where_nobody_listens_gives_failures_and_status_1(tmp_path: Path) -> None:
    assert headless(tmp_path, "KeepAliveUser", fresh_port(HOST, set())) == 1
    (failure,) = rows(tmp_path, "failures")
    assert failure["Error"].startswith("refused:")
    assert int(rows(tmp_path)[0]["Failure Count"]) > 0


@contextmanager
def web_ui(folder: Path, host_port: int, *options: str) -> Iterator[tuple[psutil.Process, int]]:
    """Locust with its web UI: its process and the UI's port."""
    port = fresh_port(HOST, set())
    command = [*LOCUST, "KeepAliveUser", "--web-host", HOST, "--web-port", str(port)]
    command += ["--host", f"http://{HOST}:{host_port}", *options]
    with (folder / "locust.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until("the web UI", lambda: answers(port) or process.poll() is not None)
        yield psutil.Process(process.pid), port
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()


def answers(port: int) -> bool:
    try:
        return bool(fetch(port, "/"))
    except urllib.error.URLError:
        return False


def swarm(port: int, **more: str) -> None:
    form = urllib.parse.urlencode({"user_count": USERS, "spawn_rate": USERS, **more}).encode()
    with urllib.request.urlopen(f"http://{HOST}:{port}/swarm", data=form, timeout=PATIENCE_S) as response:
        answer = response.read()
    assert json.loads(answer)["success"]


def counted(port: int) -> int:
    """The requests that the web UI shows; it may be two seconds behind."""
    rows_shown = json.loads(fetch(port, "/stats/requests"))["stats"]
    return int(sum(row["num_requests"] for row in rows_shown if row["name"] == "Aggregated"))


def test_a_test_can_be_started_stopped_and_started_again_in_the_web_ui(tmp_path: Path) -> None:
    with CountingServer() as server, web_ui(tmp_path, server.port) as (locust, port):
        for number in (1, 2):
            swarm(port)
            wait_until("every user's connection", lambda: server.open == USERS)
            wait_until("requests to be counted", lambda: counted(port) > 0)
            assert server.opened == number * USERS
            engines = locust.children()
            assert len(engines) == 1
            assert json.loads(fetch(port, "/stop", {}))["success"]
            wait_until("the connections to be closed", lambda: server.open == 0)
            _, alive = psutil.wait_procs(engines, timeout=PATIENCE_S)
            assert alive == []


def test_the_engine_ends_with_locust_even_after_kill_9(tmp_path: Path) -> None:
    with CountingServer() as server, web_ui(tmp_path, server.port) as (locust, port):
        swarm(port)
        wait_until("every user's connection", lambda: server.open == USERS)
        engines = locust.children()
        assert len(engines) == 1
        locust.kill()
        _, alive = psutil.wait_procs(engines, timeout=PATIENCE_S)
        assert alive == []
        wait_until("the connections to be closed", lambda: server.open == 0)


def test_an_engine_that_dies_ends_the_test_as_failed(tmp_path: Path) -> None:
    log = tmp_path / "locust.log"
    command = [*LOCUST, "KeepAliveUser", "--headless", "-u", "2", "-r", "2", "-t", f"{PATIENCE_S:.0f}s"]
    with (
        CountingServer() as server,
        log.open("w") as output,
        subprocess.Popen(
            [*command, "--host", f"http://{HOST}:{server.port}"], stdout=output, stderr=output
        ) as process,
    ):
        try:
            wait_until("the users' connections", lambda: server.open == 2)
            (engine,) = psutil.Process(process.pid).children()
            engine.kill()
            assert process.wait(PATIENCE_S) == 1
        finally:
            process.kill()
    assert "the load engine's process ended in the middle of the test" in log.read_text()


def test_a_run_without_workers_writes_its_exact_result_too(tmp_path: Path) -> None:
    exact_file, counts = tmp_path / "exact.json", tmp_path / "counts.json"
    files = ("--exact-json", str(exact_file), "--json-file", str(counts.with_suffix("")))
    run_honestly(tmp_path, "KeepAliveUser", *files, "--engine-cpu", "0", "--engine-cpu", "1")
    exact = json.loads(exact_file.read_text())
    assert exact["complete"]
    assert exact["workers"] == {"expected": 1, "heard": 1, "lost": {}}
    ((_, group),) = exact["groups"].items()
    assert group["result"]["opened"] == USERS
    assert group["result"]["completed"] == json.loads(counts.read_text())[0]["num_requests"]


def test_each_core_that_is_named_gets_an_engine(tmp_path: Path) -> None:
    with CountingServer() as server, web_ui(tmp_path, server.port, "--engine-cpu", "0,1") as (locust, port):
        swarm(port)
        wait_until("every user's connection", lambda: server.open == USERS)
        engines = locust.children()
        assert sorted(engine.cpu_affinity() for engine in engines) == [[0], [1]]
        held = [len([each for each in engine.net_connections("tcp") if each.raddr]) for engine in engines]
        assert held == [USERS // 2, USERS // 2]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--path", "/nowhere"), "argument --path: GET /nowhere: no route of the contract"),
        (("--path", "/interface"), "its answer differs between servers"),
        (("--engine-cpu", "4095"), "argument --engine-cpu: there is no core 4095"),
        (("--engine-cpu", "1,x"), "'1,x' must be core numbers such as 1 or 1,2"),
        (("--engine-cpu", "1", "--engine-cpu", "1"), "a core is named twice"),
        (("--exact-json", "/nowhere/exact.json"), "must name a file in a folder that exists"),
        (("--host", "https://127.0.0.1"), "TLS is not spoken here; name the server's plain HTTP port"),
        (("--host", "http://"), "it must be given as http://ADDRESS:PORT"),
        (
            ("--host", "http://me:secret@127.0.0.1:8000"),
            "a user name, a query or a fragment would be left out",
        ),
        (("--host", "http://127.0.0.1:8000/?page=2"), "a user name, a query or a fragment would be left out"),
        (("--host", "http://127.0.0.1:99999"), "Port out of range 0-65535"),
        (("--host", "http://[::1:8000"), "Invalid IPv6 URL"),
    ],
)
def test_a_wrong_option_gives_one_clear_error(tmp_path: Path, options: tuple[str, ...], error: str) -> None:
    command = [*LOCUST, "KeepAliveUser", "--headless", "-u", "4", "-t", "5s", "--host", f"http://{HOST}:9"]
    ended = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.count(error) == 1
    assert "Traceback" not in ended.stderr


def test_a_wrong_path_in_the_web_form_gives_one_clear_error(tmp_path: Path) -> None:
    with CountingServer() as server, web_ui(tmp_path, server.port) as (_, port):
        log = tmp_path / "locust.log"
        swarm(port, path="/nowhere")
        wait_until("an error", lambda: "no route of the contract" in log.read_text())
        swarm(port, path="/json")
        wait_until("every user's connection", lambda: server.open == USERS)
        assert log.read_text().count("no route of the contract") == 1
        assert "Traceback" not in log.read_text()
