"""Makes the folder of a run that never happened: realistic raw results with a truth that the tests know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import ERROR_KINDS

CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Truth:
    """One subject and what it really does.

    Attributes:
        rates: workload → true requests/s in a quiet slice; a workload that is missing here is not supported.
        cpu_share: workload → share of its core that the server uses; 0.99 where not named.
        errors: workload → kind of error → how many a slice.
        busy_share: busy share of the engine at this subject's slices.
        answers_per_closure: the server closes a connection after that many answers; 0 for never.
        listen_drops: connection attempts that the kernel drops in each slice.
        unavailable: why it could not be installed; empty where it could.
    """

    id: str
    server: str
    variant: str
    interface: str
    rates: Mapping[str, float]
    cpu_share: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    busy_share: float = 0.4
    answers_per_closure: int = 0
    listen_drops: int = 0
    unavailable: str = ""
    measures_cpu: bool = True
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """One workload at 64 connections."""

    name: str
    transport: str
    needs: tuple[str, ...]
    slice_s: float = 0.1
    saturates: bool = True
    service_s: float = 0.0
    path: str = "/plaintext"


LOADS: tuple[Load, ...] = (
    Load("keep-alive", "keep-alive", ("keep-alive",)),
    Load("close", "close", ("close",)),
    Load("websocket-echo", "websocket", ("websocket",), path="/ws/echo"),
    Load("wait", "close", ("close",), slice_s=0.4, saturates=False, service_s=0.01, path="/wait/10"),
)


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


@dataclass(frozen=True, slots=True)
class Plan:
    """How the synthetic run is measured.

    Attributes:
        drift: standard deviation of the machine's speed from one round to the next, as a random walk.
        slice_noise: standard deviation of one slice.
        block_noise: standard deviation of a server's speed from one start to the next.
    """

    blocks: int = 5
    rounds: int = 20
    seed: int = 7
    drift: float = 0.01
    slice_noise: float = 0.04
    block_noise: float = 0.012


def make_run(
    folder: Path,
    plan: Plan | None = None,
    subjects: Sequence[Truth] = SUBJECTS,
    loads: Sequence[Load] = LOADS,
    failures: Sequence[Mapping[str, Any]] = (),
    *,
    finished: bool = True,
) -> Path:
    """Writes a whole raw run into `folder` and returns it.

    Args:
        failures: events of the kind `failed`; the subject has no slices in that block and workload.
        finished: whether the run came to its end; a run that did not has no `finished` event.
    """
    plan = plan or Plan()
    random = np.random.default_rng(plan.seed)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run_json(plan, subjects, loads), indent=1), encoding="utf-8")
    events: list[dict[str, Any]] = []
    for name in ("slices.parquet", "histograms.parquet"):
        (folder / name).mkdir()
    for block in range(plan.blocks):
        events.append({"kind": "block-started", "block": block})
        if block == 0:
            events += [_argv(index, truth) for index, truth in enumerate(subjects) if not truth.unavailable]
        events += [{"kind": "failed", **failure} for failure in failures if failure["block"] == block]
        slices, histograms = _block(random, plan, block, subjects=subjects, loads=loads, failures=failures)
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
    return {
        "schema": 1,
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
            "levels": [
                {
                    "workload": load.name,
                    "level": f"c{CONNECTIONS}",
                    "connections": CONNECTIONS,
                    "rounds": plan.rounds,
                    "slice_s": load.slice_s,
                    "warmup_s": 0.3,
                }
                for load in loads
            ],
        },
        "cores": {"server": [3], "engine": [2], "lab": [0, 1]},
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
        "subjects": [_subject_json(truth, loads) for truth in subjects],
        "workloads": [_workload_json(load) for load in loads],
    }


def _subject_json(truth: Truth, loads: Sequence[Load]) -> dict[str, Any]:
    supports = {need for load in loads if load.name in truth.rates for need in load.needs}
    return {
        "id": truth.id,
        "server": truth.server,
        "variant": truth.variant,
        "app": "plain",
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


def _workload_json(load: Load) -> dict[str, Any]:
    return {
        "name": load.name,
        "description": f"GET {load.path} over {load.transport}",
        "transport": load.transport,
        "request": {"method": "GET", "path": load.path},
        "needs": list(load.needs),
        "saturates": load.saturates,
        "service_s": load.service_s,
        "levels": [f"c{CONNECTIONS}"],
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


def _block(
    random: np.random.Generator,
    plan: Plan,
    block: int,
    *,
    subjects: Sequence[Truth],
    loads: Sequence[Load],
    failures: Sequence[Mapping[str, Any]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    machine = random.normal(0, 0.05) + np.cumsum(random.normal(0, plan.drift, plan.rounds))
    slices: list[dict[str, Any]] = []
    histograms: list[pd.DataFrame] = []
    for load in loads:
        for truth in subjects:
            if load.name not in truth.rates or truth.unavailable:
                continue
            if any(_hits(failure, block, truth.id, load.name) for failure in failures):
                continue
            noise = random.normal(0, plan.block_noise) + random.normal(0, plan.slice_noise, plan.rounds)
            rates = truth.rates[load.name] * np.exp(machine + noise)
            rows = [_slice(block, number, truth, load, rate) for number, rate in enumerate(rates)]
            slices += rows
            histograms.append(_histogram(random, block, truth, load, rows))
    shuffled = random.permutation(len(slices))
    parts = pd.concat(histograms, ignore_index=True) if histograms else pd.DataFrame()
    return pd.DataFrame([slices[index] for index in shuffled]), parts


def _hits(failure: Mapping[str, Any], block: int, subject: str, workload: str) -> bool:
    return (
        failure["block"] == block
        and failure["subject"] == subject
        and failure["workload"] in {None, workload}
    )


def _slice(block: int, number: int, truth: Truth, load: Load, rate: float) -> dict[str, Any]:
    completed = round(rate * load.slice_s)
    drained = min(CONNECTIONS, completed)
    elapsed = load.slice_s + drained / rate
    answers = completed + drained
    closed = answers // truth.answers_per_closure if truth.answers_per_closure else 0
    errors = truth.errors.get(load.name, {})
    return {
        "block": block,
        "round": number,
        "position": 0,
        "subject": truth.id,
        "workload": load.name,
        "level": f"c{CONNECTIONS}",
        "started_unix_ns": 1_795_335_300_000_000_000 + (block * 1_000 + number) * 1_000_000,
        "window_s": load.slice_s,
        "elapsed_s": elapsed,
        "completed": completed,
        "drained": drained,
        "counted": completed,
        "counted_s": load.slice_s,
        "opened": answers if load.transport == "close" else closed,
        "closed_by_server": 0 if load.transport == "close" else closed,
        **{f"errors_{kind}": errors.get(kind, 0) for kind in ERROR_KINDS},
        "latency_count": completed,
        "latency_sum_us": round(completed * CONNECTIONS / rate * 1e6),
        "engine_busy_share": truth.busy_share,
        "bytes_received": answers * 140,
        "bytes_sent": answers * 60,
        "server_cpu_s": truth.cpu_share.get(load.name, 0.99) * elapsed if truth.measures_cpu else None,
        "server_memory_mib": 31.4 if number == 0 and truth.measures_cpu else None,
        "listen_drops": truth.listen_drops,
    }


def _histogram(
    random: np.random.Generator, block: int, truth: Truth, load: Load, rows: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Gamma latencies around what 64 connections at that rate must take (Little's law)."""
    count = sum(int(row["latency_count"]) for row in rows)
    mean_us = CONNECTIONS / truth.rates[load.name] * 1e6
    latencies = np.rint(random.gamma(12.0, mean_us / 12.0, count)).astype(np.int64)
    values, counts = np.unique(latencies, return_counts=True)
    frame = pd.DataFrame({"latency_us": values, "count": counts})
    return frame.assign(block=block, subject=truth.id, workload=load.name, level=f"c{CONNECTIONS}")
