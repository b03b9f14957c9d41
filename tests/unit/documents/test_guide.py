"""The guide's examples run, and what the guide, `claims.md` and `compare.md` say is so."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, get_args
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from analysis.claims.check import check
from analysis.claims.file import METRICS, Condition, load_claims
from analysis.compare.show import EXIT_DONE, EXIT_REGRESSION
from gatebench.words.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from gatebench.words.paths import ROOT
from tools.documents.guide import GUIDE, headline
from tools.documents.tables import REGISTRY, TARGETS, VARIABLES

TEXTS = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in (GUIDE, "docs/claims.md", "docs/compare.md")
}
Event = dict[str, Any]


def blocks() -> list[str]:
    """The Python examples of the guide, in their order."""
    found = re.findall(r"^```python\n(.*?)^```", TEXTS[GUIDE], re.DOTALL | re.MULTILINE)
    assert len(found) == 6
    return found


def names(number: int, replace: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """What the example of that number defines."""
    defined: dict[str, Any] = {"__name__": "guide"}
    exec(blocks()[number].replace(*replace), defined)  # noqa: S102 - to run the guide's examples is the test
    return defined


# WSGI -------------------------------------------------------------------------------------------------------


def environ(**more: str) -> dict[str, Any]:
    asked: dict[str, Any] = {"QUERY_STRING": "", "wsgi.errors": io.StringIO(), **more}
    setup_testing_defaults(asked)
    return asked


@pytest.mark.parametrize("query", ["", "a=1"])
def test_the_guides_gateway_serves_its_application_and_both_keep_to_pep_3333(query: str) -> None:
    status, headers, body = names(1)["call"](validator(names(0)["app"]), environ(QUERY_STRING=query))
    assert status == "200 OK"
    assert body == f"You asked for: {query or 'nothing'}\n".encode()
    assert dict(headers)["Content-Length"] == str(len(body))


def test_the_application_answers_without_the_variables_that_may_be_left_out() -> None:
    asked = environ()
    del asked["QUERY_STRING"]
    assert names(1)["call"](names(0)["app"], asked)[2] == b"You asked for: nothing\n"


def test_the_generator_gives_back_what_it_holds_at_its_end() -> None:
    log = io.StringIO()
    _, _, body = names(1)["call"](validator(names(2)["app"]), {**environ(), "wsgi.errors": log})
    assert body == b"line 0\nline 1\nline 2\n"
    assert log.getvalue() == "given back\n"


def test_the_generator_gives_back_what_it_holds_where_the_client_goes_away() -> None:
    asked = environ()
    result = names(2)["app"](asked, lambda *_: None)
    assert next(result) == b"line 0\n"
    assert asked["wsgi.errors"].getvalue() == ""
    result.close()
    assert asked["wsgi.errors"].getvalue() == "given back\n"


def test_the_gateway_closes_what_raises_in_the_middle() -> None:
    class Broken:
        closed = False

        def __iter__(self) -> Iterator[bytes]:
            yield b"begun"
            raise OSError("gone")

        def close(self) -> None:
            self.closed = True

    broken = Broken()
    with pytest.raises(OSError, match="gone"):
        names(1)["call"](lambda *_: broken, environ())
    assert broken.closed


# ASGI -------------------------------------------------------------------------------------------------------

SENT: dict[str, dict[str, type | tuple[type, ...]]] = {
    "http.response.start": {"status": int, "headers": list},
    "http.response.body": {"body": bytes},
    "websocket.accept": {},
    "websocket.send": {"bytes": bytes, "text": str},
    "lifespan.startup.complete": {},
    "lifespan.shutdown.complete": {},
}
"""Events that an application sends in the examples → their keys with types, as the specification has them."""


def drive(app: Callable[..., Awaitable[None]], scope: Event, events: Iterable[Event]) -> list[Event]:
    """Calls an application with those events, holds what it sends to the specification, and returns it."""
    waiting, sent = list(events), []

    async def receive() -> Event:
        return waiting.pop(0)  # an application that waits for more than there is fails here

    async def send(event: Event) -> None:
        keys = SENT[event["type"]]
        assert set(event) - {"type"} <= set(keys)
        assert all(isinstance(event[key], kind) for key, kind in keys.items() if key in event)
        for name, value in event.get("headers", []):
            assert name == name.lower()
            assert isinstance(name, bytes)
            assert isinstance(value, bytes)
        if event["type"] == "websocket.send":
            assert len(event) == 2
        sent.append(event)

    asyncio.run(app({"asgi": {"version": "3.0"}, **scope}, receive, send))  # type: ignore[arg-type]  # a coroutine
    return sent


def test_the_asgi_application_reads_a_body_in_pieces_and_answers() -> None:
    pieces: list[Event] = [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.request"},
    ]
    start, body = drive(names(3)["app"], {"type": "http"}, pieces)
    assert start["status"] == 200
    assert body["body"] == b"3 bytes came\n"
    assert dict(start["headers"])[b"content-length"] == b"13"


def test_the_asgi_application_answers_nobody_who_went_away() -> None:
    events: list[Event] = [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert drive(names(3)["app"], {"type": "http"}, events) == []


@pytest.mark.parametrize(("number", "kind"), [(3, "lifespan"), (3, "websocket"), (4, "http")])
def test_a_scope_that_an_example_does_not_serve_is_rejected(number: int, kind: str) -> None:
    with pytest.raises(ValueError, match=kind):
        drive(names(number)["app"], {"type": kind}, [])


def test_the_lifespan_is_answered_at_its_start_and_its_end() -> None:
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = drive(names(4)["app"], {"type": "lifespan"}, events)
    assert [event["type"] for event in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_websocket_is_accepted_and_echoes_text_and_bytes() -> None:
    said: list[Event] = [{"text": "hello"}, {"text": "", "bytes": None}, {"bytes": b"\0", "text": None}]
    events = [
        {"type": "websocket.connect"},
        *({"type": "websocket.receive", **each} for each in said),
        {"type": "websocket.disconnect", "code": 1000},
    ]
    accepted, *echoes = drive(names(4)["app"], {"type": "websocket"}, events)
    assert accepted == {"type": "websocket.accept"}
    assert [echo.get("text", echo.get("bytes")) for echo in echoes] == ["hello", "", b"\0"]


def test_awaiting_lets_all_ask_before_one_is_answered_and_blocking_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names(5)
    names(5, ("await asyncio.sleep(0.01)", "time.sleep(0.01)"))
    awaited, blocked = capsys.readouterr().out.splitlines()
    assert re.findall(r"asks|answered", awaited) == ["asks"] * 3 + ["answered"] * 3
    assert re.findall(r"asks|answered", blocked) == ["asks", "answered"] * 3


# What is said of runs and of the lab ------------------------------------------------------------------------


def test_the_sentences_on_the_verdicts_follow_from_them() -> None:
    run, summary = headline()
    found = {each.id: each for each in check(load_claims(), run.meta, summary)}
    blocks_a_worker, keep_alive = found["wsgi-waiting-blocks"], found["asgi-keep-alive"]
    assert (blocks_a_worker.verdict, keep_alive.verdict) == ("contradicted", "contradicted")
    fails = blocks_a_worker.evidence.partition("no of ")[2].partition(";")[0]
    assert fails.startswith("gunicorn-gevent (")
    assert "), " not in fails
    assert "; no of gunicorn-sync" in keep_alive.evidence


def test_the_servers_of_each_interface_are_those_that_are_registered() -> None:
    section = TEXTS[GUIDE].split("\n## Servers by interface\n")[1].split("\n## ")[0]
    listed = {
        (name, interface)
        for name, *cells in re.findall(r"^\| ([a-z_]+) \| (yes|–) \| (yes|–) \|", section, re.MULTILINE)
        for interface, cell in zip(("wsgi", "asgi"), cells, strict=True)
        if cell == "yes"
    }
    assert listed == {(each.server.name, each.variant.interface) for each in REGISTRY.subjects()}


def test_every_make_command_names_targets_and_variables_of_the_makefile() -> None:
    commands = [
        line for text in TEXTS.values() for line in re.findall(r"(?:^|`)make ([^`\n#]+)", text, re.MULTILINE)
    ]
    assert len(commands) >= 9
    for command in commands:
        target, *given = re.sub(r"'[^']*'", "''", command).split()
        assert target in TARGETS, command
        assert {word.partition("=")[0] for word in given} <= VARIABLES, command


def first_column(document: str, heading: str) -> set[str]:
    """The names in code in the first column of the table under that head."""
    rows = re.split(rf"^\| {heading} \|.*\n", TEXTS[document], flags=re.MULTILINE)[1].split("\n\n")[0]
    return {name for row in rows.splitlines() for name in re.findall(r"`([\w-]+)`", row.split("|")[1])}


def test_the_vocabulary_of_claims_is_complete() -> None:
    kinds = [get_args(each.model_fields["kind"].annotation) for each in get_args(Condition)]
    assert first_column("docs/claims.md", "`kind`") == {kind for (kind,) in kinds}
    assert first_column("docs/claims.md", "metric") == set(METRICS)


def test_every_code_under_which_a_comparison_is_refused_is_explained() -> None:
    text = "".join(
        (ROOT / "analysis" / "compare" / f"{name}.py").read_text() for name in ("compare", "conditions")
    )
    codes = set(re.findall(r'f?"([a-z]+(?:-[a-z]+)*): ', text))
    assert {"application", "too-few-blocks"} <= codes
    statuses = {"limited", "withheld", "failed", "unsupported", "unavailable"}
    assert first_column("docs/compare.md", "code") == codes | statuses


def test_the_exit_statuses_of_compare_and_reproduce_are_listed() -> None:
    compare, reproduce = TEXTS["docs/compare.md"].split("\n## Bundle\n")
    listed = [
        {int(status) for status in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
        for text in (compare, reproduce)
    ]
    assert listed[0] == {EXIT_DONE, EXIT_REGRESSION, EXIT_USAGE}
    assert listed[1] == {EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED}
