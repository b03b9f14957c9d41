"""How a run ended, and the exit status that says so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        text: empty, or why it ended early.
    """

    status: int
    folder: Path
    text: str = ""


def exit_status(folder: Path) -> int:
    """The status that a finished run's summary calls for.

    1 where a server failed, a Locust worker was lost, or no cell of a subject that was tried is valid.
    """
    summary = json.loads((folder / "summary.json").read_text())
    if any(reason.startswith("workers:") for cell in summary["cells"] for reason in cell["reasons"]):
        return EXIT_FAILED
    statuses: dict[str, set[str]] = {}
    for cell in summary["cells"]:
        statuses.setdefault(cell["subject"], set()).add(cell["status"])
    for found in statuses.values():
        if "failed" in found or ("invalid" in found and "ok" not in found):
            return EXIT_FAILED
    return EXIT_DONE
