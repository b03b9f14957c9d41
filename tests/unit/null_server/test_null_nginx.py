"""nginx as null server: what it is asked for, and its configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gatebench.contract.file import CONTRACT_FILE, load_contract
from gatebench.runners.docker.responders import (
    ROUTES,
    answers,
    configuration,
    nginx_responder,
    own_responder,
)
from gatebench.runners.docker.services import FILES_VARIABLE, LAUNCHER, Project, render, server_service
from gatebench.words.options import Budget
from gatebench.words.paths import HOST
from loadtests.engine.protocol import Target

CONTRACT = load_contract()


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


def test_in_a_container_of_a_run_nginx_gets_the_same_configuration_for_its_own_address() -> None:
    service = server_service(
        nginx_responder(), image="load", host="127.0.0.7", port="23456", budget=Budget((3,))
    )
    files = json.loads(service.environment[FILES_VARIABLE].replace("$$", "$"))
    assert files == {"nginx.conf": configuration("127.0.0.7", 23456, CONTRACT)}
    assert service.command == (*LAUNCHER, "nginx", "-c", "/scratch/nginx.conf", "-g", "daemon off;")
    assert (service.name, service.cpuset) == ("nginx__limit", "3")


def test_the_null_responders_of_a_run_have_services_of_their_own() -> None:
    services = [
        server_service(each, image="load", host=HOST, port="1", budget=Budget((3,)))
        for each in (own_responder(), nginx_responder())
    ]
    text = render(Project("run", tuple(services), "owner"))
    assert "  nginx__limit:" in text.splitlines()
    assert "  null-responder__limit:" in text.splitlines()
    assert "loadtests.null_server" in text
