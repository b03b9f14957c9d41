"""Makes `summary.json` of a run, which its page and its tables are made from; needs no chart library."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.claims.check import check
from analysis.claims.file import Known, load_claims
from analysis.figures.precision import find
from analysis.figures.summary import summarize
from analysis.figures.summary_file import as_json
from analysis.reading.run import load_run
from gatebench.registry.registry import open_registry
from gatebench.results.bundle import FOLDER as SOURCES
from gatebench.results.bundle import claims_of
from gatebench.results.record import record_error

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from analysis.figures.results import ClaimResult, Summary
    from analysis.reading.run import Run
    from gatebench.words.precision import Found


@dataclass(frozen=True, slots=True)
class Derived:
    """What was derived from a run's raw data.

    Attributes:
        claims: what was held against it.
        found: how precise it is; None where no precision was asked for.
        content: of `summary.json`.
    """

    run: Run
    summary: Summary
    claims: tuple[ClaimResult, ...]
    found: Found | None
    content: dict[str, Any]


def write_summary(folder: Path, claims_files: Sequence[Path] = ()) -> Derived:
    """Makes `summary.json` of the run in `folder`, which may still be going on.

    Args:
        folder: of the run.
        claims_files: claims to check beside the project's own and those that the run was started with.

    Raises:
        GatebenchError: the raw data are missing or damaged, a claims file cannot be used, or the folder
            cannot be written to.
    """
    run = load_run(folder)
    summary = summarize(run)
    known = Known.of_run(run.meta) | Known.of_registry(open_registry()) if claims_files else None
    claims = check(load_claims(claims_files, known, claims_of(folder / SOURCES)), run.meta, summary)
    found = None if run.precision is None else find(summary, run.precision)
    content = as_json(summary, claims, found)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(folder, "summary.json", f"{text}\n".encode(errors="replace"))
    return Derived(run, summary, claims, found, content)


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Writes beside the file and renames over it, which is atomic on one file system.

    Raises:
        GatebenchError: the folder cannot be written to.
    """
    unfinished = folder / f".{name}.{os.getpid()}.tmp"
    try:
        folder.mkdir(exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(folder / name)
    except OSError as error:
        raise record_error(folder, error) from error
    finally:
        with suppress(OSError):  # what is wrong with the folder was told already
            unfinished.unlink()
