"""Divides the machine's cores between the servers, the load engines and the lab."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatebench.words.errors import ConfigurationError
from gatebench.words.text import counted


@dataclass(frozen=True, slots=True)
class Cores:
    """Core numbers. Server and engine cores are disjoint; the lab idles while a slice runs."""

    server: tuple[int, ...]
    engine: tuple[int, ...]
    lab: tuple[int, ...]


def divide(
    available: Sequence[int],
    *,
    server_cores: int = 1,
    engine_cores: int = 1,
    siblings: Mapping[int, frozenset[int]] | None = None,
) -> Cores:
    """Gives the last cores to the servers, the next free ones to the engines, the rest to the lab.

    Several server cores are of several physical ones, and a hyper-thread of a server's core is not given to
    an engine, where there are cores enough for that. Where nothing is left for the lab, it shares the
    engines'.

    Args:
        available: core numbers that this process may use.
        server_cores: how many cores every server gets.
        engine_cores: how many cores the load engine gets, which runs one process on each.
        siblings: core → the hyper-threads of the same physical core, itself included.

    Raises:
        ConfigurationError: there are not enough cores to keep servers and engines apart.
    """
    cores = sorted(available)
    if len(cores) < server_cores + engine_cores:
        raise ConfigurationError(
            f"{counted(len(cores), 'core')} available, {server_cores + engine_cores} needed ({server_cores} "
            f"for the servers, {engine_cores} for the load engine): on a shared core the load generator "
            "takes time from the server, and the figures would compare nothing. Give this process more cores "
            "(taskset, cpuset, the machine's size), or ask for fewer (--server-cores, --engines)"
        )
    server = _of_servers(cores, server_cores, engine_cores, siblings or {})
    rest = [core for core in cores if core not in server]
    shared = _hyper_threads_of(server, siblings or {})
    by_preference = sorted(rest, key=lambda core: (core in shared, -core))
    engine = tuple(sorted(by_preference[:engine_cores]))
    lab = tuple(core for core in rest if core not in engine) or engine
    return Cores(server, engine, lab)


def cores_of_users(allowed: set[int], engines: Sequence[int | None], *, load: bool) -> set[int]:
    """The cores for Locust and its users.

    They only wait while an engine loads, so its core is not theirs, where there is another. A Locust file's
    users are the load, and no engine works beside them.

    Args:
        allowed: the cores that the process has.
        engines: the core of each engine.
        load: whether the users of a Locust file are among them.
    """
    beside = allowed - set(engines)
    return allowed if load or not beside else beside


def _of_servers(
    cores: Sequence[int], count: int, engine_cores: int, siblings: Mapping[int, frozenset[int]]
) -> tuple[int, ...]:
    """The last cores, one of each physical core where that leaves the engines physical cores of their own."""
    apart: list[int] = []
    for core in reversed(cores):
        if core not in _hyper_threads_of(apart, siblings):
            apart.append(core)
    chosen = tuple(sorted(apart[:count]))
    free = [core for core in cores if core not in {*chosen, *_hyper_threads_of(chosen, siblings)}]
    if len(chosen) == count and len(free) >= engine_cores:
        return chosen
    return tuple(cores[-count:])


def _hyper_threads_of(cores: Sequence[int], siblings: Mapping[int, frozenset[int]]) -> frozenset[int]:
    """Every hyper-thread of the physical cores that these are of."""
    return frozenset[int]().union(*(siblings.get(core, frozenset()) for core in cores))


ENGINES = 2
"""One engine comes within half of its own ceiling with fast servers under `close` (the gate `ceiling`)."""


def divide_evenly(
    cores: Sequence[int],
    engines: int | None,
    siblings: Mapping[int, frozenset[int]],
    server_cores: int = 1,
) -> Cores:
    """As `divide`, with as many engines as the cores allow where nobody says.

    Args:
        cores: core numbers that may be used.
        engines: load engines; None for `ENGINES` where that leaves a core for the lab, else 1.
        siblings: core → the hyper-threads of the same physical core.
        server_cores: how many cores every server gets.

    Raises:
        ConfigurationError: there are too few for so many server cores and engines.
    """
    if engines is None:
        engines = ENGINES if len(cores) >= server_cores + ENGINES + 1 else 1
    return divide(cores, server_cores=server_cores, engine_cores=engines, siblings=siblings)


def available_cores() -> tuple[int, ...]:
    """The cores that this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def cores_to_try() -> Cores:
    """The cores of a server that is tried and not measured: on a single one, everything shares it."""
    cores = available_cores()
    return divide_evenly(cores, None, hyper_threads(cores)) if len(cores) > 1 else Cores(cores, cores, cores)


def starting_places(cores: Cores, nodes: Mapping[int, int]) -> tuple[tuple[int, ...], ...]:
    """Where servers may start before their load: the servers' cores, and others in groups of as many.

    A server sees as many cores as it will have, since some size their pools by that. Its memory stays where
    it was first used, so the groups are of the same memory node, where that is known.

    Args:
        cores: of the machine.
        nodes: core → its memory node.

    Returns:
        Disjoint groups, the servers' cores first.
    """
    near = {nodes.get(core) for core in cores.server}
    others = sorted({*cores.engine, *cores.lab} - {*cores.server})
    free = [core for core in others if nodes.get(core) in near]
    size = len(cores.server)
    groups = (tuple(free[first : first + size]) for first in range(0, len(free), size))
    return (cores.server, *(group for group in groups if len(group) == size))


def memory_nodes(cores: Sequence[int]) -> dict[int, int]:
    """Core → its memory node (NUMA), as Linux tells; empty where it does not."""
    found: dict[int, int] = {}
    for path in Path("/sys/devices/system/node").glob("node[0-9]*/cpulist"):
        members = _parse_core_list(path.read_text())
        found |= {core: int(path.parent.name.removeprefix("node")) for core in cores if core in members}
    return found


def hyper_threads(cores: Sequence[int]) -> dict[int, frozenset[int]]:
    """Core → all hyper-threads of its physical core, as Linux tells; empty where it does not."""
    found: dict[int, frozenset[int]] = {}
    for core in cores:
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        if path.exists():
            found[core] = _parse_core_list(path.read_text())
    return found


def _parse_core_list(text: str) -> frozenset[int]:
    """`0-2,8` → {0, 1, 2, 8}, the format of the kernel's CPU lists; empty for a node without a core."""
    cores: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return frozenset(cores)
