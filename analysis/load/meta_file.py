"""Reads `run.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from analysis.load.meta import (
    NULL_RESPONDER,
    EngineMeta,
    ImageMeta,
    LevelPlan,
    LimitsMeta,
    RunMeta,
    SubjectMeta,
    WorkloadMeta,
)
from gatebench.words.errors import GatebenchError
from gatebench.words.model import takes_workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import UnionType


def image(fields: Fields, key: str) -> ImageMeta | None:
    """The image under a key; None where there is none."""
    if not fields.has(key):
        return None
    inner = fields.inner(key)
    return ImageMeta(
        id=_text(inner, "id"),
        name=_text(inner, "name"),
        base=_text(inner, "base"),
        base_id=_text(inner, "base_id"),
        size_mib=inner.number("size_mib") if inner.has("size_mib") else None,
        python=_text(inner, "python"),
        libc=_text(inner, "libc"),
    )


def engine(fields: Fields) -> EngineMeta | None:
    """The container engine of a run; None where its servers were processes."""
    if not fields.has("engine"):
        return None
    inner = fields.inner("engine")
    return EngineMeta(
        name=_text(inner, "name"),
        version=_text(inner, "version"),
        api=_text(inner, "api"),
        system=_text(inner, "system"),
        cgroup=_text(inner, "cgroup"),
        storage=_text(inner, "storage"),
        compose=_text(inner, "compose"),
        remote=inner.get("remote", bool) if inner.has("remote") else False,
    )


def limits(fields: Fields) -> LimitsMeta | None:
    """The limits of each server's container; None where its servers were processes."""
    if not fields.has("limits"):
        return None
    inner = fields.inner("limits")
    return LimitsMeta(
        memory_mib=inner.number("memory_mib") if inner.has("memory_mib") else None,
        pids=inner.get("pids", int) if inner.has("pids") else None,
    )


def _text(fields: Fields, key: str) -> str:
    return fields.get(key, str) if fields.has(key) else ""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object of a file.

    Attributes:
        file: only named in errors.
        where: path of the object in the file, such as `plan.levels[0].`; empty for the whole.
    """

    file: Path
    where: str
    data: Mapping[str, Any]

    def get(self, key: str, kind: type[T] | UnionType) -> T:
        """The value of a key.

        Raises:
            GatebenchError: it is missing or of another type; as does every other method.
        """
        name = f"{self.where}{key}"
        if key not in self.data:
            raise GatebenchError(f"{self.file}: `{name}` is missing; the file is not what a run writes")
        value = self.data[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind in {int, int | float}):
            raise GatebenchError(f"{self.file}: `{name}` has the wrong type {type(value).__name__}")
        return value

    def number(self, key: str) -> float:
        """An integer or a real number."""
        value: float = self.get(key, int | float)
        return float(value)

    def optional_text(self, key: str) -> str | None:
        """A text or null."""
        value: str | None = self.get(key, str | None)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list, its items as texts."""
        return tuple(str(item) for item in self.get(key, list))

    def text_map(self, key: str) -> dict[str, str]:
        """An object, its values as texts."""
        return {str(name): str(value) for name, value in self.get(key, dict).items()}

    def inner(self, key: str) -> Fields:
        """An object within this one."""
        return Fields(self.file, f"{self.where}{key}.", self.get(key, dict))

    def items(self, key: str) -> list[Fields]:
        """A list of objects."""
        entries: list[Any] = self.get(key, list)
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise GatebenchError(f"{self.file}: `{self.where}{key}[{index}]` is not an object")
        return [
            Fields(self.file, f"{self.where}{key}[{index}].", entry) for index, entry in enumerate(entries)
        ]

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.data.get(key) is not None


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
        image=image(fields, "image"),
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
        container_engine=engine(fields),
        limits=limits(fields),
        load_image=image(fields, "load_image"),
    )
