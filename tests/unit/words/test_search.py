"""The search for the highest rate that keeps to an objective, against servers whose answer is known."""

from __future__ import annotations

import math
import random

import pytest

from gatebench.words.model import Objective
from gatebench.words.plan import LEAST_RATE_PER_S, Search, keeps_to
from loadtests.engine.tally import SliceResult, Tally

P99_IN_10_MS = Objective(99, 0.010)


def a_slice(fast: int, slow: int, *, unsent: int = 0, failures: int = 0, left_out: int = 0) -> SliceResult:
    """A slice with answers of 1 ms and of 20 ms."""
    offered = fast + slow + unsent + failures + left_out
    tally = Tally(completed=fast + slow, offered=offered, unsent=unsent)
    tally.left_out_ns = {"response": [20_000_000] * left_out}
    tally.response_ns = [1_000_000] * fast + [20_000_000] * slow
    for _ in range(failures):
        tally.fail("reset", "")
    return SliceResult.of(
        tally, window_s=1.0, elapsed_s=1.0, busy_share=0.1, started_unix_ns=0, turns=(fast + slow, 1.0)
    )


@pytest.mark.parametrize("start", [200.0, 5_000.0, 80_000.0])
def test_the_search_settles_at_the_threshold_wherever_it_begins(start: float) -> None:
    threshold = 10_000.0
    search = Search(start)
    tried = []
    for _ in range(40):
        tried.append(search.rate_per_s)
        search.step(met=search.rate_per_s <= threshold)
    settled = [math.log(rate / threshold) for rate in tried[-20:]]
    assert abs(sum(settled) / len(settled)) < 0.06


def test_a_noisy_server_is_found_where_half_of_its_slices_keep_to_the_objective() -> None:
    draw = random.Random(3)  # noqa: S311 - a repeatable test, not a secret
    threshold, found = 4_000.0, []
    for _ in range(30):
        search = Search(9_000.0)
        rates = []
        for _ in range(30):
            rates.append(search.rate_per_s)
            search.step(met=draw.gauss(math.log(threshold), 0.1) >= math.log(search.rate_per_s))
        found.append(sum(math.log(rate) for rate in rates[12:]) / 18)
    assert abs(sum(found) / len(found) - math.log(threshold)) < 0.05


def test_a_server_that_never_keeps_to_it_is_asked_less_and_less_but_never_nothing() -> None:
    search = Search(0.0)
    for _ in range(100):
        search.step(met=False)
    assert search.rate_per_s == LEAST_RATE_PER_S


def test_what_an_engine_left_out_neither_keeps_to_the_objective_nor_misses_it() -> None:
    assert keeps_to(P99_IN_10_MS, a_slice(792, 8, left_out=200))
    assert not keeps_to(P99_IN_10_MS, a_slice(791, 9, left_out=200))


def test_as_many_slow_answers_as_the_percentile_allows_keep_to_the_objective() -> None:
    assert keeps_to(P99_IN_10_MS, a_slice(990, 10))
    assert not keeps_to(P99_IN_10_MS, a_slice(989, 11))


def test_a_failure_or_a_request_that_was_given_up_does_not_keep_to_it() -> None:
    assert not keeps_to(P99_IN_10_MS, a_slice(1000, 0, failures=1))
    assert not keeps_to(P99_IN_10_MS, a_slice(1000, 0, unsent=1))
