"""What people write and read: numbers with their nouns."""

from __future__ import annotations

import pytest

from gatebench.words.text import counted


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 cores"), (1, "1 core"), (2, "2 cores"), (1_200, "1,200 cores")]
)
def test_a_noun_is_singular_for_one_and_plural_for_all_other_numbers(number: int, expected: str) -> None:
    assert counted(number, "core") == expected


def test_a_plural_that_an_s_does_not_make_is_given() -> None:
    assert counted(1, "worker process", "worker processes") == "1 worker process"
    assert counted(3, "worker process", "worker processes") == "3 worker processes"
