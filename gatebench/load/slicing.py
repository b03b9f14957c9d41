"""Takes one slice of a cell, and looks at the server and the machine before and after it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from gatebench.load.process import LoadProcess
from gatebench.machine.kernel import CoreTime, is_much_steal
from gatebench.machine.processes import Running, busiest, everything_running
from gatebench.results.columns import SHARED_LIMIT, STEAL_LIMIT, Observed, SliceRow
from gatebench.runners.base import Around, Counters, Instance, Memory
from gatebench.words.model import Cell
from loadtests.engine.protocol import Arrivals

Number = TypeVar("Number", int, float)

LOOKS_APART_S = 1.0
"""A look at every process of the machine takes milliseconds: one a second at most."""


@dataclass(slots=True)
class Strangers:
    """Finds out which process outside of the run was on the servers' cores.

    Attributes:
        seen: every process at the last look.
        looked: when that was.
    """

    seen: Mapping[int, Running] = field(default_factory=everything_running)
    looked: float = field(default_factory=time.monotonic)

    def name(self, instance: Instance, around: Around) -> str:
        """Who ran most on these cores since the last look, servers left out; empty where nobody knows."""
        own = {pid for each in (instance, *around.neighbours) for pid in each.processes()}
        if not own or time.monotonic() < self.looked + LOOKS_APART_S:
            return ""
        before, self.seen = self.seen, everything_running()
        self.looked = time.monotonic()
        return busiest(before, self.seen, around.server, own)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the plan a slice stands."""

    block: int
    round_number: int
    position: int
    last: bool


def take_slice(
    load: LoadProcess,
    cell: Cell,
    instance: Instance,
    place: Place,
    *,
    around: Around,
    strangers: Strangers,
    arrivals: Arrivals | None = None,
    connections: int | None = None,
) -> SliceRow:
    """One slice of a cell whose connections are there.

    Args:
        load: drives the connections.
        cell: what is measured.
        instance: its server.
        place: of the slice in the plan. In the last round of a block, the server's memory and the
            local ports are looked at, which takes some time.
        around: what else to look at.
        strangers: tells who had the server's core, where no server of the run had.
        arrivals: when to send, in an open loop.
        connections: how many there are, where the level does not say.
    """
    load.prepare(cell.subject.id)
    before, began = instance.counters(around), time.monotonic()
    result = load.run_slice(cell.subject.id, cell.workload.slice_s, arrivals)
    after, lasted_s = instance.counters(around), time.monotonic() - began
    limit_s = SHARED_LIMIT * lasted_s * len(around.server)
    others_s, who = others(before, after, limit_s)
    shared = others_s is not None and others_s > limit_s
    if shared and not who:
        who = strangers.name(instance, around)
    steal_s = _difference(after.steal_s, before.steal_s)
    memory = instance.memory() if place.last else Memory()
    observed = Observed(
        server_cpu_s=_difference(after.cpu_s, before.cpu_s),
        server_memory_mib=memory.used_mib,
        memory_peak_mib=memory.peak_mib,
        throttled_s=_difference(after.throttled_s, before.throttled_s),
        listen_drops=_difference(after.listen_drops, before.listen_drops),
        steal_s=steal_s,
        port_use=instance.port_use() if place.last else None,
        others_s=None if others_s is None else others_s * min(1.0, result.elapsed_s / lasted_s),
        others=who if shared else "",
        shared=shared,
        stolen=is_much_steal(steal_s, lasted_s * len(around.measured), STEAL_LIMIT),
        database_cpu_s=_difference(after.database_s, before.database_s),
        database_core_s=_ran_s(before.database_core, after.database_core, result.elapsed_s / lasted_s),
    )
    return SliceRow(
        place.block,
        place.round_number,
        place.position,
        cell,
        result,
        observed,
        connections=cell.level.connections if connections is None else connections,
        rate_per_s=arrivals.rate_per_s if arrivals else None,
    )


def others(before: Counters, after: Counters, limit_s: float) -> tuple[float | None, str]:
    """Seconds for which anybody but the server had the server's cores, and which server of the run had most.

    What ran there less what the server ran. Where the kernel tells the first in ticks only, the CPU time of
    the other servers, which is exact, is the better part of it.

    Returns:
        None where it is not known; no name where no server of the run had over `limit_s` by itself.
    """
    gained = {
        subject: used_s - before.neighbours_s[subject]
        for subject, used_s in after.neighbours_s.items()
        if subject in before.neighbours_s
    }
    known = [sum(gained.values())] if gained else []
    used_s = _difference(after.cpu_s, before.cpu_s)
    if before.core is not None and after.core is not None and used_s is not None:
        off_s = max(before.core.off_s, after.core.off_s)
        children_s = after.children_s - before.children_s
        known.append(after.core.run_s - before.core.run_s - used_s - children_s - off_s)
    if not known:
        return None, ""
    first = max(gained, key=lambda subject: gained[subject], default="")
    return max(0.0, *known), first if first and gained[first] > limit_s else ""


def _ran_s(before: CoreTime | None, after: CoreTime | None, part: float) -> float | None:
    """How long tasks ran on cores during the slice, which is that part of the time between two looks."""
    if before is None or after is None:
        return None
    return (after.run_s - before.run_s) * min(1.0, part)


def _difference(after: Number | None, before: Number | None) -> Number | None:
    """What a counter gained, or None where it could not be read."""
    return None if after is None or before is None else after - before
