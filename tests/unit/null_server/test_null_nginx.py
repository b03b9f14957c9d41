"""nginx as null server: its configuration keeps to the contract, by a real nginx where there is one."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatebench.contract.file import CONTRACT_FILE, load_contract
from gatebench.machine.kernel import fresh_port, is_free
from gatebench.runners.docker.backend import ROUTES, answers, configuration
from gatebench.words.paths import HOST
from loadtests.engine.protocol import Target
from tests.support.lab import wait_until

CONTRACT = load_contract()
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
ANSWERS_ON_ONE_CONNECTION = 2_000
"""Twice nginx's own limit (`keepalive_requests`), over which it would close."""


def target(path: str, **keys: str) -> Target:
    return replace(Target(HOST, 1, "keep-alive", path=path), **keys)  # type: ignore[arg-type]  # of any field


def test_nginx_is_asked_only_for_small_fixed_answers() -> None:
    assert all(answers(target(path)) for path in ROUTES)
    assert answers(target("/json", transport="close"))
    assert not answers(target("/bytes/1024"))
    assert not answers(target("/plaintext", method="POST"))
    assert not answers(target("/plaintext", transport="websocket"))


def test_the_configuration_listens_only_where_it_is_told_to() -> None:
    text = configuration("127.0.0.7", 23456, CONTRACT)
    assert [line.split()[1] for line in text.splitlines() if line.split()[:1] == ["listen"]] == [
        "127.0.0.7:23456"
    ]


@pytest.mark.parametrize("text", ["it's", "$host", "a\\b"])
def test_a_text_that_nginx_would_read_as_something_else_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "contract.toml"
    body = json.dumps(f"text:{text}")
    file.write_text(CONTRACT_FILE.read_text().replace('"text:Hello, World!"', body))
    contract = load_contract(file)
    assert contract.expect("GET", "/plaintext").body == text.encode()
    with pytest.raises(ValueError, match=r"^/plaintext: nginx would take"):
        configuration(HOST, 1, contract)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    if NGINX is None:
        pytest.skip("nginx is not installed here; the load generator's image has it")
    port = fresh_port(HOST, set())
    # A worker of another user, as nginx has where root starts it, must get at its folders.
    tmp_path.chmod(0o755)
    text = configuration(HOST, port, CONTRACT).replace("/scratch/", f"{tmp_path}/")
    file = tmp_path / "nginx.conf"
    file.write_text(text)
    with subprocess.Popen([NGINX, "-e", "stderr", "-c", str(file), "-g", "daemon off;"]) as process:
        try:
            wait_until("nginx to listen", lambda: not is_free(HOST, port) or process.poll() is not None)
            assert process.poll() is None
            connection = http.client.HTTPConnection(HOST, port, timeout=10)
            yield connection
            connection.close()
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.real
@pytest.mark.parametrize("route", ROUTES)
def test_a_real_nginx_answers_byte_for_byte_as_the_contract(
    nginx: http.client.HTTPConnection, route: str
) -> None:
    expected = CONTRACT.expect("GET", route)
    nginx.request("GET", route)
    answer = nginx.getresponse()
    body = answer.read()
    assert (answer.status, body) == (expected.status, expected.body)
    assert {name: answer.headers[name] for name in expected.headers} == dict(expected.headers)
    assert answer.headers["Content-Length"] == str(len(body))


@pytest.mark.real
def test_a_real_nginx_keeps_a_connection_over_any_number_of_requests(
    nginx: http.client.HTTPConnection,
) -> None:
    nginx.connect()
    first = nginx.sock
    for _ in range(ANSWERS_ON_ONE_CONNECTION):
        nginx.request("GET", "/plaintext")
        nginx.getresponse().read()
    assert nginx.sock is first
