"""Takes one slice of a cell, and looks at the server and the machine before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from gatebench.load import LoadProcess
from gatebench.model import Cell
from gatebench.rows import Observed, SliceRow
from gatebench.runner import Instance, Memory
from loadtests.engine.schedule import Arrivals

Number = TypeVar("Number", int, float)


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
    cores: Sequence[int],
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
        cores: of server and engine, from which a hypervisor might steal.
        arrivals: when to send, in an open loop.
        connections: how many there are, where the level does not say.
    """
    load.prepare(cell.subject.id)
    before = instance.counters(cores)
    result = load.run_slice(cell.subject.id, cell.workload.slice_s, arrivals)
    after = instance.counters(cores)
    memory = instance.memory() if place.last else Memory()
    observed = Observed(
        server_cpu_s=_difference(after.cpu_s, before.cpu_s),
        server_memory_mib=memory.used_mib,
        memory_peak_mib=memory.peak_mib,
        throttled_s=_difference(after.throttled_s, before.throttled_s),
        listen_drops=_difference(after.listen_drops, before.listen_drops),
        steal_s=_difference(after.steal_s, before.steal_s),
        port_use=instance.port_use() if place.last else None,
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


def _difference(after: Number | None, before: Number | None) -> Number | None:
    """What a counter gained, or None where it could not be read."""
    return None if after is None or before is None else after - before
