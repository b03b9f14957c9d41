"""Holds the names in a claims file against what there is: subjects, servers, workloads, levels. Pure.

A claim about something that does not exist would be undecided for ever.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.claims_file import ApplicationCostCondition, FigureCondition, RatioCondition, ServesCondition
from gatebench.registry.registry import matches
from gatebench.words.toml import listed, near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from analysis.claims_file import Chosen, Condition
    from analysis.meta import RunMeta
    from gatebench.registry.registry import Registry

Problem = tuple[str, str]
"""A key of a condition, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a claim may speak of.

    Attributes:
        subjects: ID → its interface.
        servers: name → the interfaces of its variants.
        applications: their names.
        levels: workload → the IDs of its levels.
    """

    subjects: Mapping[str, str]
    servers: Mapping[str, frozenset[str]]
    applications: frozenset[str]
    levels: Mapping[str, tuple[str, ...]]

    @classmethod
    def of_registry(cls, registry: Registry) -> Known:
        """What folders register, every server with every application."""
        subjects = registry.subjects(tuple(registry.applications))
        return cls(
            {subject.id: subject.variant.interface for subject in subjects},
            {
                name: frozenset(variant.interface for variant in server.variants)
                for name, server in registry.servers.items()
            },
            frozenset(registry.applications),
            {
                name: tuple(level.id for level in workload.levels)
                for name, workload in registry.workloads.items()
            },
        )

    @classmethod
    def of_run(cls, meta: RunMeta) -> Known:
        """What a run has, whatever has become of its folders."""
        servers: dict[str, set[str]] = defaultdict(set)
        levels: dict[str, list[str]] = {workload.name: [] for workload in meta.workloads}
        for subject in meta.competitors:
            servers[subject.server].add(subject.interface)
        for plan in meta.levels:
            levels[plan.workload].append(plan.level)
        return cls(
            {subject.id: subject.interface for subject in meta.competitors},
            {name: frozenset(interfaces) for name, interfaces in servers.items()},
            frozenset(subject.app for subject in meta.competitors),
            {name: tuple(ids) for name, ids in levels.items()},
        )

    def __or__(self, other: Known) -> Known:
        """What either knows."""
        servers = {*self.servers, *other.servers}
        workloads = {*self.levels, *other.levels}
        return Known(
            {**self.subjects, **other.subjects},
            {
                name: self.servers.get(name, frozenset()) | other.servers.get(name, frozenset())
                for name in servers
            },
            self.applications | other.applications,
            {
                name: tuple(dict.fromkeys((*self.levels.get(name, ()), *other.levels.get(name, ()))))
                for name in workloads
            },
        )

    def condition(self, condition: Condition) -> Iterator[Problem]:
        """Every key of a condition that names what does not exist, and what is to be told of it."""
        return _unknown_names(condition, self)

    def subject(self, name: str) -> str:
        """What is to be told of a name that is no subject's ID; empty where it is one."""
        return "" if name in self.subjects else _unknown_subject(name, self)


def _unknown_names(condition: Condition, known: Known) -> Iterator[Problem]:
    """Every name in a condition that nothing bears; names that are missing were reported when it was read."""
    if isinstance(condition, ServesCondition):
        yield from _servers(condition, known)
        return
    if isinstance(condition, RatioCondition):
        for key, name in (("left", condition.left), ("right", condition.right)):
            if name and name not in known.subjects:
                yield key, _unknown_subject(name, known)
    elif isinstance(condition, ApplicationCostCondition):
        for key, name in (("application", condition.application), ("bare", condition.bare)):
            if name and name not in known.applications:
                yield key, _unknown("application", name, known.applications)
    else:
        yield from _chosen(condition.chosen, known)
    if isinstance(condition, FigureCondition | RatioCondition):
        yield from _level(condition.workload, condition.level, known)
    elif isinstance(condition, ApplicationCostCondition):
        yield from _level(condition.workload, "", known)


def _unknown_subject(name: str, known: Known) -> str:
    """What is told of a name that is no subject's ID."""
    variants = sorted(matches(name, tuple(known.subjects), whole_servers=True))
    if variants:
        some = [each for each in variants if "+" not in each] or variants
        return f'"{name}" is no subject but has several: {listed(some)}; name one of them'
    return f'unknown subject "{name}"{near(name, known.subjects)}; `gatebench list` shows them'


def _unknown(kind: str, name: str, names: frozenset[str]) -> str:
    return f'unknown {kind} "{name}"{near(name, names)}; known: {listed(sorted(names))}'


def _servers(condition: ServesCondition, known: Known) -> Iterator[Problem]:
    for name in condition.servers:
        if name not in known.servers:
            yield "servers", _unknown("server", name, frozenset(known.servers))
        elif condition.interface not in known.servers[name]:
            has = listed(sorted(known.servers[name]))
            yield "servers", f"{name} has no variant for {condition.interface}; it has {has}"


def _chosen(chosen: Chosen, known: Known) -> Iterator[Problem]:
    ids = tuple(known.subjects)
    for pattern in chosen.subjects:
        found = matches(pattern, ids, whole_servers=True)
        if not found:
            yield "subjects", _unknown_subject(pattern, known)
        elif chosen.interface and chosen.interface not in {known.subjects[each] for each in found}:
            yield "subjects", f'"{pattern}" names no subject of interface = "{chosen.interface}"'


def _level(workload: str, level: str, known: Known) -> Iterator[Problem]:
    if not workload:
        return
    if workload not in known.levels:
        yield "workload", _unknown("workload", workload, frozenset(known.levels))
    elif level and level not in known.levels[workload]:
        levels = known.levels[workload]
        yield "level", f'{workload} has no level "{level}"{near(level, levels)}; it has {listed(levels)}'
