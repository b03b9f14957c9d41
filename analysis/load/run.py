"""Loads the raw results of one run: complete, still going, or cut off in the middle."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.load.meta import why_unsupported
from analysis.load.meta_file import parse
from analysis.load.tables import (
    CELL,
    EveryDetail,
    Histograms,
    histogram_types,
    open_histograms,
    parts_of,
    read_details,
    read_table,
)
from gatebench.words.errors import ConfigurationError, GatebenchError
from loadtests.engine.tally import FAILURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from analysis.load.meta import RunMeta


ERROR_KINDS = FAILURES

_TEXT, _INTEGER, _REAL = "str", "int64", "float64"
SLICE_COLUMNS: Mapping[str, str] = {
    "block": _INTEGER,
    "round": _INTEGER,
    "position": _INTEGER,
    "subject": _TEXT,
    "workload": _TEXT,
    "level": _TEXT,
    "started_unix_ns": _INTEGER,
    "window_s": _REAL,
    "elapsed_s": _REAL,
    "completed": _INTEGER,
    "drained": _INTEGER,
    "counted": _INTEGER,
    "counted_s": _REAL,
    "opened": _INTEGER,
    "closed_by_server": _INTEGER,
    **{f"errors_{kind}": _INTEGER for kind in ERROR_KINDS},
    "latency_count": _INTEGER,
    "latency_sum_us": _INTEGER,
    "engine_busy_share": _REAL,
    "bytes_received": _INTEGER,
    "bytes_sent": _INTEGER,
    "server_cpu_s": _REAL,
    "server_memory_mib": _REAL,
    "listen_drops": _REAL,
    "rate_per_s": _REAL,
    "offered": _INTEGER,
    "unsent": _INTEGER,
    "objective_met": _REAL,
    "connections": _INTEGER,
    "steal_s": _REAL,
    "port_use": _REAL,
    "no_port": _INTEGER,
    "timed_in_window": _INTEGER,
    "timed_in_window_us": _INTEGER,
    "held_s": _REAL,
    "workers_missing": _INTEGER,
    "throttled_s": _REAL,
    "server_memory_peak_mib": _REAL,
    "pause_variance": _REAL,
    "others_s": _REAL,
    "others": _TEXT,
    "shared": "bool",
}
SINCE_SCHEMA_2: Mapping[str, float | str] = {
    "rate_per_s": math.nan,
    "offered": 0,
    "unsent": 0,
    "objective_met": math.nan,
    "connections": 0,
    "steal_s": math.nan,
    "port_use": math.nan,
    "no_port": 0,
    "timed_in_window": 0,
    "timed_in_window_us": 0,
    "held_s": 0.0,
    "workers_missing": 0,
    "clock": "response",
}
"""What stands for the columns that runs of schema 1 do not have."""
OF_CONTAINERS: Mapping[str, float | str] = {"throttled_s": math.nan, "server_memory_peak_mib": math.nan}
"""What stands for the columns that runs have had since servers may be containers.

They are still of schema 2: who does not know these columns reads the others as before.
"""
OF_LOCUST_FILES: Mapping[str, float | str] = {"pause_variance": 0.0}
"""What stands for the columns that runs have had since a Locust file's users live through a block."""
OF_OTHERS: Mapping[str, float | str] = {"others_s": math.nan, "others": "", "shared": False}
"""What stands for the columns that runs have had since they know who else had the server's cores."""
_EVENT_KEYS = {
    "None": {"kind"},
    "block-finished": {"block"},
    "failed": {"block", "subject", "code", "text"},
    "argv": {"subject", "argv"},
    "resumed": {"at", "block", "notices"},
    "details": {"block", "subject", "workload", "level", "examples", "names", "uncounted"},
    "notice": {"block", "subject", "text"},
}
_SLICE_KEY = ["block", "round", "subject", "workload", "level"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A subject that failed in one block; without workload and level, before its first slice there."""

    block: int
    subject: str
    workload: str | None
    level: str | None
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """The raw results of one run.

    Attributes:
        events: every whole line of `events.jsonl`, in order.
        slices: one row a slice, the columns of `SLICE_COLUMNS`.
        histograms: counts per whole microsecond, read level by level.
        details: examples of failures, and what Locust files did by name.
    """

    folder: Path
    meta: RunMeta
    events: tuple[Mapping[str, Any], ...]
    slices: pd.DataFrame
    histograms: Histograms
    details: EveryDetail = field(default_factory=EveryDetail)

    def _of_kind(self, kind: str) -> list[Mapping[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    @property
    def finished_blocks(self) -> tuple[int, ...]:
        """The blocks that ran to their end, in order."""
        return tuple(int(event["block"]) for event in self._of_kind("block-finished"))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Every recorded failure, in order."""
        return tuple(
            Failure(
                block=int(event["block"]),
                subject=str(event["subject"]),
                workload=event.get("workload"),
                level=event.get("level"),
                code=str(event["code"]),
                text=str(event["text"]),
            )
            for event in self._of_kind("failed")
        )

    @property
    def argv(self) -> dict[str, tuple[str, ...]]:
        """Subject → the exact argument vector of its first start."""
        vectors: dict[str, tuple[str, ...]] = {}
        for event in self._of_kind("argv"):
            vectors.setdefault(str(event["subject"]), tuple(str(item) for item in event["argv"]))
        return vectors

    @property
    def ending(self) -> Mapping[str, Any] | None:
        """The last `finished` event; None while the run goes on, also anew, or where it was cut off."""
        return ending_of(self.events)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the run noticed on its way, in order: of each subject the first, and all about the machine."""
        first: dict[str, str] = {}
        for event in self._of_kind("notice"):
            first.setdefault(str(event["subject"] or event["text"]), str(event["text"]))
        return tuple(first.values())

    @property
    def resumptions(self) -> tuple[Mapping[str, Any], ...]:
        """The `resumed` events: where the run was ended early, and went on later."""
        return tuple(self._of_kind("resumed"))


def load_run(folder: Path) -> Run:
    """Loads the run in `folder`.

    A torn last line of `events.jsonl` is left out, as are temporary files; a run without any finished block
    may have no slices yet.

    Raises:
        GatebenchError: no such run, an unknown schema, or a missing or corrupt file; it names the file.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder}: is no results folder; name one, such as results/latest (compare, reproduce and the "
            "notebooks take bundles too)"
        )
    run_file = folder / "run.json"
    run_meta = parse(_read(run_file), run_file)
    events = read_events(folder / "events.jsonl")
    older = SINCE_SCHEMA_2 if run_meta.schema == 1 else {}
    missing = {**OF_CONTAINERS, **OF_LOCUST_FILES, **OF_OTHERS, **older}
    slices = read_table(folder / "slices.parquet", SLICE_COLUMNS, missing)
    files = _with_slices(folder)
    histograms, held = open_histograms(files, histogram_types(run_meta), missing)
    details = read_details(events, folder / "events.jsonl")
    run = Run(folder, run_meta, events, slices, histograms, details)
    _check_blocks(run)
    repeated = slices.loc[slices.duplicated(_SLICE_KEY), _SLICE_KEY]
    if not repeated.empty:
        first = repeated.iloc[0].to_dict()
        raise GatebenchError(
            f"{folder / 'slices.parquet'}: two slices of one cell in the same round: {first}"
        )
    _check_latencies(folder, slices, held)
    return run


