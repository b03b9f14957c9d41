"""The plain application's HTTP routes: both forms keep the contract and survive clients that go away."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.plain.routes import ECHO_LIMIT_BYTES
from apps.plain.wsgi import app as wsgi_app
from gatebench.contract.file import load_contract
from gatebench.contract.rules import Case
from tests.support.plain_forms import (
    Answered,
    answered,
    ask_asgi,
    ask_environ,
    ask_wsgi,
    environ_for,
    run_asgi,
    scope_for,
)

if TYPE_CHECKING:
    from apps.plain.events import Event

CONTRACT = load_contract().declared(None)
FORMS = pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi], ids=["wsgi", "asgi"])
NAMES = ["", "plaintext", "json", "wait", "cpu", "bytes", "stream", "echo", "interface", "missing", "ws"]

paths = st.builds(
    "/{}{}{}".format,
    st.sampled_from(NAMES),
    st.sampled_from(["", "/"]),
    st.one_of(
        st.integers(0, 30).map(str), st.sampled_from(["", "-1", "+1", "01", "x", "1/2", "9" * 30, "%D9%A3"])
    ),
)


def required(answer: Answered) -> dict[str, str | None]:
    return {name: answer.headers.get(name) for name in ("content-type", "content-length", "allow")}


@FORMS
@pytest.mark.parametrize("case", CONTRACT.cases, ids=lambda case: case.name)
def test_every_case_of_the_contract_is_answered_as_it_stands_there(ask: Any, case: Case) -> None:
    send = case.send.make()
    answer = CONTRACT.answer(case.method, case.target, send)
    got = ask(case.method, case.target, send, chunked=case.chunked)
    assert got.status == answer.status
    assert {name: got.headers.get(name) for name in answer.headers} == dict(answer.headers)
    assert ("content-length" in got.headers) is answer.measured
    if answer.length is not None:
        assert got.headers["content-length"] == str(answer.length)
    assert answer.body is None or got.body == answer.body


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]), path=paths, body=st.binary(max_size=50)
)
def test_both_forms_answer_any_request_alike(method: str, path: str, body: bytes) -> None:
    one, other = ask_wsgi(method, path, body), ask_asgi(method, path, body)
    assert one.status == other.status
    if path == "/interface":
        return  # it shows the form itself
    assert required(one) == required(other)
    assert one.body == other.body


@given(size=st.integers(0, 200_000))
def test_bytes_come_in_pieces_that_make_up_the_pattern(size: int) -> None:
    expected = CONTRACT.expect("GET", f"/bytes/{size}")
    assert ask_wsgi("GET", f"/bytes/{size}").body == expected.body
    assert ask_asgi("GET", f"/bytes/{size}").body == expected.body


def test_a_stream_is_sent_one_piece_at_a_time() -> None:
    _, *pieces = run_asgi(scope_for("GET", "/stream/3"), [{"type": "http.request", "body": b""}])
    assert [piece["body"] for piece in pieces] == [b"000000\n", b"000001\n", b"000002\n", b""]
    assert list(wsgi_app(environ_for("GET", "/stream/2"), lambda *_: lambda _: None)) == [
        b"000000\n",
        b"000001\n",
    ]


def test_a_big_download_is_never_held_whole() -> None:
    environ = environ_for("GET", "/bytes/67108864")
    tracemalloc.start()
    size = sum(len(piece) for piece in wsgi_app(environ, lambda *_: lambda _: None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 64 * 1024 * 1024
    assert peak < 1024 * 1024


def test_wsgi_takes_a_missing_path_for_the_root() -> None:
    environ = environ_for("GET", "/")
    del environ["PATH_INFO"]
    assert ask_environ(environ, check=False).status == 200


def test_wsgi_gives_the_server_a_list_of_headers_of_its_own() -> None:
    given_lists: list[list[tuple[str, str]]] = []
    for _ in range(2):
        wsgi_app(environ_for("GET", "/json"), lambda _, headers, *__: given_lists.append(headers))  # type: ignore[arg-type]
    given_lists[0].append(("X-Added", "by the server"))
    assert ("X-Added", "by the server") not in given_lists[1]


def test_asgi_gives_the_server_a_list_of_headers_of_its_own() -> None:
    first, second = (run_asgi(scope_for("GET", "/json"), [])[0] for _ in range(2))
    first["headers"].append((b"x-added", b"by the server"))
    assert (b"x-added", b"by the server") not in second["headers"]


def test_wsgi_reads_nothing_where_neither_length_nor_end_is_promised() -> None:
    environ = environ_for("POST", "/echo", b"would wait forever on a socket")
    del environ["CONTENT_LENGTH"]
    assert ask_environ(environ, check=False).body == b""


@pytest.mark.parametrize("length", ["x", "-1", "1_0", "٣", "9" * 5000])
def test_a_content_length_that_is_none_is_a_bad_request(length: str) -> None:
    environ = environ_for("POST", "/echo") | {"CONTENT_LENGTH": length}
    assert ask_environ(environ, check=False).status == 400
    scope = scope_for("POST", "/echo", [(b"content-length", length.encode())])
    assert answered(run_asgi(scope, [])).status == 400


def test_too_long_a_body_is_refused_before_it_is_read() -> None:
    length = str(ECHO_LIMIT_BYTES + 1)
    environ = environ_for("POST", "/echo") | {"CONTENT_LENGTH": length, "wsgi.input": None}
    assert ask_environ(environ, check=False).status == 413
    scope = scope_for("POST", "/echo", [(b"content-length", length.encode())])
    assert answered(run_asgi(scope, [])).status == 413


def test_wsgi_does_not_raise_when_the_upload_stops_short() -> None:
    environ = environ_for("POST", "/echo", b"only this") | {"CONTENT_LENGTH": "100"}
    assert ask_environ(environ).status == 400


def test_wsgi_does_not_raise_when_reading_the_upload_fails() -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise ConnectionResetError

    environ = environ_for("POST", "/echo", b"x") | {"wsgi.input": Broken()}
    assert ask_environ(environ).status == 400


def test_asgi_sends_nothing_when_the_upload_stops_short() -> None:
    upload: list[Event] = [
        {"type": "http.request", "body": b"only this", "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert run_asgi(scope_for("POST", "/echo"), upload) == []


def test_asgi_stops_a_download_once_the_client_has_gone() -> None:
    gone: list[Event] = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    sent = run_asgi(scope_for("GET", "/stream/10000"), gone)
    assert len(sent) < 10


@pytest.mark.parametrize("path", ["/plaintext", "/wait/1", "/stream/10", "/bytes/200000"])
@pytest.mark.parametrize("sent_before", [0, 1, 2])
def test_asgi_does_not_raise_when_sending_fails(path: str, sent_before: int) -> None:
    sent = run_asgi(scope_for("GET", path), [{"type": "http.request", "body": b""}], fail_after=sent_before)
    assert len(sent) <= sent_before


def test_asgi_lifespan_is_answered_from_start_to_end() -> None:
    sent = run_asgi({"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    assert [event["type"] for event in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_asgi_raises_for_a_scope_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="'telnet'"):
        run_asgi({"type": "telnet"}, [])


def test_interface_shows_objects_by_type_and_bytes_as_text() -> None:
    shown = json.loads(ask_wsgi("GET", "/interface").body)
    assert shown["interface"] == "wsgi"
    assert shown["keys"]["REQUEST_METHOD"] == {"type": "str", "value": "GET"}
    assert shown["keys"]["wsgi.version"] == {"type": "tuple", "value": [1, 0]}
    assert shown["keys"]["wsgi.errors"]["value"] == shown["keys"]["wsgi.errors"]["type"]
    asgi = json.loads(ask_asgi("GET", "/interface?a=1").body)
    assert asgi["interface"] == "asgi"
    assert asgi["keys"]["query_string"] == {"type": "bytes", "value": "a=1"}
    assert asgi["keys"]["headers"]["value"] == [["content-length", "0"]]
