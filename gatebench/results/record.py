"""Writes a run's raw results so that neither `kill -9` nor a full disk damages what is there already.

Parquet files are written once, under a temporary name, and renamed when they are on the disk;
`slices.parquet` and `histograms.parquet` are folders of such parts, which pandas reads as one table. Events
are appended.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from gatebench.results.columns import HISTOGRAMS, SLICES, SliceRow, histogram_rows, parquet
from gatebench.results.details import Details
from gatebench.results.schema import RunMeta
from gatebench.words.errors import ConfigurationError, GatebenchError

EVENTS = "events.jsonl"
SLICES_FOLDER, HISTOGRAMS_FOLDER = "slices.parquet", "histograms.parquet"


class RecordError(GatebenchError):
    """The results could not be written; what was written before is whole."""


class Record:
    """One results folder while it is being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self._rows: list[SliceRow] = []
        self._details = Details()
        self._parts = 0
        self._lock: BinaryIO | None = None

    @classmethod
    def create(cls, folder: Path) -> Record:
        """Makes a results folder.

        Raises:
            ConfigurationError: it exists and holds something, or cannot be written to. What a run left that
                ended before it had a plan counts for nothing.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not _is_unused(folder):
                raise ConfigurationError(
                    f"{folder} is not empty; a run is written once. Choose another folder (--out)"
                )
            record = cls(folder)
            record._hold()
            os.truncate(folder / EVENTS, 0)
            shutil.rmtree(record.logs, ignore_errors=True)
            for part in (record.logs, folder / SLICES_FOLDER, folder / HISTOGRAMS_FOLDER):
                part.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write results to {folder}: {error.strerror}. Choose another folder (--out)"
            ) from error
        return record

    @classmethod
    def reopen(cls, folder: Path) -> Record:
        """Takes up a results folder that has a plan, to add to it; nothing in it is written anew.

        What a write that was cut off has left behind is removed: no reader takes it for data.

        Raises:
            ConfigurationError: its run is still going on, or it cannot be written to.
        """
        record = cls(folder)
        try:
            record._hold()
            for table in (folder / SLICES_FOLDER, folder / HISTOGRAMS_FOLDER):
                for unfinished in table.glob(".*.tmp"):
                    unfinished.unlink()
            _cut_torn_line(folder / EVENTS)
        except OSError as error:
            raise ConfigurationError(f"cannot write to {folder}: {error.strerror}") from error
        record._parts = sum(1 for _ in (folder / SLICES_FOLDER).glob("part-*.parquet"))
        return record

    def discard(self) -> None:
        """Removes the folder of a run that was refused before it had a plan; one with a plan stays."""
        self.close()
        if not (self.folder / "run.json").exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Lets others write to the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _hold(self) -> None:
        """Keeps others from writing while this process lives; the kernel gives it free however that ends.

        Raises:
            ConfigurationError: another process holds it.
            OSError: the events cannot be written to.
        """
        self._lock = (self.folder / EVENTS).open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise ConfigurationError(f"{self.folder}: this run is still going on") from error
        except OSError:
            return  # a file system without locks

    @property
    def run(self) -> str:
        """The run's ID, its folder's name."""
        return self.folder.name

    def write_run(self, description: RunMeta) -> None:
        """Writes `run.json`: the plan as requested and the environment as observed.

        Raises:
            RecordError: it could not be written.
        """
        text = json.dumps(description.to_json(), indent=1, ensure_ascii=False)
        try:
            write_atomically(self.folder / "run.json", text.encode())
        except OSError as error:
            raise record_error(self.folder, error) from error

    def event(self, kind: str, **details: Any) -> None:
        """Appends one line to `events.jsonl`.

        Raises:
            RecordError: it could not be written.
        """
        self._append(kind, [details])

    def _append(self, kind: str, events: Iterable[Mapping[str, Any]]) -> None:
        """Appends a line for each of them, all of which have reached the disk when it returns."""
        at = {"at": utc_now(), "kind": kind}
        lines = "".join(json.dumps({**at, **details}, ensure_ascii=False) + "\n" for details in events)
        if not lines:
            return
        try:
            with (self.folder / EVENTS).open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise record_error(self.folder, error) from error

    def add(self, row: SliceRow) -> None:
        """Takes one slice; `flush` writes it."""
        self._rows.append(row)
        self._details.add(row)

    @property
    def pending(self) -> int:
        """How many counts of histograms wait to be written."""
        parts = (part for row in self._rows for part in (row.result.histograms, row.result.late))
        return sum(len(counts) for part in parts for counts in part.values())

    def flush(self) -> None:
        """Writes what was added since the last time as one part, and what it tells beside as events.

        Raises:
            RecordError: it could not be written. The rows are kept for another attempt.
        """
        if not self._rows:
            return
        name = f"part-{self._parts:05d}.parquet"
        try:
            # The slices last: they are what counts a part as written.
            latencies = parquet(histogram_rows(self._rows), HISTOGRAMS)
            write_atomically(self.folder / HISTOGRAMS_FOLDER / name, latencies)
            rows = parquet((row.values() for row in self._rows), SLICES)
            write_atomically(self.folder / SLICES_FOLDER / name, rows)
        except OSError as error:
            raise record_error(self.folder, error) from error
        self._parts += 1
        self._rows.clear()
        self._append("details", self._details.events())


def new_run_id() -> str:
    """UTC time and a short random ID: `20261122T081500Z-1a2b3c`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def utc_now() -> str:
    """The time in ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def point_latest(folder: Path) -> None:
    """Makes `latest`, beside the run's folder, point at it; what somebody else called so stays."""
    link = folder.parent / "latest"
    if link.exists() and not link.is_symlink():
        return
    if link.is_symlink() and len(link.readlink().parts) != 1:  # a run's own points to its neighbour
        return
    temporary = folder.parent / f".latest-{folder.name}"
    try:
        temporary.symlink_to(folder.name)
        temporary.replace(link)
    except OSError:
        temporary.unlink(
            missing_ok=True
        )  # a file system without symbolic links; the run's own path is printed


def _is_unused(folder: Path) -> bool:
    """Whether a folder is empty, or holds only what a run left that ended before it had a plan."""
    names = {each.name for each in folder.iterdir()}
    if not names:
        return True
    tables = [folder / SLICES_FOLDER, folder / HISTOGRAMS_FOLDER]
    unplanned = EVENTS in names and names <= {EVENTS, "logs", *(table.name for table in tables)}
    return unplanned and not any(table.is_dir() and any(table.iterdir()) for table in tables)


def _cut_torn_line(file: Path) -> None:
    """Removes a last line without an end, which was never an event: the next one would stand in it."""
    data = file.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(file, whole)


def record_error(folder: Path, error: OSError) -> RecordError:
    """What a person is told when a results folder cannot be written to."""
    advice = "free some space" if error.errno == errno.ENOSPC else "check the folder and the disk"
    return RecordError(
        f"cannot write to {folder}: {error.strerror}. What was written before is whole; {advice}"
    )