def _with_slices(folder: Path) -> list[Path]:
    """The parts of the histograms, without a last one whose slices were not written any more.

    A run that was killed between the two files of a part leaves that behind.
    """
    written = {file.name for file in parts_of(folder / "slices.parquet")}
    files = parts_of(folder / "histograms.parquet")
    lost = [file for file in files if file.name not in written and file.name < max(written, default="")]
    if lost:
        raise GatebenchError(f"{lost[0]}: the slices of the same part are missing: raw data were removed")
    return [file for file in files if file.name in written]


def _check_blocks(run: Run) -> None:
    """Refuses a run in which a finished block has no slice, but for one in which every subject failed."""
    if not _has_cells(run.meta):
        return
    measured = set(run.slices["block"])
    failed = {failure.block for failure in run.failures}
    for block in run.finished_blocks:
        if block not in measured | failed:
            raise GatebenchError(
                f"{run.folder / 'slices.parquet'}: holds no slices of block {block + 1}, which was finished: "
                "raw data are missing"
            )


def _has_cells(run: RunMeta) -> bool:
    """Whether anything could be measured: a subject that takes part in a level whose rate is known."""
    return any(
        subject.ready and not why_unsupported(run, subject, run.workload(plan.workload))
        for plan in run.levels
        if plan.model != "ladder" or plan.rate_per_s is not None
        for subject in run.subjects
    )


def _check_latencies(folder: Path, slices: pd.DataFrame, held: pd.Series[int]) -> None:
    """Refuses histograms that do not hold the latencies that the slices counted."""
    counted = slices.groupby(list(CELL))["latency_count"].sum()
    difference = held.sub(counted, fill_value=0)
    wrong = difference[difference != 0]
    if not wrong.empty:
        block, subject, workload, level = wrong.index[0]
        more = "more" if wrong.iloc[0] > 0 else "fewer"
        raise GatebenchError(
            f"{folder}: the histograms of {subject} under {workload}/{level} in block {block + 1} hold "
            f"{abs(wrong.iloc[0]):,.0f} latencies {more} than the slices: raw data are missing or changed"
        )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GatebenchError(f"{file}: cannot be read ({error}); is this the folder of a run?") from error


def ending_of(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last `finished` event; None while the run goes on, also anew, or where it was cut off."""
    last = [event for event in events if event["kind"] in {"finished", "resumed"}][-1:]
    return next((event for event in last if event["kind"] == "finished"), None)


def read_events(file: Path) -> tuple[Mapping[str, Any], ...]:
    """Every whole line of `events.jsonl`, in order; a torn last one is left out.

    Raises:
        GatebenchError: the file cannot be read, or a line is damaged.
    """
    lines = _read(file).split("\n")
    events: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):  # no newline after it: the run was cut off while writing it
                break
            raise GatebenchError(f"{file}: line {number} is damaged ({error})") from error
        if not isinstance(event, dict) or not _EVENT_KEYS.get(str(event.get("kind")), set()) <= set(event):
            raise GatebenchError(f"{file}: line {number} is not an event")
        events.append(event)
    return tuple(events)
