"""What changed in the conditions between two runs, from their `run.json`. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from analysis.comparing.result import Change
from analysis.wording import names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from analysis.meta import RunMeta, SubjectMeta

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
    engine = meta.container_engine
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
        **{f"{role} cores": ", ".join(map(str, numbers)) for role, numbers in meta.cores.items()},
        "worker processes": str(meta.workers),
        "threads": str(meta.threads),
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
