"""Makes the folder of a run that never happened: realistic raw results with a truth that the tests know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gatebench.words.model import Level, Objective
from tests.support.synthetic_containers import image, run_keys
from tests.support.synthetic_model import CONNECTIONS, Load, Plan, Truth
from tests.support.synthetic_slices import make_block

LOADS: tuple[Load, ...] = (
    Load("keep-alive", "keep-alive", ("keep-alive",)),
    Load("close", "close", ("close",)),
    Load("websocket-echo", "websocket", ("websocket",), path="/ws/echo"),
    Load("wait", "close", ("close",), slice_s=0.4, saturates=False, service_s=0.01, path="/wait/10"),
)
STEADY = Load(
    "steady",
    "keep-alive",
    ("keep-alive",),
    slice_s=0.25,
    saturates=False,
    level=Level(CONNECTIONS, "open", rate_per_s=2_000),
)
SEARCH = Load(
    "search",
    "keep-alive",
    ("keep-alive",),
    saturates=False,
    level=Level(CONNECTIONS, "objective", objective=Objective(99, 0.01)),
)
IDLE = Load(
    "websocket-idle",
    "websocket",
    ("websocket",),
    slice_s=1.0,
    saturates=False,
    path="/ws/echo",
    level=Level(4_000, "idle"),
    exchange="idle",
    steps=(500, 1_000, 2_000, 3_000, 4_000),
)
BROADCAST = Load(
    "websocket-broadcast",
    "websocket",
    ("websocket",),
    path="/ws/broadcast",
    exchange="broadcast",
)
VISIT = Load("visit", "keep-alive", (), slice_s=1.0, saturates=False, level=Level(16, "locust"))


def _truth(subject: str, interface: str, *by_load: float, **more: Any) -> Truth:
    """One row of the table below: the rates in the order of `LOADS`, 0 for unsupported."""
    rates = dict(zip((load.name for load in LOADS), by_load, strict=True))
    server, _, variant = subject.partition("-")
    if subject.startswith("uwsgi"):
        server, variant = "uwsgi", subject.removeprefix("uwsgi-")
    supported = {name: rate for name, rate in rates.items() if rate}
    return Truth(subject, server, variant or "default", interface, supported, **more)


SUBJECTS: tuple[Truth, ...] = (
    _truth("gunicorn-sync", "wsgi", 0, 2_900, 0, 98),
    _truth("gunicorn-gthread", "wsgi", 5_400, 2_500, 0, 392),
    _truth("gunicorn-gevent", "wsgi", 6_900, 3_000, 0, 2_300),
    _truth("gunicorn-asgi", "asgi", 6_050, 2_650, 9_400, 2_900),
    _truth("gunicorn-uvicorn", "asgi", 11_900, 4_100, 17_600, 3_600),
    _truth("uwsgi-http-socket", "wsgi", 0, 6_900, 0, 98),
    _truth("uwsgi-http11", "wsgi", 11_500, 5_000, 0, 98, answers_per_closure=20),
    _truth("mod_wsgi", "wsgi", 9_800, 4_700, 0, 390, cpu_share={"keep-alive": 0.61}),
    _truth("uvicorn", "asgi", 12_000, 4_150, 17_800, 3_650),
    _truth("uvicorn-h11", "asgi", 3_900, 2_150, 10_500, 2_400),
    _truth("daphne", "asgi", 2_450, 1_300, 4_100, 1_450),
    _truth("hypercorn", "asgi", 2_500, 1_350, 6_000, 1_750),
    _truth("granian-wsgi", "wsgi", 17_800, 5_600, 0, 99),
    _truth("granian-asgi", "asgi", 20_600, 5_900, 26_500, 5_500),
    _truth("waitress", "wsgi", 5_500, 2_600, 0, 391),
)


def make_run(
    folder: Path,
    plan: Plan | None = None,
    subjects: Sequence[Truth] = SUBJECTS,
    loads: Sequence[Load] = LOADS,
    failures: Sequence[Mapping[str, Any]] = (),
    *,
    finished: bool = True,
    responder: Truth | None = None,
) -> Path:
    """Writes a whole raw run into `folder` and returns it.

    Args:
        responder: the null responder, measured in the rounds of the loads that it has rates for.
        failures: events of the kind `failed`; the subject has no slices in that block and workload.
        finished: whether the run came to its end; a run that did not has no `finished` event.
    """
    plan = plan or Plan()
    random = np.random.default_rng(plan.seed)
    folder.mkdir(parents=True)
    described = run_json(plan, subjects, loads)
    measured = tuple(subjects)
    if responder is not None:
        described["responders"] = [_responder_json(responder, loads)]
        measured += (responder,)
    (folder / "run.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    events: list[dict[str, Any]] = []
    for name in ("slices.parquet", "histograms.parquet"):
        (folder / name).mkdir()
    for block in range(plan.blocks):
        events.append({"kind": "block-started", "block": block})
        if block == 0:
            events += [
                {"kind": "observed", "subject": truth.id, **truth.observed}
                for truth in subjects
                if truth.observed
            ]
            events += [_argv(index, truth) for index, truth in enumerate(subjects) if not truth.unavailable]
        events += [{"kind": "failed", **failure} for failure in failures if failure["block"] == block]
        spared = [failure for failure in failures if failure["block"] == block]
        slices, histograms = make_block(random, plan, block, measured, loads, spared)
        for name, part in (("slices.parquet", slices), ("histograms.parquet", histograms)):
            if not part.empty:
                part.to_parquet(folder / name / f"part-{block:04}.parquet")
        wall = {"wall_s": 101.2, "load_s": 81.0, "started_s": 9.1}
        events.append({"kind": "block-finished", "block": block, **wall})
    if finished:
        ending = {"wall_s": 612.0, "setup_s": 20.1, "load_s": 480.2, "lab_memory_mib": 310.0, "text": ""}
        events.append({"kind": "finished", "outcome": "complete", **ending})
    lines = [json.dumps({"at": "2026-11-22T08:15:00Z", **event}) + "\n" for event in events]
    (folder / "events.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def run_json(plan: Plan, subjects: Sequence[Truth], loads: Sequence[Load]) -> dict[str, Any]:
    """The content of `run.json`."""
    described = {
        "schema": plan.schema,
        "run": "20261122T081500Z-ab12cd",
        "started": "2026-11-22T08:15:00Z",
        "gatebench": "0.1.0",
        "command": "gatebench run --profile standard",
        "runner": "process",
        "runner_reason": "no Docker engine answers",
        "profile": "standard",
        "seed": plan.seed,
        "budget_s": 600.0,
        "exclusive": False,
        "plan": {
            "blocks": plan.blocks,
            "levels": [_level_json(plan, load) for load in loads],
        },
        "cores": {"server": [3], "engine": [2], "lab": [0, 1]},
        "ceilings": [
            {"workload": load.name, "level": load.level.id, "rates_per_s": [load.ceiling_per_s]}
            | ({"responder": load.responder} if load.responder else {})
            for load in loads
            if load.ceiling_per_s
        ],
        "memory": "anonymous",
        "workers": 1,
        "threads": 4,
        "machine": {
            "system": "Linux-6.1.0-synthetic",
            "cpu": "Intel Xeon Processor @ 2.60GHz",
            "cores": 4,
            "memory_mib": 24_000,
            "virtualization": "kvm",
            "python": "3.11.7",
        },
        "versions": {"locust": "2.47.0", "gatebench": "0.1.0"},
        "hashes": {"engine": "9f" * 32, "apps/plain": "3c" * 32},
        "notices": ["synthetic: this run was made by a random number generator"],
        "subjects": [_subject_json(plan, truth, loads) for truth in subjects],
        "workloads": [_workload_json(load) for load in loads],
    }
    return described | run_keys() if plan.containers else described


def _level_json(plan: Plan, load: Load) -> dict[str, Any]:
    level = load.level
    description = {
        "workload": load.name,
        "level": level.id,
        "connections": level.connections,
        "rounds": 1 if load.steps else plan.rounds,
        "slice_s": load.slice_s,
        "warmup_s": 0.3,
    }
    if plan.schema == 1:
        return description
    return description | {
        "model": level.model,
        "window": level.window,
        "rate_per_s": level.rate_per_s,
        "capacity_share": level.capacity_share,
        "objective": level.objective.id if level.objective else None,
    }


def _subject_json(plan: Plan, truth: Truth, loads: Sequence[Load]) -> dict[str, Any]:
    supports = {need for load in loads if load.name in truth.rates for need in load.needs}
    described = {
        "id": truth.id,
        "server": truth.server,
        "variant": truth.variant,
        "app": truth.app,
        "interface": truth.interface,
        "class": "default",
        "why": "",
        "homepage": f"https://{truth.server}.example",
        "supports": sorted(supports),
        "command": [truth.server, "--bind", "{host}:{port}", "{app}"],
        "version": "1.2.3",
        "packages": {truth.server: "1.2.3"},
        "color": truth.color,
        "status": "unavailable" if truth.unavailable else "ready",
        "reason": truth.unavailable,
    }
    if plan.containers:
        described["image"] = None if truth.unavailable else image(truth.server, truth.python)
    return described


def _responder_json(responder: Truth, loads: Sequence[Load]) -> dict[str, Any]:
    levels = [f"{load.name}/{load.level.id}" for load in loads if load.name in responder.rates]
    return {"id": responder.id, "name": responder.server, "levels": levels, "command": ["answer"]}


def _workload_json(load: Load) -> dict[str, Any]:
    return {
        "name": load.name,
        "description": f"GET {load.path} over {load.transport}",
        "transport": load.transport,
        "request": {
            "method": "GET",
            "path": load.path,
            "body_bytes": 0,
            "answer_bytes": None if load.transport == "websocket" else load.answer_bytes,
            "exchange": load.exchange,
        },
        "needs": list(load.needs),
        "saturates": load.saturates,
        "service_s": load.service_s,
        "arrivals": "poisson",
        "reference": None,
        "steps": list(load.steps),
        "locustfile": "locustfile.py" if load.level.model == "locust" else None,
        "levels": [load.level.id],
        "slice_s": load.slice_s,
    }


def _argv(index: int, truth: Truth) -> dict[str, Any]:
    port = 40_000 + index
    argv = [
        f"/environments/{truth.server}/bin/{truth.server}",
        "--bind",
        f"127.0.0.1:{port}",
        "apps.plain:app",
    ]
    return {"kind": "argv", "block": 0, "subject": truth.id, "argv": argv, "port": port}
