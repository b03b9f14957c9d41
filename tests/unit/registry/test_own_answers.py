"""Workloads that say their answers themselves, or have them learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatebench.contract.file import load_contract
from gatebench.load.targets import target_of
from gatebench.registry.workloads import parse_workload
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import OwnAnswer, Workload

HEAD = """
description = "For tests"
transport = "keep-alive"
slice = "100ms"
warmup = "100ms"
profiles = ["full"]
"""
LOAD = '\n[load]\nmodel = "closed"\nconnections = [4]\n'


def workload(tmp_path: Path, tables: str) -> Workload:
    folder = tmp_path / "asked"
    folder.mkdir(exist_ok=True)
    (folder / "workload.toml").write_text(HEAD + tables + LOAD, encoding="utf-8")
    return parse_workload(folder)


def problems(tmp_path: Path, tables: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        workload(tmp_path, tables)
    return "\n".join(caught.value.problems)


def test_an_answer_may_be_said_with_its_type_and_its_body(tmp_path: Path) -> None:
    asked = workload(
        tmp_path,
        '[request]\npath = "/grüße und mehr?q=ä%20b"\nmethod = "PUT"\nbody = "x"\n'
        'headers = {Accept = "a/b"}\n'
        '[answer]\nstatus = 201\ncontent_type = "a/b"\nbody = "fertig 12"\nvaries = ["[0-9]+"]\n',
    )
    assert asked.request.path == "/gr%C3%BC%C3%9Fe%20und%20mehr?q=%C3%A4%20b"
    assert asked.request.answer == OwnAnswer(201, "a/b", b"fertig 12", ("[0-9]+",))
    target = target_of(asked, asked.levels[0], load_contract(), "127.0.0.1", 1)
    assert (target.status, target.answer, target.headers) == (201, b"fertig 12", {"content-type": "a/b"})
    assert b"\r\naccept: a/b\r\n" in target.request_bytes()


def test_an_answer_may_be_left_to_be_learned_and_then_there_is_no_target_yet(tmp_path: Path) -> None:
    asked = workload(tmp_path, '[request]\npath = "/items"\n[answer]\nlearn = true\n')
    assert asked.request.is_learned
    with pytest.raises(ValueError, match="not learned"):
        target_of(asked, asked.levels[0], load_contract(), "127.0.0.1", 1)


def test_requests_take_turns_by_their_shares_and_may_be_of_the_contract(tmp_path: Path) -> None:
    asked = workload(
        tmp_path,
        '[[requests]]\npath = "/plaintext"\nshare = 3\n'
        '[[requests]]\npath = "/own"\nanswer = {body = "mine"}\n',
    )
    target = target_of(asked, asked.levels[0], load_contract(), "127.0.0.1", 1)
    assert [(each.path, each.share) for each in (target, *target.others)] == [("/plaintext", 3), ("/own", 1)]
    assert target.others[0].answer == b"mine"


def test_what_is_said_of_answers_at_large_goes_for_requests_that_say_nothing(tmp_path: Path) -> None:
    asked = workload(
        tmp_path,
        '[[requests]]\npath = "/a"\n[[requests]]\npath = "/b"\nanswer = {body = "b"}\n'
        "[answer]\nlearn = true\n",
    )
    assert [each.is_learned for each in asked.requests] == [True, False]


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ('[request]\npath = "/a"\n[answer]\n', "answer.body: is missing"),
        (
            '[request]\npath = "/a"\n[answer]\nlearn = true\nbody = "x"\n',
            "answer.learn: and `body` contradict",
        ),
        ('[request]\npath = "/a"\n[answer]\nbody = "x"\nvaries = ["[0-9]"]\n', 'varies: "[0-9]" is nowhere'),
        ('[request]\npath = "/a"\n[answer]\nlearn = true\nvaries = ["x*"]\n', "matches nothing at all"),
        ('[request]\npath = "a"\n[answer]\nlearn = true\n', 'request.path: "a" must start with /'),
        ('[request]\npath = "/a#b"\n[answer]\nlearn = true\n', "what follows # is never sent"),
        ('[request]\npath = "/plaintext"\nheaders = {a = "b"}\n', "request.headers: are for a workload"),
        (
            '[request]\npath = "/a"\nheaders = {Content-Length = "1"}\n[answer]\nlearn = true\n',
            "is set by the load engine",
        ),
        ('[[requests]]\npath = "/a"\n', 'requests.path: "/a" is no route of the contract'),
        ('[request]\npath = "/a"\n[[requests]]\npath = "/plaintext"\n', "give it or `request`"),
        ("[answer]\nlearn = true\n", "request: is missing"),
    ],
)
def test_what_cannot_be_is_said_with_its_key(tmp_path: Path, tables: str, told: str) -> None:
    assert told in problems(tmp_path, tables)
