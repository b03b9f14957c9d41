"""Answers of which parts vary: what is held to the byte, and what may differ."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.engine.http_parser import AnswerReader
from loadtests.engine.masked import Masked
from loadtests.engine.protocol import Target
from tests.support.groups import driven, group_of
from tests.support.scripted import Behaviour, ScriptedServer, request

TOKEN = 'value="[^"]+"'  # noqa: S105 - a pattern, and no secret
PAGE = b'<form><input name="csrf" value="abc"></form><p>Hello</p>'


def answer(body: bytes, extra: bytes = b"") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n" % len(body)
    return head + extra + b"\r\n" + body


def page(port: int = 1, body: bytes = PAGE) -> Target:
    return Target(
        "127.0.0.1",
        port,
        "keep-alive",
        path="/login",
        headers={"content-type": "text/html"},
        answer=body,
        varies=(TOKEN,),
        timeout_s=2.0,
    )


def test_a_span_may_have_another_value_and_another_length() -> None:
    mask = Masked(PAGE, [TOKEN])
    assert mask.holds(PAGE)
    assert mask.holds(PAGE.replace(b"abc", b"something much longer"))


@pytest.mark.parametrize(
    "body",
    [
        PAGE.replace(b"Hello", b"Hallo"),
        PAGE.replace(b"<form>", b"<form >"),
        PAGE + b" ",
        PAGE[:-1],
        PAGE.replace(b'value="abc"', b'value=""'),
        PAGE.replace(b'value="abc"', b""),
        b"",
    ],
)
def test_whatever_is_around_the_spans_is_held_to_the_byte(body: bytes) -> None:
    mask = Masked(PAGE, [TOKEN])
    assert not mask.holds(body)
    assert mask.difference(body) is not None


def test_a_difference_says_where_it_begins_in_both() -> None:
    longer = PAGE.replace(b"abc", b"abcdef").replace(b"Hello", b"Hallo")
    assert Masked(PAGE, [TOKEN]).difference(longer) == (PAGE.index(b"ello"), longer.index(b"allo"))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_body_holds_exactly_where_no_difference_is_found(one: bytes, other: bytes) -> None:
    mask = Masked(one, ["[0-9]+", "[a-c]"])
    assert mask.holds(one)
    assert mask.holds(other) is (mask.difference(other) is None)


@pytest.mark.parametrize("pattern", ["[a-z]*", "(", "x|"])
def test_a_pattern_that_cannot_be_or_matches_nothing_at_all_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"regular expression|nothing at all"):
        Masked(PAGE, [pattern])


@pytest.mark.parametrize("cut", [1, 40, len(answer(PAGE)) - 1])
def test_the_full_parser_accepts_another_value_and_refuses_another_letter(cut: int) -> None:
    other = answer(PAGE.replace(b"abc", b"xyz1"))
    reader = AnswerReader(page())
    assert reader.feed(other[:cut]) is None
    verdict = reader.feed(other[cut:])
    assert verdict is not None
    assert verdict.failure is None
    wrong = AnswerReader(page()).feed(answer(PAGE.replace(b"Hello", b"Hellu")))
    assert wrong is not None
    assert (wrong.failure, "wrong from byte" in wrong.detail) == ("body", True)


def test_a_body_far_longer_than_expected_is_refused_before_its_end() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9999999\r\n\r\n"
    reader = AnswerReader(page())
    assert reader.feed(head) is None
    verdict = reader.feed(bytes(200_000))
    assert verdict is not None
    assert verdict.failure == "body"


def test_what_was_learned_is_recognised_without_the_full_parser_and_no_more_than_that() -> None:
    with group_of(page(), 0) as group:
        for body in (PAGE, PAGE.replace(b"abc", b"abcdef")):
            verdict = AnswerReader(page()).feed(answer(body))
            assert verdict is not None
            group.accept_whole(answer(body), verdict)
        longer = answer(PAGE.replace(b"abc", b"0123456789"))
        assert group.heads.again(longer)
        assert group.recognise(longer) is True
        assert not group.heads.again(longer.replace(b"Hello", b"Hellu"))
        assert group.recognise(longer.replace(b"Hello", b"Hellu")) is None
        assert group.recognise(longer + b"!") is None
        assert group.is_begun(longer[:-3])
        shorter = longer.replace(b"Content-Length: %d" % len(longer), b"Content-Length: 3")
        assert group.recognise(shorter.replace(b"0123456789", b"0")) is None


def numbered(template: bytes, wrong_every: int = 0) -> Behaviour:
    """Answers with a fresh token each time, and every so often with another letter as well."""
    numbers = itertools.count(1)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            number = next(numbers)
            body = template.replace(b"abc", b"%d" % number)
            if wrong_every and number % wrong_every == 0:
                body = body.replace(b"Hello", b"Hellu")
            writer.write(answer(body, b"X-Request-Id: %d\r\n" % number))

    return behave


@pytest.mark.parametrize("template", [PAGE, PAGE + b"." * 8000, PAGE + b"." * 200_000])
def test_under_load_fresh_tokens_are_right_and_a_wrong_letter_is_not(template: bytes) -> None:
    with (
        ScriptedServer(numbered(template)) as server,
        group_of(page(server.port, template), 2) as group,
    ):
        assert driven(group, 20)[1] == set()
    with (
        ScriptedServer(numbered(template, wrong_every=5)) as server,
        group_of(page(server.port, template), 2) as group,
    ):
        assert driven(group, 20)[1] == {"body"}
