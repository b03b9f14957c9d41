"""The full HTTP parser and the checker of large answers: any cut, any framing, hostile answers."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtests.engine.http_parser import HEAD_LIMIT_BYTES
from loadtests.engine.known_answers import LargeAnswer
from loadtests.engine.protocol import Target
from loadtests.engine.tally import SliceResult
from tests.support.groups import failures, group_of
from tests.support.parser_cases import (
    PLAIN,
    UNFINISHED,
    check,
    cut,
    in_chunks,
    kind,
    known_heads,
    read,
    target_for,
    until_eof,
    with_length,
)
from tests.support.scripted import Behaviour, ScriptedServer, answering, request

BODY = bytes(range(256)) * 2
TARGET = target_for(BODY)
LENGTH, CHUNKED, EOF = with_length(BODY), in_chunks(BODY, [1, 100, 16, 255]), until_eof(BODY)
OLD = PLAIN.replace(b"1.1", b"1.0")
HEADS = known_heads(TARGET, LENGTH, CHUNKED, EOF)

CORRECT = {
    "length": LENGTH,
    "chunked": CHUNKED,
    "until-eof": EOF,
    "http-1.0": with_length(BODY, OLD),
    "http-1.0-until-eof": OLD + b"\r\n" + BODY,
    "after-100-continue": b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH,
    "after-early-hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + CHUNKED,
    "chunk-extension": CHUNKED.replace(b"\r\n1\r\n", b"\r\n1;a=b\r\n"),
    "trailer": CHUNKED[:-2] + b"X-Sum: 1\r\n\r\n",
    "head-of-64-kib": with_length(BODY, PLAIN + b"X-Long: " + b"x" * 65536 + b"\r\n"),
    "content-length-beside-chunks": in_chunks(BODY, [9], PLAIN + b"Content-Length: 7\r\n"),
}
WRONG = {
    "wrong-byte": (LENGTH[:-9] + b"?" + LENGTH[-8:], "body"),
    "wrong-byte-in-a-chunk": (CHUNKED[:-30] + b"?" + CHUNKED[-29:], "body"),
    "announced-short": (with_length(BODY[:-1]), "body"),
    "announced-long": (with_length(BODY + b"!"), "body"),
    "chunks-short": (in_chunks(BODY[:-1], [5]), "body"),
    "chunks-long": (in_chunks(BODY + b"!", [5]), "body"),
    "cut-off": (LENGTH[:-1], "short"),
    "cut-off-in-the-head": (LENGTH[:20], "short"),
    "cut-off-before-the-last-chunk": (CHUNKED[:-5], "short"),
    "cut-off-in-the-last-line": (CHUNKED[:-1], "short"),
    "no-answer": (b"", "short"),
    "eof-short": (EOF[:-1], "body"),
    "eof-long": (EOF + b"!", "body"),
    "wrong-status": (LENGTH.replace(b"200 OK", b"503 No"), "status"),
    "wrong-status-cut-off": (LENGTH.replace(b"200 OK", b"503 No")[:-9], "status"),
    "wrong-type": (LENGTH.replace(b"text/plain", b"text/wrong"), "status"),
    "later-version": (LENGTH.replace(b"HTTP/1.1", b"HTTP/2.0"), "status"),
    "not-http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "status"),
    "bad-chunk-size": (CHUNKED.replace(b"\r\n10\r\n", b"\r\n1g\r\n"), "status"),
    "bad-chunk-end": (CHUNKED.replace(b"\r\n10\r\n", b"!!10\r\n"), "status"),
    "two-lengths": (LENGTH.replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n"), "status"),
    "huge-length": (PLAIN + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + BODY, "status"),
    "unknown-coding": (LENGTH.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: gzip\r\n\r\n"), "status"),
    "upgrade-nobody-asked-for": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n" + LENGTH, "status"),
    "endless-head": (PLAIN + b"X-Long: " + b"x" * HEAD_LIMIT_BYTES, "status"),
    "too-long-a-head": (
        with_length(BODY, PLAIN + b"X-Long: " + b"x" * HEAD_LIMIT_BYTES + b"\r\n"),
        "status",
    ),
    "endless-100-continue": (b"HTTP/1.1 100 Continue\r\n\r\n" * 6000, "status"),
}


def all_cases() -> Iterator[tuple[bytes, str | None]]:
    yield from ((answer, None) for answer in CORRECT.values())
    yield from WRONG.values()


ids = [*CORRECT, *WRONG]
CASES = pytest.mark.parametrize(("answer", "expected"), list(all_cases()), ids=ids)
SMALL = [(answer, expected) for answer, expected in all_cases() if len(answer) < 2000]


@CASES
def test_each_answer_has_one_verdict_from_both_parsers(answer: bytes, expected: str | None) -> None:
    assert kind(read(TARGET, cut(answer, []))) == expected
    assert kind(check(TARGET, cut(answer, []), HEADS)[0]) == expected


@pytest.mark.parametrize(
    ("answer", "expected"), SMALL, ids=[ids[at] for at, (one, _) in enumerate(all_cases()) if len(one) < 2000]
)
def test_one_cut_at_any_byte_changes_nothing(answer: bytes, expected: str | None) -> None:
    for place in range(1, len(answer)):
        pieces = cut(answer, [place])
        assert kind(read(TARGET, pieces)) == expected, place
        assert kind(check(TARGET, pieces, HEADS)[0]) == expected, place


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED, EOF], ids=["length", "chunked", "until-eof"])
def test_the_checker_recognises_a_known_head_and_body_however_it_is_cut(answer: bytes) -> None:
    for place in range(1, len(answer)):
        verdict, recognised = check(TARGET, cut(answer, [place]), HEADS)
        assert recognised
        assert kind(verdict) is None
    assert check(TARGET, cut(answer, range(len(answer))), HEADS)[1]


@given(st.data())
def test_arbitrary_cuts_change_nothing(data: st.DataObject) -> None:
    answer, expected = data.draw(st.sampled_from(list(all_cases())))
    pieces = cut(answer, data.draw(st.lists(st.integers(1, max(1, len(answer))), max_size=30)))
    assert kind(read(TARGET, pieces)) == expected
    assert kind(check(TARGET, pieces, HEADS)[0]) == expected


@given(sizes=st.lists(st.integers(1, 600), max_size=40), places=st.lists(st.integers(1, 2000), max_size=20))
def test_chunks_of_other_sizes_are_recognised(sizes: list[int], places: list[int]) -> None:
    answer = in_chunks(BODY, sizes)
    verdict, recognised = check(TARGET, cut(answer, places), HEADS, then_eof=False)
    assert recognised
    assert kind(verdict) is None


@given(
    answer=st.sampled_from([LENGTH, CHUNKED, EOF]),
    at=st.integers(0, len(CHUNKED)),
    wrong=st.binary(min_size=1, max_size=1),
    places=st.lists(st.integers(1, len(CHUNKED)), max_size=6),
)
def test_one_changed_byte_gets_the_verdict_of_the_full_parser(
    answer: bytes, at: int, wrong: bytes, places: list[int]
) -> None:
    changed = answer[:at] + wrong + answer[at + 1 :]
    whole = kind(read(TARGET, [changed]))
    verdict, _ = check(TARGET, cut(changed, places), HEADS)
    if whole == "body" and changed.startswith((LENGTH, CHUNKED)):
        return  # surplus bytes in a piece of their own belong to whatever comes next
    assert kind(verdict) == whole


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("surplus", [b"!", b"\r\n", LENGTH], ids=["a-byte", "a-line-end", "another-answer"])
def test_bytes_after_the_answer_in_its_last_piece_are_a_wrong_body(answer: bytes, surplus: bytes) -> None:
    for place in range(len(answer)):
        pieces = cut(answer + surplus, [place])
        assert kind(read(TARGET, pieces)) == "body"
        assert kind(check(TARGET, pieces, HEADS)[0]) == "body"


@pytest.mark.parametrize("name", ["http-1.0", "http-1.0-until-eof", "until-eof"])
def test_a_connection_that_the_server_will_close_is_not_used_again(name: str) -> None:
    heads = known_heads(TARGET, CORRECT[name])
    for verdict in (read(TARGET, [CORRECT[name]]), check(TARGET, [CORRECT[name]], heads)[0]):
        assert verdict is not None
        assert verdict.failure is None
        assert not (verdict.reusable and not verdict.until_eof)


def test_an_answer_that_ends_with_the_connection_is_not_complete_before() -> None:
    assert check(TARGET, [EOF], HEADS, then_eof=False) == (None, False)
    assert check(TARGET, [EOF], HEADS)[1]


def test_a_head_that_was_never_accepted_is_left_to_the_full_parser() -> None:
    dated = with_length(BODY, PLAIN + b"Date: another day\r\n")
    verdict, recognised = check(TARGET, [dated], HEADS, then_eof=False)
    assert not recognised
    assert kind(verdict) is None
    assert verdict is not None
    assert check(TARGET, [dated], {verdict.head: verdict})[1]


def test_a_head_whose_lines_end_without_a_carriage_return_is_recognised() -> None:
    bare = with_length(BODY).replace(b"\r\n", b"\n", 4)
    heads = known_heads(TARGET, bare)
    assert all(check(TARGET, cut(bare, [place]), heads)[1] for place in range(1, len(bare)))


@pytest.mark.parametrize(
    "begun", [b"\x16\x03\x01", b" HTTP/1.1 200 OK", b"\r\n"], ids=["tls", "space", "line-end"]
)
def test_what_cannot_become_an_answer_is_refused_at_once(begun: bytes) -> None:
    assert kind(check(TARGET, [begun], HEADS, then_eof=False)[0]) == "status"


def test_a_head_without_an_end_is_left_to_the_full_parser() -> None:
    assert kind(check(TARGET, [PLAIN, b"X: " + b"x" * 20_000], HEADS, then_eof=False)[0]) == UNFINISHED
    checker = LargeAnswer(BODY, HEADS)
    assert checker.take(PLAIN + b"X: " + b"x" * 20_000) == "unknown"


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED, EOF], ids=["length", "chunked", "until-eof"])
def test_what_was_taken_reads_the_same_to_the_full_parser(answer: bytes) -> None:
    for place in range(len(answer)):
        checker = LargeAnswer(BODY, HEADS)
        for piece in cut(answer[:place], [place // 2]):
            if piece:
                assert checker.take(piece) == "exact"
        verdict = read(TARGET, [taken] if (taken := checker.so_far()) else [], then_eof=False)
        assert verdict is None
        assert kind(read(TARGET, cut(checker.so_far() + answer[place:], [len(checker.so_far())]))) is None


def test_an_answer_of_megabytes_is_recognised_and_one_wrong_byte_in_it_is_found() -> None:
    body = BODY * 8192
    target = target_for(body)
    heads = known_heads(target, with_length(body), in_chunks(body, []))
    for answer in (with_length(body), in_chunks(body, [65536] * 64)):
        pieces = cut(answer, range(0, len(answer), 200_001))
        assert check(target, pieces, heads, then_eof=False)[1]
        late = len(answer) - 10_000
        changed = answer[:late] + bytes((answer[late] ^ 1,)) + answer[late + 1 :]
        verdict, _ = check(target, cut(changed, range(0, len(answer), 200_001)), heads)
        assert kind(verdict) == "body"
        verdict, _ = check(target, cut(answer[:late], range(0, late, 200_001)), heads)
        assert kind(verdict) == "short"


def test_a_body_without_an_end_is_refused_at_its_first_surplus_byte() -> None:
    endless = in_chunks(BODY + b"x" * 100_000, [])[:-5]
    assert kind(read(TARGET, [endless], then_eof=False)) == "body"
    assert kind(check(TARGET, [endless], HEADS, then_eof=False)[0]) == "body"


def test_the_failure_quotes_the_place_of_the_wrong_byte() -> None:
    body = BODY * 1000
    changed = with_length(body[:300_000] + b"\xffwrong" + body[300_006:])
    verdict = read(target_for(body), cut(changed, range(0, len(changed), 65536)))
    assert verdict is not None
    assert "xffwrong" in verdict.detail
    assert "from byte 300000" in verdict.detail
    assert len(verdict.detail) < 2000


def test_a_wrong_status_is_quoted_with_its_body() -> None:
    page = LENGTH.replace(b"200 OK", b"500 Oh").replace(BODY, b"Traceback: it broke".ljust(len(BODY)))
    verdict = read(TARGET, cut(page, [page.index(b"Trace")]))
    assert verdict is not None
    assert verdict.failure == "status"
    assert "status 500 instead of 200: b'Traceback: it broke" in verdict.detail


def drive(behaviour: Behaviour, *, answer: bytes = BODY, upload: bytes = b"") -> SliceResult:
    """One slice of the real engine on one connection."""
    with ScriptedServer(behaviour) as server:
        goal = Target(
            "127.0.0.1",
            server.port,
            "keep-alive",
            method="POST" if upload else "GET",
            body=upload,
            headers={"content-type": "text/plain"},
            answer=answer,
            timeout_s=0.3,
        )
        with group_of(goal, 1) as group:
            group.prepare()
            return group.run_slice(0.01)


@given(data=st.data(), chunked=st.booleans(), large=st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_engine_takes_correct_answers_in_any_pieces(
    data: st.DataObject, chunked: bool, large: bool
) -> None:
    body = BODY * 300 if large else BODY
    answer = in_chunks(body, [1, 65536, 17]) if chunked else with_length(body)
    pieces = cut(answer, data.draw(st.lists(st.integers(1, len(answer)), max_size=6)))
    result = drive(answering(*pieces), answer=body)
    assert failures(result) == set()
    assert result.completed + result.drained >= 1


@pytest.mark.parametrize("body", [BODY, BODY * 300], ids=["small", "large"])
def test_the_engine_finds_one_wrong_byte_after_correct_answers(body: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(100_000):
            await request(reader)
            answer = with_length(body)
            writer.write(answer if number != 2 else answer[:-5] + b"?" + answer[-4:])

    result = drive(behave, answer=body)
    assert failures(result) <= {"body"}
    assert result.failures["body"] or result.completed + result.drained <= 2


@pytest.mark.parametrize("body", [BODY, BODY * 300], ids=["small", "large"])
def test_an_answer_that_is_reset_in_the_middle_is_one_failure_a_connection(body: bytes) -> None:
    asked: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await request(reader))
        writer.write(with_length(body)[:-9])
        await writer.drain()
        await asyncio.sleep(0.002)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    result = drive(behave, answer=body)
    assert failures(result) == {"reset"}
    assert sum(result.failures.values()) == len(asked)


def test_a_server_that_stops_reading_an_upload_times_out_and_the_slice_ends() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1000)
        del writer
        await asyncio.sleep(30)

    assert failures(drive(behave, upload=bytes(32 << 20))) == {"timeout"}


def test_a_connection_answered_in_the_middle_of_an_upload_is_not_used_again() -> None:
    begun: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(with_length(BODY))
        await asyncio.sleep(30)

    result = drive(behave, upload=bytes(32 << 20))
    assert failures(result) == set()
    assert len(begun) == result.completed + result.drained == result.closed_by_server
