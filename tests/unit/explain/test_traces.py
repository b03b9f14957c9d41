"""The tracing wrappers of `gatebench explain`, driven by hand as a server drives an application."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from apps.plain import wsgi as plain_wsgi
from apps.plain.events import Event
from gatebench.explain.explanation import call_of, has_ended, lifespan_of
from gatebench.explain.trace import Trace, TracedWsgi, read_trace, shown
from gatebench.words.interface_keys import value_text
from tests.support.traced import call_asgi, call_wsgi, environ, names


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.touch()
    return path


def test_a_traced_wsgi_application_answers_as_without(file: Path) -> None:
    told, body = call_wsgi(file, environ("/plaintext"))
    assert body == b"Hello, World!"
    assert told == [("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])]


def test_each_step_of_a_wsgi_call_is_noted_in_order(file: Path) -> None:
    call_wsgi(file, environ("/plaintext"))
    steps = read_trace(file)
    assert names(steps) == ["called", "start_response", "returned", "piece", "exhausted", "closed"]
    assert steps[0].details["handed"]["PATH_INFO"] == {"type": "str", "value": "/plaintext"}
    assert steps[1].details["status"] == "200 OK"
    assert steps[3].details["data"] == {"bytes": 13, "latin1": "Hello, World!"}
    assert steps[5].details["own"] is False
    assert len({step.call for step in steps}) == 1


def test_close_is_passed_on_to_a_generator_of_the_application(file: Path) -> None:
    told, body = call_wsgi(file, environ("/stream/2"))
    assert (told[0][0], body) == ("200 OK", b"000000\n000001\n")
    steps = read_trace(file)
    assert steps[-1].details["own"] is True
    assert steps[2].details == {"kind": "generator", "length": None}


def test_reads_of_the_body_are_noted_and_the_application_gets_it(file: Path) -> None:
    handed = environ("/echo", REQUEST_METHOD="POST", CONTENT_LENGTH="5")
    handed["wsgi.input"] = io.BytesIO(b"hello")
    assert call_wsgi(file, handed)[1] == b"hello"
    (read,) = (step for step in read_trace(file) if step.name == "read")
    assert read.details == {"asked": 5, "data": {"bytes": 5, "latin1": "hello"}}


def test_the_server_may_still_ask_for_the_length_of_a_tuple(file: Path) -> None:
    traced = TracedWsgi(plain_wsgi.app, Trace(file))
    pieces: Any = traced(environ("/plaintext"), lambda *_: lambda _: None)
    assert len(pieces) == 1
    stream: Any = traced(environ("/stream/2"), lambda *_: lambda _: None)
    with pytest.raises(TypeError):
        len(stream)


def test_a_traced_asgi_application_answers_as_without_and_each_event_is_noted(file: Path) -> None:
    scope = {"type": "http", "method": "POST", "path": "/echo", "headers": [(b"host", b"here")]}
    events: list[Event] = [
        {"type": "http.request", "body": b"he", "more_body": True},
        {"type": "http.request", "body": b"y"},
    ]
    sent = call_asgi(file, scope, *events)
    assert sent[-1] == {"type": "http.response.body", "body": b"hey"}
    steps = read_trace(file)
    assert names(steps) == ["called", "received", "received", "sent", "sent", "returned"]
    assert steps[1].details["event"]["body"] == {"bytes": 2, "latin1": "he"}
    assert steps[0].details["handed"]["headers"]["value"] == [["host", "here"]]


def test_an_exception_of_the_application_is_noted_and_reaches_the_server(file: Path) -> None:
    with pytest.raises(ValueError, match="does not serve"):
        call_asgi(file, {"type": "telegraph"})
    assert names(read_trace(file)) == ["called", "raised"]


def test_a_lifespan_is_told_apart_from_requests(file: Path) -> None:
    call_asgi(file, {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    call_asgi(file, {"type": "http", "method": "GET", "path": "/", "headers": []})
    steps = read_trace(file)
    assert [step.details["event"]["type"] for step in lifespan_of(steps) if "event" in step.details] == [
        "lifespan.startup",
        "lifespan.startup.complete",
        "lifespan.shutdown",
        "lifespan.shutdown.complete",
    ]
    assert names(call_of(steps, "/")) == ["called", "sent", "sent", "returned"]


def test_earlier_calls_for_the_same_path_are_not_taken_for_the_request(file: Path) -> None:
    application = TracedWsgi(plain_wsgi.app, Trace(file))
    for _ in range(2):
        list(application(environ("/"), lambda *_: lambda _: None))
    steps = read_trace(file)
    first = call_of(steps, "/")
    second = call_of(steps, "/", before={first[0].call})
    assert second
    assert second[0].call != first[0].call
    assert call_of(steps, "/", before={first[0].call, second[0].call}) == ()


def test_a_wsgi_call_is_over_only_when_the_server_has_closed_the_iterable(file: Path) -> None:
    call_wsgi(file, environ("/"))
    steps = read_trace(file)
    assert not has_ended(steps[:-1])
    assert has_ended(steps)


def test_a_line_that_is_being_written_is_not_read(file: Path) -> None:
    call_wsgi(file, environ("/"))
    whole = read_trace(file)
    with file.open("a") as trace:
        trace.write('{"at_s": 1, "call": "1')
    assert read_trace(file) == whole


def test_a_long_value_is_noted_by_its_beginning_and_its_length() -> None:
    noted = shown(b"x" * 70_000)
    assert noted["bytes"] == 70_000
    assert len(noted["latin1"]) == 256
    assert value_text(noted).endswith("… (70,000 bytes)")
