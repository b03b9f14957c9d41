"""What `run.json` says: the plan as requested, the environment as observed, what everything is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gatebench
from gatebench.contract.file import load_contract
from gatebench.load.backend import Backend
from gatebench.machine.facts import content_hash, instrument_hash, machine, versions
from gatebench.results import schema
from gatebench.results.observed import ExpectsMeta
from gatebench.results.record import utc_now
from gatebench.results.schema import (
    SCHEMA,
    CoresMeta,
    LoadMeta,
    PlanMeta,
    PrecisionMeta,
    RequestMeta,
    ResponderMeta,
    RunMeta,
    SubjectMeta,
    WorkloadMeta,
)
from gatebench.runners.base import Readiness
from gatebench.words.errors import GatebenchError
from gatebench.words.model import Request, Subject, Workload
from gatebench.words.options import Budget, RunRequest
from gatebench.words.paths import ROOT
from gatebench.words.plan import LevelPlan, Plan, every_level
from gatebench.words.precision import Precision


def describe_run(
    request: RunRequest,
    plan: Plan,
    *,
    run: str,
    backend: Backend,
    readiness: Mapping[str, Readiness],
    budget: Budget,
    notices: Sequence[str] = (),
) -> RunMeta:
    """`run.json` of the run with that ID; the backend replaces and adds keys."""
    cores = backend.cores
    hashes = {"engine": content_hash(ROOT / "loadtests" / "engine"), "instrument": instrument_hash()}
    asked = [*_applications(request.subjects).items(), *_workloads(request.workloads).items()]
    hashes |= {name: content_hash(*folders) for name, folders in asked}
    unpinned = sorted({s.installed.environment for s in request.subjects if not s.installed.pinned})
    unpinned += sorted({f"apps/{s.application.name}" for s in request.subjects if not s.application.pinned})
    facts = {"machine": machine(), **backend.describe()}
    return RunMeta(
        schema_=SCHEMA,
        run=run,
        started=utc_now(),
        gatebench=gatebench.__version__,
        command=request.command,
        runner=backend.name,
        runner_reason=request.runner_reason,
        profile=plan.profile.name,
        seed=plan.seed,
        budget_s=plan.profile.budget_s,
        exclusive=request.exclusive,
        plan=PlanMeta(
            blocks=plan.profile.blocks,
            levels=tuple(_level(each) for each in every_level(request.workloads, plan)),
            **precision_of(request.precision),
        ),
        cores=CoresMeta.model_validate(cores, from_attributes=True),
        responders=_responders(plan),
        load=LoadMeta(
            engines=len(cores.engine), workers=request.load.workers, elsewhere=bool(request.load.bind)
        ),
        memory="anonymous",
        workers=budget.workers,
        threads=budget.threads,
        versions=versions(),
        hashes=hashes,
        notices=(
            *notices,
            *(f"the requirements of {name} are not pinned and hashed" for name in unpinned),
        ),
        subjects=tuple(_subject(each, readiness[each.id]) for each in request.subjects),
        workloads=tuple(_workload(each) for each in request.workloads),
        **facts,
    )


def precision_of(precision: Precision | None) -> dict[str, Any]:
    """The key of the plan of a run that asks for a precision; no other has it."""
    if precision is None:
        return {}
    return {"precision": PrecisionMeta(**asdict(precision))}


class Sources:
    """What servers and users of Locust files are started from, block after block: it has to stay as it is.

    Args:
        subjects, workloads: of the run, which begins now.
    """

    def __init__(self, subjects: Sequence[Subject], workloads: Sequence[Workload]) -> None:
        servers = {f"servers/{each.server.name}": (each.server.folder,) for each in subjects}
        self._folders = servers | _applications(subjects) | _workloads(workloads)
        self._hashes = {name: content_hash(*folders) for name, folders in self._folders.items()}

    def check(self) -> None:
        """Called when something was started from them.

        Raises:
            GatebenchError: they are not as they were when the run began.
        """
        now = {name: content_hash(*folders) for name, folders in self._folders.items()}
        if changed := [name for name, found in self._hashes.items() if now[name] != found]:
            places = ", ".join(f"{name} ({self._folders[name][0]})" for name in changed)
            raise GatebenchError(
                f"{places}: changed while the run went on, and what is measured from here on would be of "
                "something else. Put back what the run's folder has in sources/, or begin a new run"
            )


def _applications(subjects: Sequence[Subject]) -> dict[str, tuple[Path, ...]]:
    return {f"apps/{each.application.name}": each.application.folders for each in subjects}


def _workloads(workloads: Sequence[Workload]) -> dict[str, tuple[Path, ...]]:
    return {f"workloads/{each.name}": (each.folder,) for each in workloads}


def _level(planned: LevelPlan) -> schema.LevelPlan:
    level = planned.level
    return schema.LevelPlan(
        workload=planned.workload.name,
        level=level.id,
        connections=level.connections,
        model=level.model,
        window=level.window,
        rate_per_s=level.rate_per_s,
        capacity_share=level.capacity_share,
        objective=level.objective.id if level.objective else None,
        rounds=planned.rounds,
        slice_s=planned.workload.slice_s,
        warmup_s=planned.workload.warmup_s,
    )


def _responders(plan: Plan) -> tuple[ResponderMeta, ...]:
    """The null responders among the plan's subjects, each with the levels that it takes part in."""
    subjects: dict[str, Subject] = {}
    levels: dict[str, list[str]] = {}
    for level in plan.levels:
        for cell in level.cells:
            if cell.subject.responder:
                subjects[cell.subject.id] = cell.subject
                levels.setdefault(cell.subject.id, []).append(level.id)
    return tuple(
        ResponderMeta(id=name, name=each.responder, levels=tuple(levels[name]), command=each.variant.command)
        for name, each in subjects.items()
    )


