"""The interface matrix: what is recorded of each server, what is made of it, and how the page shows it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jinja2
import pytest

from analysis.page import interfaces
from analysis.page.interfaces import Matrix, Row, matrices
from analysis.reading.run import load_run
from gatebench.contract.site import Fetched, Site
from gatebench.registry.registry import load_registry
from gatebench.runners.base import Instance
from gatebench.runners.readiness import Handed, ask_interfaces, public
from gatebench.words.paths import ROOT
from tests.support.summaries import BY_ID, KEEP_ALIVE
from tests.support.synthetic import make_run
from tests.support.synthetic_model import Plan

SUBJECTS = {subject.id: subject for subject in load_registry(ROOT).subjects()}
HOSTILE = "<script>alert(1)</script>"
VERSION = {"type": "str", "value": "HTTP/1.1"}


class Answers:
    """A site whose servers give these answers."""

    def __init__(self, *answers: Fetched) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def fetch(self, addresses: Sequence[tuple[str, int]], target: str, *, timeout_s: float) -> list[Fetched]:
        assert (target, timeout_s > 0) == ("/interface", True)
        self.asked += addresses
        return self.answers


def instance(subject: str, port: int, **marks: Any) -> Instance:
    found = replace(SUBJECTS[subject], **marks)
    return cast("Instance", SimpleNamespace(subject=found, host="127.0.0.1", port=port))


def ask(site: Answers, *instances: Instance) -> list[Handed]:
    return list(ask_interfaces(instances, cast("Site", site)))


def document(**keys: Any) -> bytes:
    return json.dumps({"interface": "wsgi", "keys": keys}).encode()


def with_events(tmp_path: Path, *events: dict[str, Any], subjects: Sequence[str] = ()) -> tuple[Matrix, ...]:
    """The matrices of a synthetic run in which these were recorded."""
    chosen = [BY_ID[name] for name in subjects or ("waitress", "gunicorn-sync", "uvicorn", "daphne")]
    folder = make_run(tmp_path / "run", Plan(blocks=1, rounds=2), chosen, [KEEP_ALIVE])
    with (folder / "events.jsonl").open("a") as file:
        file.writelines(json.dumps({"kind": "interface", "block": 0, **event}) + "\n" for event in events)
    return matrices(load_run(folder))


def told(subject: str, **keys: Any) -> dict[str, Any]:
    return {"subject": subject, "keys": {key.replace("__", "."): value for key, value in keys.items()}}


def row(matrix: Matrix, key: str) -> Row:
    return next(each for each in matrix.rows if each.key == key)


def rendered(found: tuple[Matrix, ...]) -> str:
    loader = jinja2.FileSystemLoader(Path(interfaces.__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("interfaces.html.j2").render(matrices=found)


def test_every_server_is_asked_but_a_twin_and_a_null_responder() -> None:
    site = Answers(Fetched(200, document(SERVER_PROTOCOL=VERSION)))
    others = instance("uvicorn", 8, again=True), instance("daphne", 9, responder="nginx")
    handed = ask(site, instance("waitress", 7), *others)
    assert site.asked == [("127.0.0.1", 7)]
    assert handed == [Handed("waitress", "wsgi", {"SERVER_PROTOCOL": VERSION})]


@pytest.mark.parametrize(
    ("fetched", "reason"),
    [
        (Fetched(0, b"", "no connection: refused"), "no connection: refused"),
        (Fetched(500, b"oops"), "/interface was answered with 500"),
        (Fetched(200, b"oops"), "in another form"),
        (Fetched(200, b'{"keys": {"a": 1}}'), "in another form"),
        (Fetched(200, b"[" * 200_000), "in another form"),
        (Fetched(200, document(**{f"k{n}": VERSION for n in range(301)})), "reported 301 keys"),
    ],
)
def test_a_server_that_cannot_be_asked_is_recorded_with_the_reason(fetched: Fetched, reason: str) -> None:
    (handed,) = ask(Answers(fetched), instance("waitress", 7))
    assert handed.keys is None
    assert reason in handed.reason


def test_what_is_private_to_the_machine_is_not_recorded() -> None:
    keys: dict[str, dict[str, Any]] = {
        "SERVER_NAME": {"type": "str", "value": socket.gethostname()},
        "SERVER_PROTOCOL": VERSION,
        "HOME": {"type": "str", "value": "/home/somebody"},
        "HTTP_HOST": {"type": "str", "value": "somewhere:80"},
        "wsgi.input_terminated": {"type": "bool", "value": True},
    }
    assert public("wsgi", keys) == {
        "SERVER_NAME": {"type": "str"},
        "SERVER_PROTOCOL": VERSION,
        "HOME": {"type": "str"},
        "HTTP_HOST": {"type": "str"},
        "wsgi.input_terminated": {"type": "bool", "value": True},
    }


def test_a_run_that_did_not_ask_has_no_matrix_and_the_page_no_section(tmp_path: Path) -> None:
    found = with_events(tmp_path)
    assert found == ()
    assert rendered(found) == ""


def test_a_run_from_before_what_servers_hand_over_was_recorded_has_no_matrix() -> None:
    assert matrices(load_run(ROOT / "docs" / "exclusive" / "together")) == ()


def test_the_committed_run_shows_every_subject_of_an_interface() -> None:
    run = load_run(ROOT / "docs" / "headline")
    shown = {subject for matrix in matrices(run) for subject in matrix.subjects}
    assert shown == {subject.id for subject in run.meta.competitors}


def test_servers_stand_side_by_side_with_those_of_their_interface(tmp_path: Path) -> None:
    wsgi, asgi = with_events(
        tmp_path,
        told("waitress"),
        told("gunicorn-sync"),
        told("daphne", type={"type": "str", "value": "http"}),
    )
    assert (wsgi.interface, wsgi.subjects) == ("wsgi", ("gunicorn-sync", "waitress"))
    assert (asgi.interface, asgi.subjects) == ("asgi", ("daphne",))
    assert row(asgi, "type").verdict == "one server"


def test_a_key_is_alike_different_or_not_everywhere(tmp_path: Path) -> None:
    flag = {"type": "bool", "value": True}
    (matrix,) = with_events(
        tmp_path,
        told("gunicorn-sync", wsgi__multithread={**flag, "value": False}, SERVER_PROTOCOL=VERSION, X=flag),
        told("waitress", wsgi__multithread=flag, SERVER_PROTOCOL=VERSION),
    )
    assert row(matrix, "wsgi.multithread").verdict == "differ"
    assert row(matrix, "SERVER_PROTOCOL").verdict == "alike"
    assert row(matrix, "X").verdict == "not all"
    assert [entry and entry.text for entry in row(matrix, "wsgi.multithread").entries] == ["False", "True"]
    assert [matrix.count("alike"), matrix.count("differ"), matrix.count("not all")] == [1, 1, 0]


def test_what_the_specification_requires_comes_first(tmp_path: Path) -> None:
    keys = dict.fromkeys(["zzz", "HTTP_HOST", "REMOTE_ADDR", "QUERY_STRING", "REQUEST_METHOD"], VERSION)
    (matrix,) = with_events(tmp_path, told("waitress", **keys))
    assert [each.key for each in matrix.rows] == [
        "REQUEST_METHOD",
        "QUERY_STRING",
        "REMOTE_ADDR",
        "HTTP_HOST",
        "zzz",
    ]
    assert matrix.groups[0].title == "Required by PEP 3333"


def test_versions_and_extensions_of_asgi_are_keys_of_their_own(tmp_path: Path) -> None:
    asgi = {"type": "dict", "value": {"version": "3.0", "spec_version": "2.3"}}
    (matrix,) = with_events(
        tmp_path,
        told("uvicorn", asgi=asgi, extensions={"type": "dict", "value": {"http.response.pathsend": {}}}),
        told("daphne", asgi={"type": "dict", "value": {"version": "3.0"}}),
    )
    assert row(matrix, 'asgi["version"]').verdict == "alike"
    spec = row(matrix, 'asgi["spec_version"]')
    assert ([entry and entry.text for entry in spec.entries], spec.verdict) == ([None, "'2.3'"], "not all")
    assert row(matrix, 'extensions["http.response.pathsend"]').verdict == "not all"


def test_ports_do_not_make_servers_differ_but_their_types_do(tmp_path: Path) -> None:
    (matrix,) = with_events(
        tmp_path,
        told("uvicorn", client={"type": "tuple", "value": ["127.0.0.1", 40_000]}),
        told("daphne", client={"type": "tuple", "value": ["127.0.0.1", 40_001]}),
    )
    assert row(matrix, "client").verdict == "alike"
    (matrix,) = with_events(
        tmp_path / "other",
        told("uvicorn", client={"type": "tuple", "value": ["127.0.0.1", 40_000]}),
        told("daphne", client={"type": "tuple", "value": ["127.0.0.1", "40001"]}),
    )
    assert row(matrix, "client").verdict == "differ"
    texts = [entry.text for entry in row(matrix, "client").entries if entry]
    assert texts == ["tuple of '127.0.0.1', str", "tuple of '127.0.0.1', int"]


def test_objects_of_the_server_are_alike_whatever_their_type(tmp_path: Path) -> None:
    (matrix,) = with_events(
        tmp_path,
        told("waitress", wsgi__input={"type": "_io.BytesIO", "value": "_io.BytesIO"}),
        told("gunicorn-sync", wsgi__input={"type": "gunicorn.Body", "value": "gunicorn.Body"}),
    )
    assert row(matrix, "wsgi.input").verdict == "alike"
    assert [entry and entry.text for entry in row(matrix, "wsgi.input").entries] == [
        "gunicorn.Body",
        "_io.BytesIO",
    ]


def test_a_server_that_could_not_be_asked_is_named_with_the_reason(tmp_path: Path) -> None:
    found = with_events(
        tmp_path,
        {"subject": "waitress", "keys": None, "reason": f"refused {HOSTILE}"},
        {"subject": "gunicorn-sync", "keys": {"a": 1}},
        {"subject": "nobody", "keys": {}},
        {"keys": {}},
    )
    (matrix,) = found
    assert matrix.subjects == ()
    assert matrix.missing == {
        "gunicorn-sync": "it was recorded in an unknown form",
        "waitress": f"refused {HOSTILE}",
    }
    assert HOSTILE not in rendered(found)


def test_whatever_a_server_says_is_escaped(tmp_path: Path) -> None:
    hostile = {"type": HOSTILE, "value": HOSTILE + "x"}
    found = with_events(
        tmp_path,
        told("waitress", **{HOSTILE: hostile, "SERVER_SOFTWARE": hostile}),
        told(
            "uvicorn",
            asgi={"type": "dict", "value": {HOSTILE: {HOSTILE: 1}}},
            headers=hostile,
            client=hostile,
        ),
    )
    page = rendered(found)
    assert "alert(1)" in page
    assert "<script" not in page


def test_the_table_is_one_that_a_screen_reader_can_read(tmp_path: Path) -> None:
    page = rendered(with_events(tmp_path, told("waitress", X=VERSION), told("gunicorn-sync")))
    (label,) = re.findall(r'<div class="scroll" role="region" tabindex="0" aria-labelledby="([^"]+)">', page)
    assert f'<caption id="{label}">' in page
    assert page.count('scope="col"') == 4
    assert '<th scope="row"><code>X</code>' in page
    assert page.count("<td>") == 3
