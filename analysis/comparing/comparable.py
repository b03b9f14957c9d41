"""Why a cell of one run may not be held against the same cell of another. Pure.

Two kinds of reasons. A cell is *refused* where the two runs asked different things: another application or
workload, another load, other cores or processes. Then neither its figures nor its place among others can be
compared.

It has *no verdict* where something between server and figure changed that all servers of a run share: the
instrument (the load engine and the code that plans, starts and reads), or the machine. The ratio is shown,
but whose it is nobody can tell.
What two servers share cancels when they are divided by each other within each run, so the order of such runs
is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analysis.meta import LevelPlan, RunMeta, SubjectMeta
    from analysis.results import CellResult

IDENTIFIES_A_MACHINE = ("system", "architecture", "cpu", "cores")
_HOW_IT_DIFFERS = "is not the same in both runs, or a run does not record what it was (hashes in run.json)"
_SAME_RATE = 0.01
"""A ladder's rates follow from what a run measured; within one hundredth they are the same load."""


def run_refusals(a: RunMeta, b: RunMeta) -> tuple[str, ...]:
    """Why no cell of the two runs can be compared; empty where some may."""
    found = []
    if a.server_cores != b.server_cores:
        found.append(f"cores: a server had {a.server_cores} in A and {b.server_cores} in B")
    if a.workers != b.workers:
        found.append(f"workers: worker processes of a server: {a.workers} in A and {b.workers} in B")
    if a.threads != b.threads:
        found.append(f"threads: servers that take a number of threads had {a.threads} in A, {b.threads} in B")
    return tuple(found)


def run_doubts(a: RunMeta, b: RunMeta) -> tuple[str, ...]:
    """Why no cell of the two runs has a verdict although ratios are shown; empty where they may."""
    found = []
    if _instrument_differs(a, b):
        found.append(
            "instrument: B was measured with other code than A (or a run does not record with which), so a "
            "difference may be the instrument's; measure both with one version of Gatebench"
        )
    engines = len(a.cores["engine"]), len(b.cores["engine"])
    if engines[0] != engines[1]:
        found.append(f"engine: processes of the load engine: {engines[0]} in A and {engines[1]} in B")
    machine = [
        f"{name} {a.machine.get(name)} and {b.machine.get(name)}"
        for name in IDENTIFIES_A_MACHINE
        if a.machine.get(name) != b.machine.get(name)
    ]
    if machine:
        found.append(f"machine: the runs are of two machines ({'; '.join(machine)})")
    return tuple(found)


def cell_refusals(
    a: RunMeta, b: RunMeta, plans: tuple[LevelPlan, LevelPlan], subjects: tuple[SubjectMeta, SubjectMeta]
) -> tuple[str, ...]:
    """Why one cell cannot be compared, whatever was measured of it.

    Args:
        a: the one run.
        b: the other.
        plans: of the cell's level in each.
        subjects: the cell's in each.
    """
    found = []
    application, workload = subjects[0].app, plans[0].workload
    if _hash_differs(a, b, f"apps/{application}"):
        found.append(f"application: {application} {_HOW_IT_DIFFERS}")
    if subjects[0].interface != subjects[1].interface:
        found.append(f"application: {subjects[0].interface} in A and {subjects[1].interface} in B")
    if _hash_differs(a, b, f"workloads/{workload}"):
        found.append(f"workload: {workload} {_HOW_IT_DIFFERS}")
    if (set_a := a.workload(workload).options) != (set_b := b.workload(workload).options):
        found.append(f"options of the Locust file: {_set(set_a)} in A and {_set(set_b)} in B")
    if plans[0].model == "idle" and a.counts_anonymous != b.counts_anonymous:
        found.append("memory: PSS in the one run, anonymous memory in the other")
    if _load(plans[0]) != _load(plans[1]) or _rates_differ(*plans):
        found.append(f"load: {plans[0].load} in A and {plans[1].load} in B")
    return tuple(found)


def status_refusals(a: CellResult, b: CellResult) -> tuple[str, ...]:
    """Why a cell has no figure to compare: it must be valid in both runs."""
    cells = [("A", a), ("B", b)]
    return tuple(
        f"{cell.status}: in {run}{f' ({cell.code})' if cell.code not in {'', cell.status} else ''}"
        for run, cell in cells
        if cell.status != "ok"
    )


def _instrument_differs(a: RunMeta, b: RunMeta) -> bool:
    """Whether other code measured B. Early runs know their load engine's hash alone."""
    recorded = "instrument" in a.hashes or "instrument" in b.hashes
    return _hash_differs(a, b, "instrument" if recorded else "engine")


def _hash_differs(a: RunMeta, b: RunMeta, name: str) -> bool:
    """Whether contents differ, or whether a run does not say what it measured."""
    return name not in a.hashes or a.hashes[name] != b.hashes.get(name)


def _load(plan: LevelPlan) -> tuple[object, ...]:
    return plan.model, plan.connections, plan.window, plan.objective, plan.capacity_share


def _rates_differ(a: LevelPlan, b: LevelPlan) -> bool:
    if a.rate_per_s is None or b.rate_per_s is None:
        return a.rate_per_s != b.rate_per_s
    return abs(a.rate_per_s / b.rate_per_s - 1) > _SAME_RATE


def _set(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items()) or "none"
