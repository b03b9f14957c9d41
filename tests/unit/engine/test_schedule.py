"""When an open loop means to send: the same moments for everybody, whole over any number of engines."""

from __future__ import annotations

import itertools

import pytest
from scipy import stats

from loadtests.engine.protocol import ArrivalProcess, Arrivals

SECOND_NS = 1_000_000_000
PROCESSES: tuple[ArrivalProcess, ...] = ("constant", "poisson")


def gaps_of(moments_ns: list[int]) -> list[int]:
    return [later - earlier for earlier, later in itertools.pairwise(moments_ns)]


@pytest.mark.parametrize("process", PROCESSES)
def test_the_same_seed_gives_the_same_moments(process: ArrivalProcess) -> None:
    first = Arrivals(2000, process, seed=5).offsets_ns(SECOND_NS)
    assert first == Arrivals(2000, process, seed=5).offsets_ns(SECOND_NS)


def test_another_seed_gives_other_moments_and_as_many() -> None:
    first, second = (Arrivals(2000, "poisson", seed).offsets_ns(SECOND_NS) for seed in (5, 6))
    assert first != second
    assert len(first) == len(second) == 2000


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("engines", [1, 2, 3, 7])
def test_the_shares_of_the_engines_are_together_exactly_the_whole(
    process: ArrivalProcess, engines: int
) -> None:
    whole = Arrivals(997, process, seed=1)
    shares = [whole.share(part, engines).offsets_ns(SECOND_NS) for part in range(engines)]
    assert sorted(itertools.chain(*shares)) == whole.offsets_ns(SECOND_NS)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_can_be_shared_again() -> None:
    whole = Arrivals(997, "poisson", seed=1)
    shares = [
        whole.share(machine, 3).share(engine, 2).offsets_ns(SECOND_NS)
        for machine in range(3)
        for engine in range(2)
    ]
    assert sorted(itertools.chain(*shares)) == whole.offsets_ns(SECOND_NS)


def test_more_engines_than_requests_leave_some_engines_without_any() -> None:
    shares = [Arrivals(2, "constant", 0).share(part, 5).offsets_ns(SECOND_NS) for part in range(5)]
    assert [len(share) for share in shares] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(("rate_per_s", "count"), [(0.1, 1), (1, 1), (999.6, 1000), (20_000, 20_000)])
def test_every_moment_is_within_the_window_in_order_and_there_are_as_many_as_asked(
    process: ArrivalProcess, rate_per_s: float, count: int
) -> None:
    moments = Arrivals(rate_per_s, process, seed=3).offsets_ns(SECOND_NS)
    assert len(moments) == count
    assert moments == sorted(moments)
    assert moments[0] >= 0
    assert moments[-1] < SECOND_NS


def test_constant_arrivals_are_evenly_spaced() -> None:
    gaps = gaps_of(Arrivals(3000, "constant", seed=0).offsets_ns(SECOND_NS))
    assert max(gaps) - min(gaps) <= 1


def test_the_gaps_of_poisson_arrivals_are_exponential() -> None:
    """Kolmogorov and Smirnov's test; the seed is fixed, so it gives the same answer every time."""
    moments = Arrivals(5000, "poisson", seed=7).offsets_ns(SECOND_NS)
    in_means = [gap * 5000 / SECOND_NS for gap in gaps_of(moments)]
    assert stats.kstest(in_means, "expon").pvalue > 0.05
    even = [gap * 5000 / SECOND_NS for gap in gaps_of(Arrivals(5000, "constant", 0).offsets_ns(SECOND_NS))]
    assert stats.kstest(even, "expon").pvalue < 1e-9


def test_poisson_arrivals_of_two_parts_of_the_window_are_independent() -> None:
    """Over many seeds, the counts in a tenth of the window vary as a binomial's do: 900 of a mean of 1000."""
    counts = [
        sum(moment < SECOND_NS // 10 for moment in Arrivals(1000, "poisson", seed).offsets_ns(SECOND_NS))
        for seed in range(400)
    ]
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / (len(counts) - 1)
    assert mean == pytest.approx(100, abs=2)
    assert variance == pytest.approx(90, rel=0.25)


def test_arrivals_survive_the_way_to_another_process() -> None:
    arrivals = Arrivals(1000, "poisson", seed=4, part=1, parts=3)
    assert Arrivals.from_json(arrivals.to_json()) == arrivals
    assert Arrivals.from_json(None) is None
