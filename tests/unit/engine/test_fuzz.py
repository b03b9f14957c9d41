"""A short run of the parsers' fuzzer, of the same cases each time."""

from __future__ import annotations

import pytest

from tests.support.fuzz_parsers import fuzz


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mutated_answers_and_frames_break_no_promise_of_the_parsers(seed: int) -> None:
    count, recognised, violation = fuzz(seed, cases=400)
    assert violation is None, violation
    assert count > recognised > 0
