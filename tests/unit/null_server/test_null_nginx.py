"""nginx as null server: what it is asked for, and its configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gatebench.contract.file import CONTRACT_FILE, load_contract
from gatebench.runners.docker.backend import ROUTES, answers, configuration
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
