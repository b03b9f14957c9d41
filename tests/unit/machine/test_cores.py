"""How the machine's cores are divided."""

from __future__ import annotations

import pytest

from gatebench.machine.cores import (
    Cores,
    _parse_core_list,
    available_cores,
    cores_of_users,
    cores_to_try,
    divide,
    divide_evenly,
    memory_nodes,
    starting_places,
)
from gatebench.words.errors import ConfigurationError


def test_one_core_is_refused_because_it_would_compare_nothing() -> None:
    with pytest.raises(ConfigurationError, match=r"1 core.* available, 2 needed"):
        divide([0])


def test_with_two_cores_the_lab_shares_the_engines() -> None:
    assert divide([0, 1]) == Cores(server=(1,), engine=(0,), lab=(0,))


def test_with_four_cores_server_engine_and_lab_are_apart() -> None:
    assert divide([0, 1, 2, 3]) == Cores(server=(3,), engine=(2,), lab=(0, 1))


@pytest.mark.parametrize(
    ("allowed", "engines", "load", "expected"),
    [
        ({0, 1, 2}, [2], False, {0, 1}),
        ({0, 1, 2}, [1, 2], False, {0}),
        ({0}, [0], False, {0}),
        ({0, 1}, [None], False, {0, 1}),
        ({0, 1, 2}, [2], True, {0, 1, 2}),
    ],
    ids=["one engine", "two engines", "no other core", "an engine anywhere", "users that are the load"],
)
def test_users_keep_off_an_engine_unless_they_are_the_load_or_have_no_other_core(
    allowed: set[int], engines: list[int | None], expected: set[int], *, load: bool
) -> None:
    assert cores_of_users(allowed, engines, load=load) == expected


def test_the_engine_does_not_get_a_hyper_thread_of_the_servers_core() -> None:
    siblings = {0: frozenset({0, 1}), 1: frozenset({0, 1}), 2: frozenset({2, 3}), 3: frozenset({2, 3})}
    assert divide([0, 1, 2, 3], siblings=siblings).engine == (1,)


def test_servers_can_have_several_cores() -> None:
    assert divide([0, 1, 2, 3], server_cores=2) == Cores(server=(2, 3), engine=(1,), lab=(0,))


PAIRS = {core: frozenset({core - core % 2, core - core % 2 + 1}) for core in range(8)}
"""Eight hyper-threads of four physical cores, numbered in turn."""


def test_two_server_cores_are_two_physical_ones_where_the_engine_has_one_of_its_own_left() -> None:
    assert divide(range(8), server_cores=2, siblings=PAIRS) == Cores((5, 7), (3,), (0, 1, 2, 4, 6))


def test_two_hyper_threads_are_two_server_cores_where_the_engine_would_have_to_share_one() -> None:
    assert divide(range(4), server_cores=2, siblings=PAIRS) == Cores((2, 3), (1,), (0,))


@pytest.mark.parametrize(
    ("count", "servers", "engines"), [(4, 1, 2), (4, 2, 1), (4, 3, 1), (5, 2, 2), (2, 1, 1)]
)
def test_there_are_two_engines_where_that_leaves_the_lab_a_core(
    count: int, servers: int, engines: int
) -> None:
    divided = divide_evenly(range(count), None, {}, servers)
    assert (len(divided.server), len(divided.engine)) == (servers, engines)


def test_too_many_server_cores_are_refused_with_how_many_there_are_and_what_to_do() -> None:
    with pytest.raises(
        ConfigurationError, match=r"4 core.* available, 5 needed \(4 for the servers.*--server-cores"
    ):
        divide_evenly(range(4), None, {}, 4)


@pytest.mark.parametrize(
    ("text", "cores"), [("0", {0}), ("0-2,8\n", {0, 1, 2, 8}), ("1,3", {1, 3}), ("\n", set())]
)
def test_the_kernels_core_lists_are_read(text: str, cores: set[int]) -> None:
    assert _parse_core_list(text) == cores


def test_a_single_core_is_shared_where_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatebench.machine.cores.available_cores", lambda: (3,))
    assert cores_to_try() == Cores(server=(3,), engine=(3,), lab=(3,))


def test_servers_start_on_every_core_each_on_as_many_as_it_will_have() -> None:
    assert starting_places(Cores((1,), (0,), (0,)), {}) == ((1,), (0,))
    assert starting_places(Cores((3,), (1, 2), (0,)), {}) == ((3,), (0,), (1,), (2,))
    assert starting_places(Cores((5, 7), (3,), (0, 1, 2)), {}) == ((5, 7), (0, 1), (2, 3))


def test_no_server_starts_on_another_memory_node_than_its_own() -> None:
    nodes = {0: 0, 1: 0, 2: 1, 3: 1}
    assert starting_places(Cores((3,), (1, 2), (0,)), nodes) == ((3,), (2,))


def test_a_core_is_of_one_memory_node() -> None:
    cores = available_cores()
    assert set(memory_nodes(cores)) in ({*cores}, set())
