"""Errors for the person who reads them, and how a command ends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class GatebenchError(Exception):
    """An error with a text for the person who runs the lab; shown without a traceback."""


class ConfigurationError(GatebenchError):
    """Bad usage or configuration, found before anything was started (exit status 2).

    Carries every problem that was found, not only the first.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class ServerFailure(GatebenchError):  # noqa: N818 - it reports an event of a run, not a fault of the lab
    """One server could not be started, failed its contract or died; the run goes on without it.

    Attributes:
        code: a code of METHOD.md (`contract`, `died`), `start`, or `not-as-asked`.
        text: what happened, with the last lines of the server's log where there are any.
    """

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f"{code}: {text}")


EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        text: empty, or why it ended early.
        reported: whether its report covers all that was measured.
        report_failed: whether it has none although it was to have one, and nobody interrupted that.
    """

    status: int
    folder: Path
    text: str = ""
    reported: bool = False
    report_failed: bool = False


def exit_status(folder: Path, *, strict: bool = False) -> int:
    """The status that a finished run's summary calls for.

    1 where a server failed, a Locust worker was lost, or no cell has the figure that it is ranked by.

    Args:
        folder: of the run.
        strict: 1 also where any figure is withheld.
    """
    cells = json.loads((folder / "summary.json").read_text())["cells"]
    tried = [cell for cell in cells if cell["status"] not in {"unsupported", "unavailable"}]
    if any(cell["status"] == "failed" for cell in tried):
        return EXIT_FAILED
    if any(reason.startswith("workers:") for cell in tried for reason in cell["reasons"]):
        return EXIT_FAILED
    if tried and not any(cell["lead"]["status"] in {"ok", "limited"} for cell in tried):
        return EXIT_FAILED
    withheld = any(each["status"] == "withheld" for cell in tried for each in cell["figures"].values())
    return EXIT_FAILED if strict and withheld else EXIT_DONE
