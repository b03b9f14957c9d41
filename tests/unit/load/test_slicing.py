"""Who else had the server's core in a slice, from readings before and after it."""

from __future__ import annotations

import pytest

from gatebench.load.slicing import others
from gatebench.machine.kernel import CoreTime
from gatebench.machine.processes import Running, busiest
from gatebench.runners.base import Counters

LIMIT_S = 0.005


def counters(cpu_s: float | None, run_s: float | None, off_s: float = 0.0, **neighbours_s: float) -> Counters:
    core = None if run_s is None else CoreTime(run_s, off_s, "cpuacct")
    return Counters(cpu_s=cpu_s, core=core, neighbours_s=neighbours_s)


def test_others_had_what_ran_on_the_core_less_what_the_server_ran() -> None:
    had_s, who = others(counters(1.0, 50.0), counters(1.06, 50.1), LIMIT_S)
    assert had_s == pytest.approx(0.04)
    assert who == ""


def test_a_server_alone_on_its_core_is_beside_nobody() -> None:
    assert others(counters(1.0, 50.0), counters(1.1, 50.0999), LIMIT_S) == (0.0, "")


def test_another_server_of_the_run_that_had_over_the_limit_is_named() -> None:
    before, after = counters(1.0, 50.0, busy=2.0, calm=3.0), counters(1.05, 50.1, busy=2.04, calm=3.001)
    had_s, who = others(before, after, LIMIT_S)
    assert had_s == pytest.approx(0.05)
    assert who == "busy"


def test_other_servers_are_known_exactly_where_the_core_is_known_in_ticks() -> None:
    before, after = counters(1.0, 50.0, 0.03, busy=2.0), counters(1.05, 50.1, 0.03, busy=2.04)
    had_s, who = others(before, after, LIMIT_S)
    assert had_s == pytest.approx(0.04)
    assert who == "busy"


def test_what_a_coarse_clock_may_be_wrong_by_is_not_held_against_anybody() -> None:
    assert others(counters(1.0, 50.0, 0.03), counters(1.08, 50.1, 0.03), LIMIT_S) == (0.0, "")


def test_programs_that_the_server_ran_and_that_have_ended_are_its_own() -> None:
    after = Counters(cpu_s=1.05, core=CoreTime(50.1, 0.0, "cpuacct"), children_s=0.05)
    had_s, _ = others(counters(1.0, 50.0), after, LIMIT_S)
    assert had_s == pytest.approx(0.0)


@pytest.mark.parametrize(("cpu_s", "run_s"), [(None, 50.0), (1.0, None)])
def test_what_could_not_be_read_is_unknown_rather_than_zero(cpu_s: float | None, run_s: float | None) -> None:
    assert others(counters(cpu_s, run_s), counters(cpu_s, run_s), LIMIT_S) == (None, "")


def test_a_neighbour_that_came_or_went_in_a_slice_tells_nothing() -> None:
    assert others(counters(None, None, came=1.0), counters(None, None, went=9.0), LIMIT_S) == (None, "")


def test_the_process_that_ran_most_on_the_servers_core_is_named_with_its_id() -> None:
    before = {1: Running("init", 5.0, 1), 2: Running("engine", 1.0, 0), 3: Running("server", 1.0, 1)}
    after = {
        1: Running("init", 5.01, 1),
        2: Running("engine", 9.0, 0),  # on another core
        3: Running("server", 9.0, 1),  # the one that is measured
        4: Running("cc1", 0.3, 1),  # new
    }
    assert busiest(before, after, (1,), {3}) == "cc1 (process 4)"
    assert busiest(after, after, (1,), {3}) == ""
