"""A short run of the parsers' fuzzer."""

from __future__ import annotations

import pytest

from tests.support.fuzz_parsers import fuzz


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mutated_answers_and_frames_break_no_promise_of_the_parsers(seed: int) -> None:
    count, recognised, violation = fuzz(1.0, seed)
    assert violation is None, violation
    assert count > recognised > 0
