"""Reads a run's `run.json` into its typed view, or says which key is missing or wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from analysis import containers
from analysis.fields import Fields
from analysis.meta import NULL_RESPONDER, LevelPlan, RunMeta, SubjectMeta, WorkloadMeta
from gatebench.words.errors import GatebenchError
from gatebench.words.model import takes_workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMAS = (1, 2)


def _level(fields: Fields, ceilings: Mapping[tuple[str, str], Mapping[str, Any]]) -> LevelPlan:
    key = fields.get("workload", str), fields.get("level", str)
    since_schema_2 = {}
    if "model" in fields.data:
        since_schema_2 = {
            "model": fields.get("model", str),
            "window": fields.get("window", int),
            "rate_per_s": fields.get("rate_per_s", int | float | None),
            "capacity_share": fields.get("capacity_share", int | float | None),
            "objective": fields.get("objective", str | None),
        }
    return LevelPlan(
        workload=fields.get("workload", str),
        level=fields.get("level", str),
        connections=fields.get("connections", int),
        rounds=fields.get("rounds", int),
        slice_s=fields.number("slice_s"),
        **ceilings.get(key, {}),
        **since_schema_2,
    )


def _ceilings(fields: Fields) -> dict[tuple[str, str], dict[str, Any]]:
    """(workload, level) → what the engine did in calibration (in its best slice), and against what."""
    if "ceilings" not in fields.data:
        return {}
    return {
        (each.get("workload", str), each.get("level", str)): {
            "ceiling_per_s": max(each.get("rates_per_s", list)),
            "ceiling_known": not (each.has("disturbed") and each.get("disturbed", bool)),
            "responder": each.get("responder", str) if each.has("responder") else NULL_RESPONDER,
        }
        for each in fields.items("ceilings")
    }


def _subject(fields: Fields) -> SubjectMeta:
    return SubjectMeta(
        id=fields.get("id", str),
        server=fields.get("server", str),
        variant=fields.get("variant", str),
        app=fields.get("app", str),
        interface=fields.get("interface", str),
        tuned=fields.get("class", str) == "tuned",
        why=fields.get("why", str),
        homepage=fields.get("homepage", str),
        supports=frozenset(fields.texts("supports")),
        command=fields.texts("command"),
        takes_workers=fields.data.get("takes_workers", takes_workers(fields.texts("command"))),
        version=fields.optional_text("version"),
        packages=fields.text_map("packages"),
        color=fields.optional_text("color"),
        ready=fields.get("status", str) == "ready",
        reason=fields.get("reason", str),
        image=containers.image(fields, "image"),
        twin_of=fields.data.get("twin_of") or "",
    )


def _workload(fields: Fields) -> WorkloadMeta:
    return WorkloadMeta(
        name=fields.get("name", str),
        description=fields.get("description", str),
        transport=fields.get("transport", str),
        request=fields.get("request", dict),
        needs=frozenset(fields.texts("needs")),
        saturates=fields.get("saturates", bool),
        service_s=fields.number("service_s"),
        steps=tuple(fields.data.get("steps", ())),
        arrivals=fields.data.get("arrivals", "poisson"),
        reference=fields.data.get("reference") or "",
        options=fields.text_map("options") if fields.has("options") else {},
        locustfile=fields.data.get("locustfile") or "",
    )


def parse(text: str, file: Path) -> RunMeta:
    """The typed content of a `run.json`; `file` is only named in errors.

    Raises:
        GatebenchError: not JSON, an unknown schema version, a missing key or a value of the wrong type.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise GatebenchError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(data, dict):
        raise GatebenchError(f"{file}: not a JSON object")
    if data.get("schema") not in SCHEMAS:
        known = " and ".join(map(str, SCHEMAS))
        raise GatebenchError(
            f"{file}: schema {data.get('schema')!r} is unknown; this Gatebench reads schema {known}. "
            "Use the Gatebench version that made the run"
        )
    fields = Fields(file, "", data)
    plan = fields.inner("plan")
    cores = fields.inner("cores")
    ceilings = _ceilings(fields)
    return RunMeta(
        schema=fields.get("schema", int),
        run=fields.get("run", str),
        started=fields.get("started", str),
        gatebench=fields.get("gatebench", str),
        command=fields.get("command", str),
        runner=fields.get("runner", str),
        runner_reason=fields.get("runner_reason", str),
        profile=fields.get("profile", str),
        seed=fields.get("seed", int),
        budget_s=fields.number("budget_s"),
        exclusive=fields.get("exclusive", bool),
        blocks=plan.get("blocks", int),
        levels=tuple(_level(level, ceilings) for level in plan.items("levels")),
        cores={role: tuple(cores.get(role, list)) for role in ("server", "engine", "lab")},
        workers=fields.get("workers", int),
        threads=fields.get("threads", int),
        machine=fields.get("machine", dict),
        versions=fields.text_map("versions"),
        hashes=fields.text_map("hashes"),
        notices=fields.texts("notices"),
        subjects=tuple(_subject(subject) for subject in fields.items("subjects")),
        workloads=tuple(_workload(workload) for workload in fields.items("workloads")),
        counts_anonymous=fields.has("memory") or fields.get("runner", str) == "docker",
        network=fields.get("network", str) if fields.has("network") else "",
        server_host=fields.get("server_host", str) if fields.has("server_host") else "",
        container_engine=containers.engine(fields),
        limits=containers.limits(fields),
        load_image=containers.image(fields, "load_image"),
    )
