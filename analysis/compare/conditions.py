"""What differs in the conditions of two runs, and what that forbids to compare."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from analysis.compare.result import Change
from analysis.words import names
from gatebench.results.schema import LevelPlan, SubjectMeta

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from analysis.figures.results import CellResult
    from gatebench.results.schema import LevelPlan, RunMeta, SubjectMeta
    from gatebench.results.surroundings import DatabaseMeta


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
    engines = len(a.cores.engine), len(b.cores.engine)
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
    """Why a cell has no leading figure to compare: it must be valid in both runs."""
    cells = [("A", a), ("B", b)]
    return tuple(
        f"{cell.lead_status}: in {run}{f' ({cell.code})' if cell.code not in {'', cell.lead_status} else ''}"
        for run, cell in cells
        if not cell.valid
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


_OF_THE_MOMENT = frozenset({"load_average_1m"})
"""Facts of the machine that differ between any two runs."""
_HASH_DIGITS = 12


def changes(a: RunMeta, b: RunMeta) -> tuple[Change, ...]:
    """Every condition that differs, those of the whole run first.

    Of the servers' commands, those with placeholders are compared: exact argument vectors differ in ports and
    folders from run to run.
    """
    found = _differing(_facts(a), _facts(b))
    # Contents that only one run has show in its levels and subjects.
    found += [each for each in _differing(_contents(a), _contents(b)) if each.a and each.b]
    found += _differing(_plan(a), _plan(b))
    return (*found, *_subjects(a, b))


def _differing(a: Mapping[str, str], b: Mapping[str, str]) -> list[Change]:
    keys = dict.fromkeys([*a, *b])
    return [Change(key, a.get(key, ""), b.get(key, "")) for key in keys if a.get(key, "") != b.get(key, "")]


def _facts(meta: RunMeta) -> dict[str, str]:
    engine = meta.engine
    image = meta.load_image
    return {
        **{
            f"machine, {name}": "" if value is None else str(value)
            for name, value in meta.machine.items()
            if name not in _OF_THE_MOMENT
        },
        "Gatebench": meta.gatebench,
        **{f"lab's {name}": version for name, version in meta.versions.items()},
        "runner": meta.runner,
        "network": meta.network,
        "container engine": engine.short if engine else "",
        "load generator's image": image.short_id if image else "",
        "profile": meta.profile,
        "budget": f"{meta.budget_s:g} s",
        "seed": str(meta.seed),
        "servers up": "one at a time" if meta.exclusive else "all at once",
        "blocks": str(meta.blocks),
        **{f"{role} cores": ", ".join(map(str, numbers)) for role, numbers in meta.cores},
        "worker processes": str(meta.workers),
        "threads": str(meta.threads),
        **_database(meta.database),
    }


def _database(database: DatabaseMeta | None) -> dict[str, str]:
    """What may differ of the database, where a run had one."""
    if database is None:
        return {}
    return {
        "database": f"PostgreSQL {database.version}",
        "database's cores": ", ".join(map(str, database.cores)),
        **{f"database, {name}": value for name, value in database.settings.items()},
    }


def _contents(meta: RunMeta) -> dict[str, str]:
    """Of the engine, the applications and the workloads."""
    return {_hashed(name): digest[:_HASH_DIGITS] for name, digest in sorted(meta.hashes.items())}


def _hashed(name: str) -> str:
    kind, _, rest = name.partition("/")
    words = {"apps": f"application {rest}", "workloads": f"workload {rest}", "engine": "load engine"}
    return f"{words.get(kind, name)}, content"


def _plan(meta: RunMeta) -> dict[str, str]:
    return {f"level {plan.id}": plan.load for plan in meta.levels}


_OF_SUBJECTS: Mapping[str, Callable[[SubjectMeta], str]] = {
    "version": lambda subject: subject.version or "",
    "command": lambda subject: " ".join(subject.command),
    "capabilities": lambda subject: ", ".join(sorted(subject.supports)),
    "class": lambda subject: "tuned" if subject.tuned else "default",
    "interface": lambda subject: subject.interface,
    "event loop": lambda subject: subject.loop,
    "Python": lambda subject: subject.image.python if subject.image else "",
    "image": lambda subject: subject.image.short_id if subject.image else "",
    "state": lambda subject: "ready" if subject.ready else f"unavailable: {subject.reason}",
}


def _subjects(a: RunMeta, b: RunMeta) -> list[Change]:
    """Of the subjects; those of which the same changed share a line."""
    of_a, of_b = ({subject.id: subject for subject in meta.competitors} for meta in (a, b))
    both = [subject for subject in of_a if subject in of_b]
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for subject in both:
        for what, value in _OF_SUBJECTS.items():
            found[what, value(of_a[subject]), value(of_b[subject])].append(subject)
        found["packages", *_packages(of_a[subject], of_b[subject])].append(subject)
    changed = [
        Change(f"{what} of {names(subjects)}", before, after)
        for (what, before, after), subjects in found.items()
        if before != after
    ]
    only_a = ", ".join(subject for subject in of_a if subject not in of_b)
    only_b = ", ".join(subject for subject in of_b if subject not in of_a)
    return [*changed, *([Change("subjects in one run only", only_a, only_b)] if only_a or only_b else [])]


def _packages(a: SubjectMeta, b: SubjectMeta) -> tuple[str, str]:
    """The packages of which the versions differ, the server's own aside, which has its own line."""
    versions = {subject.version for subject in (a, b)}
    differing = sorted(
        name
        for name in {*a.packages, *b.packages}
        if a.packages.get(name) != b.packages.get(name)
        and {a.packages.get(name), b.packages.get(name)} != versions
    )
    before, after = (
        ", ".join(f"{name} {subject.packages[name]}" for name in differing if name in subject.packages)
        for subject in (a, b)
    )
    return before, after
