"""What `run.json` says: the plan as requested, the environment as observed, what everything is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gatebench
from gatebench.cores import Cores
from gatebench.facts import content_hash, machine, versions
from gatebench.model import Subject, Workload
from gatebench.plan import LevelPlan, Plan, every_level
from gatebench.record import utc_now
from gatebench.runner import Budget, Readiness
from gatebench.selection import ROOT, RunRequest


def describe_run(
    request: RunRequest,
    plan: Plan,
    *,
    runner: str,
    readiness: Mapping[str, Readiness],
    budget: Budget,
    cores: Cores,
    notices: Sequence[str] = (),
) -> dict[str, Any]:
    """`run.json`, but for its schema and the run's ID."""
    hashes = {"engine": content_hash(ROOT / "loadtests" / "engine")}
    for subject in request.subjects:
        hashes[f"apps/{subject.application.name}"] = content_hash(subject.application.folder)
    for workload in request.workloads:
        hashes[f"workloads/{workload.name}"] = content_hash(workload.folder)
    unpinned = sorted({s.server.name for s in request.subjects if not s.server.pinned})
    return {
        "started": utc_now(),
        "gatebench": gatebench.__version__,
        "command": request.command,
        "runner": runner,
        "runner_reason": request.runner_reason,
        "profile": plan.profile.name,
        "seed": plan.seed,
        "budget_s": plan.profile.budget_s,
        "exclusive": request.exclusive,
        "plan": {
            "blocks": plan.profile.blocks,
            "levels": [_level_description(each) for each in every_level(request.workloads, plan)],
        },
        "cores": {
            "server": list(cores.server),
            "engine": list(cores.engine),
            "lab": list(cores.lab),
        },
        "workers": budget.workers,
        "threads": budget.threads,
        "machine": machine(),
        "versions": versions(),
        "hashes": hashes,
        "notices": [
            *notices,
            *(f"the requirements of {name} are not pinned and hashed" for name in unpinned),
        ],
        "subjects": [_subject_description(each, readiness[each.id]) for each in request.subjects],
        "workloads": [_workload_description(each) for each in request.workloads],
    }


def _level_description(level: LevelPlan) -> dict[str, Any]:
    return {
        "workload": level.workload.name,
        "level": level.level.id,
        "connections": level.level.connections,
        "rounds": level.rounds,
        "slice_s": level.workload.slice_s,
        "warmup_s": level.workload.warmup_s,
    }


def _subject_description(subject: Subject, readiness: Readiness) -> dict[str, Any]:
    variant = subject.variant
    return {
        "id": subject.id,
        "server": subject.server.name,
        "variant": variant.name,
        "app": subject.application.name,
        "interface": variant.interface,
        "class": "tuned" if variant.tuned else "default",
        "why": variant.why,
        "homepage": subject.server.homepage,
        "supports": sorted(variant.supports),
        "command": list(variant.command),
        "version": version_of(subject.server.name, readiness.packages),
        "packages": dict(readiness.packages),
        "color": variant.color,
        "status": "unavailable" if readiness.reason else "ready",
        "reason": readiness.reason,
    }


def version_of(server: str, packages: Mapping[str, str]) -> str | None:
    """The version of the package that a server folder is named after, however its name is spelt.

    `uvicorn_034` is named after uvicorn: the longest package name that begins the folder's.
    """
    words = server.lower().split("_")
    spelt = {name.lower().replace("-", "_"): version for name, version in packages.items()}
    names = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    return next((spelt[name] for name in names if name in spelt), None)


def _workload_description(workload: Workload) -> dict[str, Any]:
    request = workload.request
    return {
        "name": workload.name,
        "description": workload.description,
        "transport": workload.transport,
        "request": {
            "method": request.method,
            "path": request.path,
            "body_bytes": len(request.body),
            "message_bytes": request.message_bytes if workload.transport == "websocket" else None,
        },
        "needs": sorted(workload.needs),
        "saturates": workload.saturates,
        "service_s": workload.service_s,
        "levels": [level.id for level in workload.levels],
        "slice_s": workload.slice_s,
    }
