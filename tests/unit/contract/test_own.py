"""Answers that workloads say or learn: what is held to, who agrees, and what is said where nobody does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatebench.contract.own import (
    DisagreementError,
    Heard,
    Told,
    agree,
    differences,
    proposed,
    request_of,
    request_values,
    told_of,
    told_values,
)
from gatebench.words.model import OwnAnswer, Request

LEARN = Request("GET", "/items", answer=OwnAnswer())
HTML = Told(200, "text/html", "", b'<input name="csrf" value="abc123">\n<p>Hello</p>')


def page(value: str = "abc123", word: str = "Hello") -> Told:
    return replace(HTML, body=HTML.body.replace(b"abc123", value.encode()).replace(b"Hello", word.encode()))


def varying(*patterns: str) -> Request:
    return replace(LEARN, answer=OwnAnswer(varies=patterns))


def test_what_all_servers_answer_alike_is_expected_to_the_byte() -> None:
    answer, wrong = agree(LEARN, [Heard("a", (HTML,)), Heard("b", (HTML,))])
    assert answer == OwnAnswer(200, "text/html", HTML.body)
    assert wrong == {}
    held = replace(LEARN, answer=answer)
    assert differences(held, HTML) == ()
    assert [each.aspect for each in differences(held, page(word="Hallo"))] == ["body"]
    assert [each.aspect for each in differences(held, replace(HTML, content_type="text/plain"))] == [
        "header content-type"
    ]


def test_the_one_of_three_that_answers_otherwise_is_named_with_where_it_differs() -> None:
    heard = [Heard("a", (HTML,)), Heard("odd", (page(word="Hallo"),)), Heard("b", (HTML,))]
    answer, wrong = agree(LEARN, heard)
    assert answer.body == HTML.body
    assert list(wrong) == ["odd"]
    assert f"differs from {HTML.body.index(b'ello'):,} on" in wrong["odd"]


def test_of_two_that_differ_neither_is_right_and_both_are_shown() -> None:
    with pytest.raises(DisagreementError) as caught:
        agree(LEARN, [Heard("one", (HTML,)), Heard("other", (page(word="Hallo"),))])
    text = str(caught.value)
    assert "2 different answers" in text
    assert "one: one answer" in text
    assert "other beside one" in text


def test_an_answer_that_differs_each_time_comes_with_the_pattern_that_would_let_it_pass() -> None:
    told = Heard("a", (page("abc123"), page("xyz")))
    with pytest.raises(DisagreementError) as caught:
        agree(LEARN, [told])
    assert "answers otherwise each time" in str(caught.value)
    pattern = proposed((), told.told[0].body, told.told[1].body)
    assert f"--varies='{pattern}'" in str(caught.value)
    answer, wrong = agree(varying(pattern), [told, Heard("b", (page("another"),))])
    assert wrong == {}
    assert differences(replace(LEARN, answer=answer), page("a third", "Hallo"))


def test_no_pattern_is_proposed_that_would_not_help() -> None:
    assert proposed((), b"a b", b"something else altogether") == ""


@pytest.mark.parametrize(
    ("one", "other", "pattern"),
    [
        (b"it is 12:30:01", b"it is 12:30:02", r"is\s[0-9.:]+"),
        (b"id=9f3a", b"id=07bc", r"id=[0-9a-f-]+"),
        (b"id: Ab9_x", b"id: Zz0-y", r"id:\s[0-9A-Za-z_.:+/=-]+"),
        (b"say yes!", b"say (no)", ""),
        (b'id="a"\n', b'id="b"\n', r'id="[^"]+'),
    ],
)
def test_a_proposed_pattern_takes_no_more_than_it_must(one: bytes, other: bytes, pattern: str) -> None:
    assert proposed((), one, other) == pattern


def test_a_redirect_is_shown_with_where_it_leads_and_what_to_do() -> None:
    (found,) = differences(LEARN, Told(302, "text/html", location="/login/?next=/"))
    assert found.got == (
        "302 to '/login/?next=/'; ask for the path to which it leads, or declare status = 302 in [answer] of "
        "a workload of your own (--workloads-dir)"
    )
    (empty,) = differences(LEARN, Told(204))
    assert empty.got.startswith("204; if that is right, declare status = 204 in [answer]")


@pytest.mark.parametrize(
    ("told", "aspect", "word"),
    [
        (Told(302, "", "", b""), "status", "302"),
        (Told(500, "text/html", "", b"<h1>Server Error</h1>"), "status", "Server Error"),
        (Told(200, "text/html", "gzip", b"\x1f\x8b"), "header content-encoding", "nobody asked"),
        (Told(error="the connection broke"), "connection", "broke"),
    ],
)
def test_redirects_errors_and_unasked_compression_are_no_expected_answers(
    told: Told, aspect: str, word: str
) -> None:
    (found,) = differences(LEARN, told)
    assert (found.aspect, word in found.got) == (aspect, True)
    with pytest.raises(DisagreementError, match=aspect):
        agree(LEARN, [Heard("a", (told,))])


def test_a_declared_redirect_and_a_compression_that_was_asked_for_are_expected() -> None:
    moved = replace(LEARN, answer=OwnAnswer(302))
    assert agree(moved, [Heard("a", (Told(302, "", "", b""),))])[0].status == 302
    asking = replace(LEARN, headers=(("accept-encoding", "gzip"),))
    assert agree(asking, [Heard("a", (Told(200, "text/html", "gzip", b"\x1f\x8b"),))])[0].body == b"\x1f\x8b"


def test_a_declared_type_is_held_to_while_the_body_is_learned() -> None:
    typed = replace(LEARN, answer=OwnAnswer(content_type="application/json"))
    with pytest.raises(DisagreementError, match="content-type"):
        agree(typed, [Heard("a", (HTML,))])


def test_requests_and_answers_travel_whole_to_where_the_servers_are() -> None:
    asked = Request(
        "POST", "/a", b"\xff\x00", headers=(("x-a", "1"),), answer=OwnAnswer(201, "a/b", b"\xfe", ("[0-9]",))
    )
    for each in (asked, LEARN, Request("GET", "/")):
        assert request_of(request_values(each)) == each
    assert told_of(told_values(replace(HTML, body=b"\xff"))) == replace(HTML, body=b"\xff")
