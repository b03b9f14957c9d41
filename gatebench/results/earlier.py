"""What a run that goes on has measured already, and whether everything is still as it was then. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Subject, Workload
from gatebench.words.plan import Turn

MAY_DIFFER = frozenset(
    {
        "schema",
        "run",
        "started",
        "command",
        "runner_reason",
        "notices",
        "plan.precision",  # a run may go on to a finer one
        "plan.levels",  # the rounds follow from the time that is left; all else is in the workloads' hashes
        "machine.load_average_1m",
        # The kept workloads lie elsewhere in it; their content and the engine's are in the hashes.
        *("load_image.name", "load_image.id", "load_image.size_mib"),
    }
)
"""Keys of `run.json` that say nothing of what was measured, or that the run keeps from its beginning."""
LONGEST = 60
"""A value is told with so many characters."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was measured before.

    Attributes:
        folder: the run's.
        description: its `run.json`.
        turns: the blocks that it lacks, at least one.
        rounds: level ID → the rounds that it got in the last whole block.
        asked_interfaces: whether the servers were asked what they hand the application.
    """

    folder: Path
    description: Mapping[str, Any]
    turns: tuple[Turn, ...]
    rounds: Mapping[str, int]
    asked_interfaces: bool

    def workloads(self, workloads: Sequence[Workload]) -> tuple[Workload, ...]:
        """The workloads with the rates that the run found for its ladders at its beginning."""
        rates = {
            (level["workload"], level["level"]): level.get("rate_per_s")
            for level in self.description["plan"]["levels"]
        }
        return tuple(
            replace(
                workload,
                levels=tuple(
                    replace(level, rate_per_s=rates[workload.name, level.id]) for level in workload.levels
                ),
            )
            if workload.reference
            else workload
            for workload in workloads
        )

    def twin(self, subjects: Sequence[Subject]) -> Subject | None:
        """The subject that the run measures twice; None where it has none, or where that is missing now."""
        names = {subject["twin_of"] for subject in self.description["subjects"] if subject.get("twin_of")}
        return next((replace(subject, again=True) for subject in subjects if subject.id in names), None)

    def check(self, description: Mapping[str, Any]) -> None:
        """Holds what the rest of the run would be measured with against what its beginning was.

        Args:
            description: as `run.json` would say it now.

        Raises:
            ConfigurationError: with everything that differs.
        """
        then = {key: self.description.get(key) for key in description}
        found = list(differences(then, description))
        if found:
            raise ConfigurationError(
                f"{self.folder}: cannot be resumed, because not everything is as it was at its beginning; "
                f"`gatebench reproduce {self.folder}` measures it again. What differs:\n  "
                + "\n  ".join(found)
            )


def differences(then: Any, now: Any, key: str = "") -> Iterator[str]:
    """What differs between two descriptions of a run, but for what may: `versions.locust: was 2.1, is 2.2`.

    Items of lists are told apart by their `id` or `name`, where they have one.
    """
    if key in MAY_DIFFER or then == now:
        return
    if isinstance(then, list) and isinstance(now, list):
        then, now = _by_name(then), _by_name(now)
    if isinstance(then, dict) and isinstance(now, dict):
        for name in {**then, **now}:
            yield from differences(then.get(name), now.get(name), f"{key}.{name}" if key else name)
        return
    yield f"{key}: was {_told(then)}, is {_told(now)}"


def _by_name(items: list[Any]) -> dict[str, Any]:
    named = [item.get("id") or item.get("name") if isinstance(item, dict) else None for item in items]
    return {str(name or number): item for number, (name, item) in enumerate(zip(named, items, strict=True))}


def _told(value: Any) -> str:
    if value is None or value == "":
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
