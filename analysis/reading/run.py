"""Loads the raw results of one run: complete, still going, or cut off in the middle."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from analysis.reading.tables import (
    KEY,
    EveryDetail,
    Histograms,
    histogram_types,
    open_histograms,
    parts_of,
    read_details,
    read_table,
)
from gatebench.results.columns import HISTOGRAMS, SLICES, missing_before
from gatebench.results.observed import ObservedMeta
from gatebench.results.schema import READABLE, PrecisionMeta, RunMeta
from gatebench.words.errors import ConfigurationError, GatebenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from pydantic_core import ErrorDetails

    from gatebench.words.precision import Precision


_EVENT_KEYS = {
    "None": {"kind"},
    "block-finished": {"block"},
    "failed": {"block", "subject", "code", "text"},
    "argv": {"subject", "argv"},
    "resumed": {"at", "block", "notices"},
    "look": {"block", "blocks", "asked", "reached", "met", "text"},
    "details": {"block", "subject", "workload", "level", "examples", "names", "uncounted"},
    "notice": {"block", "subject", "text"},
    "observed": {"subject"},
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
        slices: one row a slice, the columns of `gatebench.results.columns.SLICES`.
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
    def precision(self) -> Precision | None:
        """The precision that was asked for, when the run went on the last time; None where none was."""
        asked = [event["precision"] for event in self.resumptions if event.get("precision")]
        if asked:
            return PrecisionMeta.model_validate_json(json.dumps(asked[-1])).asked
        planned = self.meta.plan.precision
        return planned.asked if planned is not None else None

    @property
    def looks(self) -> tuple[Mapping[str, Any], ...]:
        """The `look` events: after how many blocks the run looked how precise it was, and what it found."""
        return tuple(self._of_kind("look"))

    def progress(self, blocks: int) -> str:
        """`10 of 10 blocks`, of those planned; where there may be fewer or still are, it says so."""
        most = "at most " if self.precision is not None and blocks < self.meta.blocks else ""
        so_far = "so far: " if self.ending is None else ""
        return f"{so_far}{blocks} of {most}{self.meta.blocks} blocks"

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
    if not run_file.exists():
        raise ConfigurationError(
            f"{folder}: has no run.json: it is no run, or one that ended before it had a plan; name another, "
            "such as results/latest"
        )
    run_meta = parse_meta(_read(run_file), run_file)
    events = read_events(folder / "events.jsonl")
    run_meta = _with_observed(run_meta, events)
    schema = run_meta.schema_
    types = {column.name: column.read_as for column in SLICES}
    # The copy lies in one block a type, not one a column: what selects rows from it takes from each block.
    slices = read_table(folder / "slices.parquet", types, missing_before(SLICES, schema)).copy()
    files = _with_slices(folder)
    histograms, held = open_histograms(files, histogram_types(run_meta), missing_before(HISTOGRAMS, schema))
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


def _with_observed(meta: RunMeta, events: Sequence[Mapping[str, Any]]) -> RunMeta:
    """The run's description with what its subjects were seen to run with; a twin is what its original is."""
    seen: dict[str, ObservedMeta] = {}
    for event in events:
        if event["kind"] == "observed":
            keys = {name: event[name] for name in ObservedMeta.model_fields if name in event}
            with suppress(ValidationError):  # of another version; then nothing is known
                found = ObservedMeta.model_validate_json(json.dumps(keys))
                subject = str(event["subject"])
                seen[subject] = seen[subject].beside(found) if subject in seen else found
    subjects = [
        each.replaced(observed=seen.get(each.original) or seen.get(each.id)) for each in meta.subjects
    ]
    return meta.replaced(subjects=tuple(subjects))


def parse_meta(text: str, file: Path) -> RunMeta:
    """The content of a `run.json`; `file` is only named in errors.

    Raises:
        GatebenchError: it is not JSON, or of an unknown schema; or with every key that is missing or has the
            wrong type.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise GatebenchError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(data, dict):
        raise GatebenchError(f"{file}: not a JSON object")
    if data.get("schema") not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise GatebenchError(
            f"{file}: schema {data.get('schema')!r} is unknown; this Gatebench reads schema {known}. "
            "Use the Gatebench version that made the run"
        )
    try:
        return RunMeta.model_validate_json(text)
    except ValidationError as error:
        found = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
        raise GatebenchError("\n".join(f"{file}: {_problem(each)}" for each in found)) from error


def _problem(error: ErrorDetails) -> str:
    """One fault of the file: the key and what is wrong with it."""
    key = "".join(_steps(error["loc"])).removeprefix(".")
    kind = type(error["input"]).__name__
    if error["type"] == "missing":
        return f"`{key}` is missing; the file is not what a run writes"
    if error["type"] == "model_type":
        return f"`{key}` is not an object, but has the type {kind}"
    return f"`{key}` has the wrong type {kind}"


def _steps(location: tuple[int | str, ...]) -> Iterator[str]:
    for step in location:
        yield f"[{step}]" if isinstance(step, int) else f".{step}"


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
        subject.ready and not run.why_unsupported(subject, run.workload(plan.workload))
        for plan in run.levels
        if plan.model != "ladder" or plan.rate_per_s is not None
        for subject in run.subjects
    )


def _check_latencies(folder: Path, slices: pd.DataFrame, held: pd.Series[int]) -> None:
    """Refuses histograms that do not hold the latencies that the slices counted."""
    counted = slices.groupby(list(KEY))["latency_count"].sum()
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
        raise GatebenchError(f"{file}: cannot be read ({error})") from error


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
