"""The plan of an earlier run as a request, from `run.json` and from the folders that the run kept."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

from analysis.meta import RunMeta
from gatebench.errors import ConfigurationError
from gatebench.selection import (
    ContainerOptions,
    LoadOptions,
    RunnerChoice,
    RunRequest,
    choose_profile,
    find_references,
)
from gatebench.server_options import ServerOptions
from gatebench.sources import FOLDER, claims_of, kept_registry


def request_of(
    meta: RunMeta, folder: Path, choice: RunnerChoice, budget: str | None, out: Path
) -> RunRequest:
    """The plan of a run as a request, from the folders that it kept.

    Raises:
        ConfigurationError: a part of it was not kept, or is not what the run says it was.
    """
    registry = kept_registry(folder / FOLDER)
    names = sorted({subject.app for subject in meta.competitors})
    known = {subject.id: subject for subject in registry.subjects(names)}
    missing = [each.id for each in meta.competitors if each.id not in known]
    missing += [each.name for each in meta.workloads if each.name not in registry.workloads]
    if missing:
        raise ConfigurationError([f"{folder}: the run did not keep {name}" for name in missing])
    usual = choose_profile(meta.profile, budget)
    profile = replace(usual, blocks=meta.blocks, budget_s=meta.budget_s if budget is None else usual.budget_s)
    workloads = tuple(replace(registry.workloads[each.name], options=each.options) for each in meta.workloads)
    return RunRequest(
        subjects=tuple(known[each.id] for each in meta.competitors),
        workloads=workloads,
        profile=profile,
        seed=meta.seed,
        out=out,
        exclusive=meta.exclusive,
        command=shlex.join(["gatebench", *sys.argv[1:]]),
        runner_reason=choice.reason,
        references=find_references(registry, workloads, meta.workers),
        load=LoadOptions(engines=len(meta.cores["engine"])),
        servers=ServerOptions(meta.server_cores, meta.workers, meta.threads),
        claims=claims_of(folder / FOLDER),
    )


def containers_of(meta: RunMeta, choice: RunnerChoice) -> ContainerOptions:
    """How a run's containers were connected; nothing where the servers are to be processes."""
    if choice.engine is None or meta.network not in {"host", "bridge"}:
        return ContainerOptions()
    return ContainerOptions("bridge" if meta.network == "bridge" else "host")
