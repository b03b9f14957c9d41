"""Heads that differ in values: recognised once that was learned, and only as the full parser would."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.engine import http, websocket_exchanges
from loadtests.engine.http_parser import AnswerReader, Verdict
from loadtests.engine.known_answers import MOST_FORMS, Heads
from loadtests.engine.protocol import Target
from tests.support.groups import failures, group_of
from tests.support.parser_cases import (
    PLAIN,
    Taker,
    check,
    cut,
    in_chunks,
    kind,
    known_heads,
    read,
    target_for,
    with_length,
)
from tests.support.scripted import ScriptedServer, request

BODY = b"Hello, World!"
TARGET = target_for(BODY)
LARGE = bytes(range(256)) * 400
VARYING = {
    "request-id": (b"x-request-id: " + b"0f" * 16, b"x-request-id: " + b"9c" * 16),
    "uuid": (b"X-Correlation-ID: 1b4e28ba-2fa1-11d2-883f-0016d3cca427", b"X-Correlation-ID: 6fa459ea-ee8a"),
    "cookie": (
        b"Set-Cookie: session=.eJw; HttpOnly; Path=/",
        b"Set-Cookie: session=.aBc-9; HttpOnly; Path=/",
    ),
    "server-timing": (b"Server-Timing: app;dur=0.31, db;dur=12", b"Server-Timing: app;dur=10.2, db;dur=3"),
    "date": (b"Date: Sun, 29 Nov 2026 05:00:00 GMT", b"Date: Sun, 29 Nov 2026 05:00:01 GMT"),
    "date-in-iso": (b"Date: 2026-11-29T05:00:00.123456+00:00", b"Date: 2026-11-29T05:00:00.2+00:00"),
    "counter": (b"X-Served: 9", b"X-Served: 10"),
    "runtime": (b"X-Runtime: 0.000123", b"X-Runtime: 0.0001"),
    "traceparent": (b"traceparent: 00-4bf92f-00f067-01", b"traceparent: 00-aaaaaa-bbbbbb-00"),
    "etag": (b'ETag: W/"1"', b'ETag: W/"27"'),
}
EVERY = pytest.mark.parametrize(("one", "other"), list(VARYING.values()), ids=list(VARYING))


def answer(line: bytes, body: bytes = BODY) -> bytes:
    return with_length(body, PLAIN + line + b"\r\n")


@pytest.fixture
def taker() -> Iterator[Taker]:
    """A connection that has learned that a request ID and a date differ."""
    lines = [b"X-Request-Id: %d\r\nDate: day %d" % (number, number) for number in range(3)]
    made = Taker(TARGET, *(answer(line) for line in lines))
    yield made
    made.close()


@EVERY
def test_a_value_that_differs_from_answer_to_answer_is_learned_from_two(one: bytes, other: bytes) -> None:
    taker = Taker(TARGET, answer(one), answer(other))
    third = answer(one[: one.index(b":")] + b": another, 3rd one")
    assert taker.group.recognise(third) is True
    assert taker.group.heads.again(third)
    taker.close()


@EVERY
def test_it_is_learned_for_a_large_body_too(one: bytes, other: bytes) -> None:
    target = target_for(LARGE)
    heads = known_heads(target, answer(one, LARGE), answer(other, LARGE))
    third = answer(one[: one.index(b":")] + b": another, 3rd one", LARGE)
    for places in ([], [100], range(0, len(third), 9000)):
        assert check(target, cut(third, places), heads)[1]


def test_a_head_that_was_seen_once_is_recognised_only_as_it_was() -> None:
    taker = Taker(TARGET, answer(b"X-Request-Id: 1"))
    assert taker.group.recognise(answer(b"X-Request-Id: 1")) is True
    assert taker.group.recognise(answer(b"X-Request-Id: 2")) is None
    taker.close()


@pytest.mark.parametrize(
    ("line", "others"),
    [
        (b"Connection: keep-alive", [b"Connection: close"]),
        (b"Content-Encoding: identity", [b"Content-Encoding: x", b"Content-Encoding: y"]),
        (b"Content-Type: text/plain", [b"content-type: text/plain"]),
        (b"Keep-Alive: timeout=5", [b"Keep-Alive: timeout=4", b"Keep-Alive: timeout=3"]),
    ],
    ids=str,
)
def test_what_frames_an_answer_never_becomes_a_place(line: bytes, others: list[bytes]) -> None:
    heads = Heads(TARGET.headers or ())
    for each in (line, *others):
        verdict = read(TARGET, [answer(each)])
        assert verdict is not None
        heads.learn(verdict)
    name = line[: line.index(b":")]
    assert heads.get(answer(name + b": anything")[: -len(BODY)]) is None


@pytest.mark.parametrize(
    "value",
    [
        *(b"a\rb", b"a\nb", b"a\r\nContent-Length: 13", b"a\r\n b", b"a\x00b", b"a\x7fb", b"\xc3\xa9"),
        *(b"", b" ", b"\ta", b"a\x0bb", b"x" * 5000, b"a\r\n\r\n" + BODY),
    ],
    ids=repr,
)
def test_a_value_that_is_none_gets_the_verdict_of_the_full_parser(taker: Taker, value: bytes) -> None:
    odd = answer(b"X-Request-Id: " + value + b"\r\nDate: today")
    assert taker.group.recognise(odd) is None
    for places in ([], [10], [60], [len(odd) - 3], range(len(odd))):
        pieces = cut(odd, places)
        assert taker.take(pieces)[0] == kind(read(TARGET, pieces))


@pytest.mark.parametrize(
    "line",
    [
        b"X-Request-Id: 4\r\nDate: today\r\nContent-Length: 13",  # twice the same length
        b"X-Request-Id: 4\r\nDate: today\r\nContent-Length: 12",
        b"X-Request-Id: 4\r\nDate: today\r\nTransfer-Encoding: chunked",
        b"X-Request-Id: 4\r\nDate: today\r\nX-More: 1",
        b"X-Request-Id: 4",
        b"Date: today\r\nX-Request-Id: 4",
        b"X-Request-Ib: 4\r\nDate: today",
        b"X-Request-Id : 4\r\nDate: today",
        b"X-Request-Id: 4\r\nDate: today\r\nConnection: close",
    ],
    ids=repr,
)
def test_another_set_of_lines_gets_the_verdict_of_the_full_parser(taker: Taker, line: bytes) -> None:
    odd = answer(line)
    assert taker.group.recognise(odd) is None
    found = taker.take([odd])
    full = read(TARGET, [odd])
    assert full is not None
    assert found == (full.failure, full.failure is None and full.reusable)


@given(
    number=st.integers(0, 10**12),
    at=st.integers(0, 200),
    wrong=st.binary(min_size=0, max_size=2),
    places=st.lists(st.integers(1, 200), max_size=5),
)
def test_one_change_anywhere_gets_the_verdict_of_the_full_parser(
    number: int, at: int, wrong: bytes, places: list[int]
) -> None:
    whole = answer(b"X-Request-Id: %d\r\nDate: today" % number)
    changed = whole[:at] + wrong + whole[at + 1 :]
    taker = Taker(TARGET, *(answer(b"X-Request-Id: %d\r\nDate: d%d" % (each, each)) for each in range(3)))
    pieces = cut(changed, places)
    full = read(TARGET, pieces)
    kept = full is not None and full.failure is None and full.reusable and not full.until_eof
    assert taker.take(pieces) == (kind(full), kept)
    taker.close()


def test_wrong_and_surplus_bytes_behind_a_learned_head_are_found(taker: Taker) -> None:
    good = answer(b"X-Request-Id: 77\r\nDate: today")
    assert taker.take([good]) == (None, True)
    assert taker.take([good[:-1] + b"?"])[0] == "body"
    assert taker.take([good + b"!"])[0] == "body"
    assert taker.take([good[:-1]])[0] == "short"
    assert taker.take([good.replace(b"200", b"500")])[0] == "status"


def test_chunks_behind_a_learned_head_are_those_that_were_seen() -> None:
    heads = [PLAIN + b"X-Request-Id: %d\r\n" % number for number in range(4)]
    taker = Taker(TARGET, in_chunks(BODY, [5], heads[0]), in_chunks(BODY, [5], heads[1]))
    assert taker.group.recognise(in_chunks(BODY, [5], heads[2])) is True
    assert taker.group.recognise(in_chunks(BODY, [6], heads[2])) is None
    assert taker.take([in_chunks(BODY, [6], heads[2])]) == (None, True)
    assert taker.group.recognise(in_chunks(BODY, [6], heads[3])) is True
    taker.close()


def test_a_cookie_now_and_then_makes_two_forms_and_both_are_recognised() -> None:
    def made(number: int) -> bytes:
        return answer(b"X-Request-Id: %d" % number + b"\r\nSet-Cookie: s=%d" % number * (number % 2))

    taker = Taker(TARGET, *map(made, range(4)))
    assert [taker.group.recognise(made(number)) for number in range(10, 20)] == [True] * 10
    taker.close()


def test_a_server_that_names_its_headers_anew_each_time_fills_no_memory() -> None:
    taker = Taker(TARGET, *(answer(b"X-%d: 1" % number) for number in range(100)))
    assert len(taker.group.heads._forms) == MOST_FORMS
    taker.close()


def test_a_second_that_passes_costs_one_look_and_not_one_an_answer(taker: Taker) -> None:
    dated = [answer(b"X-Request-Id: 1\r\nDate: at %d" % second) for second in range(10)]
    for each in dated:
        assert taker.group.recognise(each) is True
        assert taker.group.latest == each
    assert len(taker.group.accepted) == 2  # those that the full parser has read


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
def test_the_engine_reads_few_of_many_different_answers_in_full(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    read_in_full = itertools.count()

    def counted(target: Target) -> AnswerReader:
        next(read_in_full)
        return AnswerReader(target)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(answer(b"X-Request-Id: " + uuid.uuid4().hex.encode(), body))

    monkeypatch.setattr(http, "AnswerReader", counted)
    with ScriptedServer(behave) as server:
        goal = Target(
            "127.0.0.1", server.port, "keep-alive", headers={"content-type": "text/plain"}, answer=body
        )
        with group_of(goal, 2) as group:
            group.prepare()
            result = group.run_slice(0.3)
    assert failures(result) == set()
    assert result.completed + result.drained > 20
    assert next(read_in_full) <= 4


def test_handshakes_that_differ_in_a_value_are_read_in_full_but_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads = Heads()
    proof = websocket_exchanges._PROOF

    def acceptance(number: int) -> bytes:
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + proof + b"\r\nX-Request-Id: %d\r\n\r\n" % number
        )

    for number in range(2):
        assert heads.get(acceptance(number)) is None
        heads.learn(Verdict(reusable=False, head=acceptance(number)))
    assert heads.get(acceptance(2)) is not None
    assert heads.get(acceptance(2).replace(proof, b"another")) is None
