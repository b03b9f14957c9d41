"""What an engine leaves out when it was held up: by its own pauses, and never for a server's stall."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest

from loadtests.engine.pauses import BEFORE_NS, PAUSE_NS, LeftOut, Pauses, Span
from loadtests.engine.tally import nearest_rank

MS = 1_000_000
SECOND = 1000 * MS
WINDOW_NS = 10 * SECOND
RATE_PER_S = 1000
HELD_UP_NS = 5 * MS
TIMES = 100
LOOK_NS = 200_000


def test_an_engine_that_had_nothing_to_do_and_did_not_look_was_held_up() -> None:
    pauses = Pauses(1000, used_ns=0)
    pauses.look(1000 + PAUSE_NS, worked=False, used_ns=0)
    assert pauses.found == []
    pauses.look(1001 + 2 * PAUSE_NS, worked=False, used_ns=0)
    assert pauses.found == [(1000 + PAUSE_NS, 1001 + 2 * PAUSE_NS)]


def test_work_is_no_pause_however_long_it_takes() -> None:
    pauses = Pauses(0, used_ns=7)
    pauses.look(20 * MS, worked=True, used_ns=7 + 20 * MS)
    assert pauses.found == []


def test_an_engine_that_was_held_up_in_its_work_notes_the_time_it_did_not_run() -> None:
    pauses = Pauses(0, used_ns=0)
    pauses.look(3 * MS, worked=True, used_ns=3 * MS - PAUSE_NS)
    assert pauses.found == []
    pauses.look(6 * MS, worked=True, used_ns=6 * MS - 2 * PAUSE_NS - 1)
    assert pauses.found == [(3 * MS, 6 * MS)]


def test_what_a_hypervisor_took_is_a_pause_though_the_kernel_calls_it_cpu_time() -> None:
    pauses = Pauses(0, used_ns=0)
    pauses.look(4 * MS, worked=False, used_ns=4 * MS)
    assert pauses.found == [(0, 4 * MS)]


@pytest.mark.parametrize(
    ("moment_ns", "out"),
    [
        (100 * MS - BEFORE_NS - 1, False),
        (100 * MS - BEFORE_NS, True),
        (102 * MS, True),
        (108 * MS, True),
        (108 * MS + 1, False),
    ],
)
def test_moments_from_before_a_pause_to_as_long_after_it_are_left_out(moment_ns: int, *, out: bool) -> None:
    assert LeftOut([(100 * MS, 104 * MS)]).covers(moment_ns) is out


def test_a_short_pause_after_a_long_one_does_not_shorten_what_is_left_out() -> None:
    left_out = LeftOut([(100 * MS, 150 * MS), (152 * MS, 153 * MS), (400 * MS, 401 * MS)])
    assert left_out.covers(200 * MS)
    assert not left_out.covers(201 * MS)
    assert left_out.covers(395 * MS)


def test_without_a_pause_nothing_is_left_out() -> None:
    assert not LeftOut().covers(0)


@dataclass(frozen=True)
class Simulated:
    """The requests of one slice: the moment of each, and its response time."""

    moments_ns: Sequence[int]
    response_ns: Sequence[int]

    def p99_ns(self, left_out: LeftOut) -> int:
        kept = sorted(
            each
            for moment, each in zip(self.moments_ns, self.response_ns, strict=True)
            if not left_out.covers(moment)
        )
        return kept[nearest_rank(0.99, len(kept)) - 1]

    def share_left_out(self, left_out: LeftOut) -> float:
        return sum(left_out.covers(moment) for moment in self.moments_ns) / len(self.moments_ns)


NOTHING = LeftOut()


def spans(seed: int, length_ns: int = HELD_UP_NS, times: int = TIMES) -> list[Span]:
    """So many spans over the window, one in each equal part of it, in order."""
    random = Random(seed)  # noqa: S311 - reproducible, not a secret
    part_ns = WINDOW_NS // times
    begins = [number * part_ns + random.randrange(part_ns - length_ns) for number in range(times)]
    return [(begin, begin + length_ns) for begin in begins]


def after(moment_ns: int, standing_ns: Sequence[Span]) -> int:
    """The moment, or the end of the span that it falls into."""
    number = bisect_right(standing_ns, (moment_ns, WINDOW_NS * 2)) - 1
    return max(moment_ns, standing_ns[number][1]) if number >= 0 else moment_ns


def simulated(
    seed: int,
    *,
    pauses: Sequence[Span] = (),
    stalls: Sequence[Span] = (),
    work_ns: int = 300_000,
    wait_ns: int = 0,
) -> Simulated:
    """One slice of a server that works on a request at a time, for an exponential time, after a fixed wait.

    A paused engine neither sends nor reads; a stalled server does not work.
    """
    random = Random(seed)  # noqa: S311 - reproducible, not a secret
    moments = sorted(random.randrange(WINDOW_NS) for _ in range(RATE_PER_S * WINDOW_NS // SECOND))
    free_ns, response_ns = 0, []
    for moment_ns in moments:
        begun_ns = after(max(after(moment_ns, pauses), free_ns), stalls)
        free_ns = begun_ns + round(random.expovariate(1 / work_ns))
        response_ns.append(after(after(free_ns, stalls) + wait_ns, pauses) - moment_ns)
    return Simulated(moments, response_ns)


def noted(pauses: Sequence[Span]) -> LeftOut:
    """What an engine leaves out that looks at its clock every 0.2 ms, but for these pauses."""
    notes = Pauses(0, used_ns=0)
    for now_ns in range(0, WINDOW_NS, LOOK_NS):
        notes.look(after(now_ns, pauses), worked=False, used_ns=0)
    return LeftOut(notes.found)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_p99_of_a_server_is_right_though_the_engine_was_held_up_a_hundred_times(seed: int) -> None:
    pauses = spans(seed)
    left_out = noted(pauses)
    truth_ns = simulated(seed).p99_ns(NOTHING)
    seen = simulated(seed, pauses=pauses)
    assert seen.p99_ns(NOTHING) > 2 * truth_ns  # what would have been published
    assert seen.p99_ns(left_out) == pytest.approx(truth_ns, rel=0.05)
    assert 0.15 < seen.share_left_out(left_out) < 0.25


@pytest.mark.parametrize("seed", [1, 2])
def test_the_stalls_of_a_server_stay_in_its_p99_whether_or_not_the_engine_is_held_up_too(seed: int) -> None:
    stalls, pauses = spans(seed + 100), spans(seed)
    truth_ns = simulated(seed, stalls=stalls).p99_ns(NOTHING)
    assert truth_ns > 4 * MS
    assert simulated(seed, stalls=stalls).p99_ns(noted([])) == truth_ns
    seen = simulated(seed, stalls=stalls, pauses=pauses)
    assert seen.p99_ns(noted(pauses)) == pytest.approx(truth_ns, rel=0.1)


def test_a_server_that_takes_longer_than_the_margin_is_read_late_by_the_pause_at_most() -> None:
    pauses, wait_ns = spans(4), 3 * BEFORE_NS
    left_out = noted(pauses)
    truth, seen = simulated(4, wait_ns=wait_ns), simulated(4, wait_ns=wait_ns, pauses=pauses)
    late_ns = [
        late - right
        for moment, late, right in zip(seen.moments_ns, seen.response_ns, truth.response_ns, strict=True)
        if not left_out.covers(moment)
    ]
    assert 0 < max(late_ns) <= HELD_UP_NS
    assert sum(late > MS for late in late_ns) / len(late_ns) < TIMES * HELD_UP_NS / WINDOW_NS


def test_pauses_that_are_too_short_to_be_noted_move_p99_by_their_length_at_most() -> None:
    pauses = spans(5, length_ns=PAUSE_NS - LOOK_NS, times=1000)
    seen, truth_ns = simulated(5, pauses=pauses), simulated(5).p99_ns(NOTHING)
    assert seen.share_left_out(noted(pauses)) == 0
    assert truth_ns <= seen.p99_ns(NOTHING) <= truth_ns + PAUSE_NS


@pytest.mark.parametrize(
    ("work_ns", "wait_ns", "true_ms", "all_ms", "kept_ms"),
    [
        (300_000, 0, 1.9, 5.0, 1.9),
        (500_000, 0, 4.4, 6.4, 4.9),
        (700_000, 0, 10.3, 11.2, 11.1),
        (300_000, 8 * MS, 9.9, 13.0, 9.9),
        (300_000, 20 * MS, 21.9, 25.0, 24.5),
    ],
)
def test_what_bias_is_left_is_what_the_method_says(
    work_ns: int, wait_ns: int, true_ms: float, all_ms: float, kept_ms: float
) -> None:
    pauses = spans(1)
    seen = simulated(1, pauses=pauses, work_ns=work_ns, wait_ns=wait_ns)
    truth = simulated(1, work_ns=work_ns, wait_ns=wait_ns)
    found_ns = truth.p99_ns(NOTHING), seen.p99_ns(NOTHING), seen.p99_ns(noted(pauses))
    assert [each / MS for each in found_ns] == pytest.approx([true_ms, all_ms, kept_ms], abs=0.06)
