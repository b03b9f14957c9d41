"""How precise a run is asked to be: what may be typed, when it looks, and what it says then."""

from __future__ import annotations

from itertools import islice

import pytest

from gatebench.words.precision import (
    FIRST_LOOK,
    Found,
    Precision,
    next_look,
    outlook,
    parse_share,
    scheduled,
    words_of,
)

WIDE = Found(
    asked="3%",
    blocks=5,
    reached=0.06,
    met=False,
    pairs=3,
    widest="keep-alive/c64: a / b",
    needed_blocks=15,
    without=(),
    text="±6 % for the widest of 3 ratios (keep-alive/c64: a / b), ±4 % in the median",
)


@pytest.mark.parametrize(("text", "share"), [("3%", 0.03), ("0.5%", 0.005), ("50 %", 0.5), ("2.5%", 0.025)])
def test_a_percentage_is_a_share(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["3", "", "%", "three", "nan%", "inf%", "3%%", "0.03"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='is not a percentage such as "3%"'):
        parse_share(text)


@pytest.mark.parametrize("text", ["0%", "-3%", "0.1%", "51%", "300%"])
def test_what_no_run_can_reach_or_says_nothing_is_refused_with_what_can_be_asked(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not between 0\.5% and 50%, half the width"):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3%", ("3%", ())),
        ("3 %", ("3%", ())),
        ("3% uvicorn granian-*", ("3%", ("uvicorn", "granian-*"))),
        ("3 % keep-alive,close", ("3%", ("keep-alive", "close"))),
        ("", ("", ())),
    ],
)
def test_names_follow_the_percentage(text: str, words: tuple[str, tuple[str, ...]]) -> None:
    assert words_of(text) == words


def test_looks_are_fixed_beforehand_and_ever_further_apart() -> None:
    assert list(islice(scheduled(), 10)) == [3, 5, 7, 10, 14, 20, 28, 40, 57, 80]
    assert [next_look(blocks) for blocks in (0, 3, 4, 5, 12)] == [3, 5, 5, 7, 14]


def test_names_narrow_what_has_to_be_so_precise() -> None:
    everything = Precision(0.03)
    assert everything.concerns("close", "a", "b")
    some = Precision(0.03, ("a", "b"), ("close",))
    assert some.concerns("close", "a", "b")
    assert not some.concerns("close", "a", "c")
    assert not some.concerns("keep-alive", "a", "b")
    assert words_of(str(some)) == ("3%", ("close", "a", "b"))


def test_what_was_found_comes_back_from_json_as_it_was() -> None:
    assert Found.from_json({**WIDE.to_json(), "without": [], "of a later version": 1}) == WIDE


def test_a_run_that_can_reach_it_says_how_long_that_takes() -> None:
    said = outlook(WIDE, Precision(0.03), FIRST_LOOK, block_s=30.0, least_left=20)
    assert said.startswith("precision after 5 blocks: ±6 % for the widest of 3 ratios")
    assert said.endswith("by the spread so far ±3 % takes about 10 blocks more (5 min)")


def test_a_run_that_cannot_reach_it_in_its_budget_says_what_it_would_take() -> None:
    said = outlook(WIDE, Precision(0.03), FIRST_LOOK, block_s=60.0, least_left=5)
    assert "the budget pays for 5: it will not be reached" in said
    assert "--budget 15m (BUDGET=15m)" in said


def test_where_nothing_can_be_told_no_time_is_named() -> None:
    nothing = Found(
        "3%", 0, None, met=False, pairs=0, widest="", needed_blocks=None, without=(), text="no pair"
    )
    assert outlook(nothing, Precision(0.03), 5, 60.0, 5) == "precision after 5 blocks: no pair"
