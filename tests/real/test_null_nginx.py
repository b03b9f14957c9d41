"""A real nginx as null server keeps to the contract."""

from __future__ import annotations

import http.client
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebench.contract.file import load_contract
from gatebench.machine.kernel import fresh_port, is_free
from gatebench.runners.docker.responders import ROUTES, configuration
from gatebench.words.paths import HOST
from tests.support.lab import let_others_pass, wait_until

CONTRACT = load_contract()
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
ANSWERS_ON_ONE_CONNECTION = 2_000
"""Twice nginx's own limit (`keepalive_requests`), over which it would close."""


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    if NGINX is None:
        pytest.skip("nginx is not installed here; the load generator's image has it")
    port = fresh_port(HOST, set())
    # A worker of another user, as nginx has where root starts it, must get at its folders.
    let_others_pass(tmp_path)
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


def test_a_real_nginx_keeps_a_connection_over_any_number_of_requests(
    nginx: http.client.HTTPConnection,
) -> None:
    nginx.connect()
    first = nginx.sock
    for _ in range(ANSWERS_ON_ONE_CONNECTION):
        nginx.request("GET", "/plaintext")
        nginx.getresponse().read()
    assert nginx.sock is first