def _subject(subject: Subject, readiness: Readiness) -> SubjectMeta:
    variant = subject.variant
    return SubjectMeta(
        id=subject.id,
        twin_of=subject.original_id if subject.again else None,
        server=subject.server.name,
        variant=variant.name,
        app=subject.application.name,
        interface=variant.interface,
        class_="tuned" if variant.tuned else "default",
        why=variant.why,
        homepage=subject.server.homepage,
        supports=variant.supports,
        command=variant.command,
        takes_workers=variant.takes_workers,
        version=version_of(subject.server.name, readiness.packages),
        packages=readiness.packages,
        image=readiness.image,
        color=variant.color,
        routes=subject.application.routes,
        requires=subject.application.requires,
        status="unavailable" if readiness.reason else "ready",
        reason=readiness.reason,
        expects=ExpectsMeta(**asdict(variant.expects)),
    )


def version_of(server: str, packages: Mapping[str, str]) -> str | None:
    """The version of the package that a server folder is named after, however its name is spelt.

    `uvicorn_034` is named after uvicorn: the longest package name that begins the folder's.
    """
    words = server.lower().split("_")
    spelt = {name.lower().replace("-", "_"): version for name, version in packages.items()}
    names = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    return next((spelt[name] for name in names if name in spelt), None)


def _workload(workload: Workload) -> WorkloadMeta:
    request = workload.request
    return WorkloadMeta(
        name=workload.name,
        description=workload.description,
        transport=workload.transport,
        request=_request(request, workload),
        others=tuple(_request(each, workload) for each in workload.others),
        needs=workload.needs,
        saturates=workload.saturates,
        service_s=workload.service_s,
        arrivals=workload.arrivals,
        reference=workload.reference or None,
        steps=workload.steps,
        locustfile=workload.locustfile.name if workload.locustfile else None,
        levels=tuple(level.id for level in workload.levels),
        slice_s=workload.slice_s,
        options=workload.options,
        routes=workload.routes,
        requires=workload.requires,
    )


def _request(request: Request, workload: Workload) -> RequestMeta:
    of_sockets = workload.transport == "websocket"
    body = None if request.answer is None else request.answer.body
    return RequestMeta(
        method=request.method,
        path=request.path,
        body_bytes=len(request.body),
        answer_bytes=answer_bytes(workload, request),
        exchange=request.exchange if of_sockets else None,
        message_bytes=request.message_bytes if of_sockets else None,
        share=request.share,
        arguments=len(request.arguments),
        answer_sha256=None if body is None else hashlib.sha256(body).hexdigest(),
    )


def answer_bytes(workload: Workload, request: Request) -> int | None:
    """Bytes of the body that answers a workload's request; None for WebSockets and ordinary Locust files."""
    if workload.transport == "websocket" or workload.locustfile:
        return None
    if request.answer is not None:
        return None if request.answer.body is None else len(request.answer.body)
    asked = request.asked[0]
    return len(load_contract().expect(asked.method, asked.path, asked.body).body)
