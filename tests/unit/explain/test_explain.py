"""`gatebench explain`: what is chosen, and what is made of a trace."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gatebench.explain.command import choose
from gatebench.explain.exchange import Conversation, Passage, Question, converse
from gatebench.explain.explanation import Explanation, frames
from gatebench.explain.trace import Step, read_trace
from gatebench.words.errors import ConfigurationError
from gatebench.words.interface_keys import in_order, need, wire_lines
from tests.support.scripted import ANSWER, ScriptedServer
from tests.support.subjects import REGISTRY
from tests.support.traced import call_wsgi, environ, printed

HOSTILE = "\x1b[31mred\x07 [bold]not markup[/bold]"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.touch()
    return path


def explanation(*steps: Step, passages: tuple[Passage, ...] = (), interface: Any = "wsgi") -> Explanation:
    arrived = Passage(1.0, sent=True, protocol="http", data=b"GET / HTTP/1.1\r\n\r\n")
    conversation = Conversation((arrived, *passages), "Then the server closed the connection.")
    return Explanation("small", interface, ("small", "--port", "1"), "/", conversation, steps, ())


def test_a_server_that_never_closes_the_iterable_is_told(file: Path) -> None:
    call_wsgi(file, environ("/"))
    steps = read_trace(file)
    assert "did not call close()" in printed(explanation(*steps[:-1]))
    assert "did not call close()" not in printed(explanation(*steps))


def test_frames_are_unmasked_and_an_incomplete_header_is_left_out() -> None:
    masked = bytes.fromhex("8185 01020304 6967 6f68 6e".replace(" ", ""))
    close = bytes.fromhex("880203e8")
    text, end = frames(masked + close + b"\x81")
    assert (text.kind, text.masked, text.final, text.length, text.payload) == (
        "text",
        True,
        True,
        5,
        b"hello",
    )
    assert (end.kind, end.close_code) == ("close", 1000)


def test_a_long_frame_has_its_true_length() -> None:
    (frame,) = frames(b"\x82\x7e\x01\x00" + bytes(256))
    assert (frame.kind, frame.length, frame.header) == ("binary", 256, b"\x82\x7e\x01\x00")


def test_line_ends_are_shown_on_the_line_that_they_end() -> None:
    assert wire_lines(b"a\r\n\r\nb\x1b") == [r"a\r\n", r"\r\n", r"b\x1b"]


def test_keys_stand_as_the_specification_lists_them() -> None:
    assert in_order("wsgi", ["zzz", "wsgi.input", "REQUEST_METHOD", "aaa"]) == [
        "REQUEST_METHOD",
        "wsgi.input",
        "aaa",
        "zzz",
    ]
    assert [need("wsgi", key) for key in ("QUERY_STRING", "HTTP_HOST", "gunicorn.socket")] == [
        "unless empty",
        "header",
        "own",
    ]


def test_what_a_server_says_cannot_move_the_cursor_or_pass_for_markup() -> None:
    handed = {HOSTILE: {"type": HOSTILE, "value": HOSTILE}, "PATH_INFO": {"type": "str", "value": HOSTILE}}
    called = Step(1.001, "1-1", "called", {"pid": 1, "thread": HOSTILE, "handed": handed})
    started = Step(1.002, "1-1", "start_response", {"status": HOSTILE, "headers": [[HOSTILE, HOSTILE]]})
    answer = Passage(1.003, sent=False, protocol="http", data=HOSTILE.encode())
    text = printed(explanation(called, started, passages=(answer,)))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]not markup[/bold]" in text


def test_nothing_printed_is_wider_than_100_columns(file: Path) -> None:
    call_wsgi(file, environ("/plaintext", **{"HTTP_" + "X" * 300: "y" * 300}))
    text = printed(explanation(*read_trace(file)))
    assert max(map(len, text.splitlines())) <= 100


def test_an_answer_of_the_server_itself_is_told_as_that() -> None:
    answer = Passage(1.003, sent=False, protocol="http", data=b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "The application is not called" in printed(explanation(passages=(answer,)))


def test_many_pieces_are_shown_by_the_first_and_the_last(file: Path) -> None:
    call_wsgi(file, environ("/stream/500"))
    text = printed(explanation(*read_trace(file)))
    assert "… 492 more …" in text
    assert r"000499\n" in text
    assert r"000250\n" not in text


def test_a_server_that_breaks_off_is_part_of_the_explanation() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER[:-3])

    with ScriptedServer(half) as server:
        seen = converse("127.0.0.1", server.port, Question("GET", "/"))
    assert seen.passages[-1].data == ANSWER[:-3]
    assert seen.ended.startswith("That was the end of it: ")


def test_a_body_that_ends_with_the_connection_is_whole() -> None:
    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")

    with ScriptedServer(until_closed) as server:
        seen = converse("127.0.0.1", server.port, Question("GET", "/"))
    assert b"".join(each.data for each in seen.passages if not each.sent).endswith(b"all of it")
    assert seen.ended == "Then the server closed the connection."


@pytest.mark.parametrize(
    ("interface", "subject", "path", "said"),
    [
        ("wsgy", None, "/", ['unknown interface "wsgy" (did you mean "wsgi"?)']),
        ("wsgi", "uvicorn", "/", ['"uvicorn" speaks ASGI: gatebench explain asgi uvicorn', "gunicorn-sync"]),
        ("wsgi", "gunicorn", "/", ['"gunicorn" names', "gunicorn-gthread"]),
        ("asgi", "uvicron", "/", ['unknown server "uvicron" (did you mean "uvicorn"?)']),
        ("asgi", None, "/plaintxt", ['no route "/plaintxt" (did you mean "/plaintext"?)', "/ws/echo"]),
        ("asgi", None, "/plain text", ["no route"]),
        ("wsgy", None, "/x\r\nEvil: yes", ["unknown interface", "no route"]),
    ],
)
def test_a_wrong_choice_says_what_is_right(
    interface: str, subject: str | None, path: str, said: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose(REGISTRY, interface, subject, path)
    for words in said:
        assert words in str(caught.value)


def test_the_usual_servers_and_the_method_of_the_route_are_taken() -> None:
    assert choose(REGISTRY, "wsgi", None, "/plaintext?a=1").subject.id == "gunicorn-sync"
    assert choose(REGISTRY, "asgi", None, "/echo").question == Question("POST", "/echo", b"Hello, World!")
    assert choose(REGISTRY, "asgi", None, "/ws/echo").question.message
