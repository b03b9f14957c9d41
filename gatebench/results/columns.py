"""The columns of a run's raw tables, each with its type and source, and how rows become Parquet."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from gatebench.results.schema import SCHEMA
from gatebench.words.model import Cell
from loadtests.engine.tally import FAILURES, SliceResult

SHARED_LIMIT = 0.05
"""Others may have this share of the server's cores in a slice; METHOD.md tells what honest runs showed."""
STEAL_LIMIT = 0.05
"""The hypervisor may take this share of the measured cores' time in a slice."""
LATE_LIMIT = 0.2
"""This share of an open loop's response times may be left out because the engine was late for them."""

# Arrow's own allocators keep what they once held; a run writes little and lasts long.
pa.set_memory_pool(pa.system_memory_pool())


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of the server and of the machine during a slice; None where it could not be read.

    Attributes:
        steal_s: time that the hypervisor took from the measured cores, all of them together.
        port_use: share of the local ports towards the server that were taken after the slice.
        throttled_s: time for which a CPU quota held up the server's container; None without a container.
        memory_peak_mib: the most memory that the server's container has had since its start, page cache
            included; None without a container.
        others_s: time for which anybody but the server had the server's cores, all of them together.
        others: who had most of it, where that is known.
        shared: whether that was too much, so that the slice tells of others too.
        stolen: whether what the hypervisor took was too much, so that the slice tells of that too.
        database_cpu_s: CPU time of the database; None where the application needs none.
        database_core_s: time for which anything ran on the cores of the database, all of them together.
    """

    server_cpu_s: float | None = None
    server_memory_mib: float | None = None
    listen_drops: int | None = None
    steal_s: float | None = None
    port_use: float | None = None
    throttled_s: float | None = None
    memory_peak_mib: float | None = None
    others_s: float | None = None
    others: str = ""
    shared: bool = False
    stolen: bool = False
    database_cpu_s: float | None = None
    database_core_s: float | None = None


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One slice with its place in the plan.

    Attributes:
        connections: how many were asked for.
        rate_per_s: the offered rate of an open loop.
        objective_met: of a search, whether the slice kept to its objective.
    """

    block: int
    round_number: int
    position: int
    cell: Cell
    result: SliceResult
    observed: Observed
    connections: int
    rate_per_s: float | None = None
    objective_met: bool | None = None

    @property
    def latency_count(self) -> int:
        """How many response times there are, those that are left out included."""
        return sum(self.result.histogram.values()) + self.result.left_out

    @property
    def latency_sum_us(self) -> int:
        """Their sum."""
        both = (self.result.histogram, self.result.late.get("response", {}))
        return sum(latency_us * count for part in both for latency_us, count in part.items())

    @property
    def disturbed(self) -> bool:
        """Whether it says too little of the server for a search to choose its next rate by it."""
        held_up = self.result.left_out > LATE_LIMIT * self.result.offered
        return self.observed.shared or self.observed.stolen or held_up

    def values(self) -> dict[str, Any]:
        """The row of `slices.parquet`."""
        return {column.name: column.value(self) for column in SLICES}


TEXT, FLAG, INTEGER, LONG, REAL = pa.string(), pa.bool_(), pa.int32(), pa.int64(), pa.float64()
Scalar: TypeAlias = float | str | bool


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a raw table.

    Attributes:
        type: in the file.
        nullable: whether a value may be missing.
        required_since: the first schema whose runs all have it; None where it was added within a schema.
        before: what stands for it in a run that has not got it and does not have to.
    """

    name: str
    type: pa.DataType
    nullable: bool = False
    required_since: int | None = 1
    before: Scalar = math.nan

    @property
    def read_as(self) -> str:
        """The type for pandas, in which only real numbers can be missing."""
        if self.type == TEXT:
            return "str"
        if self.nullable or self.type == REAL:
            return "float64"
        return "bool" if self.type == FLAG else "int64"


@dataclass(frozen=True, slots=True)
class SliceColumn(Column):
    """A column of `slices.parquet`; `value` takes it from a slice."""

    value: Callable[[SliceRow], Any] = field(kw_only=True)


def _of(source: str, kind: pa.DataType, name: str = "", **more: Any) -> SliceColumn:
    """What a slice has at `source`, such as `result.completed`; `name` where the column has another name."""
    return SliceColumn(name or source.rpartition(".")[2], kind, value=attrgetter(source), **more)


def _failures(kind: str) -> SliceColumn:
    return SliceColumn(f"errors_{kind}", LONG, value=lambda row: row.result.failures[kind])


SLICES: tuple[SliceColumn, ...] = (
    _of("block", INTEGER),
    _of("round_number", INTEGER, "round"),
    _of("position", INTEGER),
    _of("cell.subject.id", TEXT, "subject"),
    _of("cell.workload.name", TEXT, "workload"),
    _of("cell.level.id", TEXT, "level"),
    _of("result.started_unix_ns", LONG),
    _of("result.window_s", REAL),
    _of("result.elapsed_s", REAL),
    _of("result.completed", LONG),
    _of("result.drained", LONG),
    _of("result.counted", LONG),
    _of("result.counted_s", REAL),
    _of("rate_per_s", REAL, nullable=True, required_since=2),
    _of("result.offered", LONG, required_since=2, before=0),
    _of("result.unsent", LONG, required_since=2, before=0),
    _of("objective_met", FLAG, nullable=True, required_since=2),
    _of("connections", LONG, required_since=2, before=0),
    _of("result.opened", LONG),
    _of("result.closed_by_server", LONG),
    *map(_failures, FAILURES),
    _of("latency_count", LONG),
    _of("latency_sum_us", LONG),
    _of("result.busy_share", REAL, "engine_busy_share"),
    _of("result.bytes_received", LONG),
    _of("result.bytes_sent", LONG),
    _of("observed.server_cpu_s", REAL, nullable=True),
    _of("observed.server_memory_mib", REAL, nullable=True),
    _of("observed.listen_drops", LONG, nullable=True),
    _of("observed.steal_s", REAL, nullable=True, required_since=2),
    _of("observed.port_use", REAL, nullable=True, required_since=2),
    _of("result.no_port", LONG, required_since=2, before=0),
    _of("result.timed_in_window", LONG, required_since=2, before=0),
    _of("result.timed_in_window_us", LONG, required_since=2, before=0),
    _of("result.held_s", REAL, required_since=2, before=0.0),
    _of("result.workers_missing", LONG, required_since=2, before=0),
    # Since servers may be containers:
    _of("observed.throttled_s", REAL, nullable=True, required_since=None),
    _of("observed.memory_peak_mib", REAL, "server_memory_peak_mib", nullable=True, required_since=None),
    # Since a Locust file's users live through a block:
    _of("result.pause_variance", REAL, required_since=None, before=0.0),
    # Since it is known who else had the server's cores:
    _of("observed.others_s", REAL, nullable=True, required_since=None),
    _of("observed.others", TEXT, required_since=None, before=""),
    _of("observed.shared", FLAG, required_since=None, before=False),
    # Since an engine leaves out what it was late for:
    _of("result.left_out", LONG, required_since=None, before=0),
    # Since slices from which the hypervisor took much are left out:
    _of("observed.stolen", FLAG, required_since=None, before=False),
    # Since applications may need a database:
    _of("observed.database_cpu_s", REAL, nullable=True, required_since=None),
    _of("observed.database_core_s", REAL, nullable=True, required_since=None),
)
"""`slices.parquet`: a row a slice.

A new column goes to the end, with `required_since=None`: older versions then read the others as before.
"""
CELL = (Column("block", INTEGER), Column("subject", TEXT), Column("workload", TEXT), Column("level", TEXT))
HISTOGRAMS = (
    *CELL,
    Column("clock", TEXT, required_since=2, before="response"),
    Column("latency_us", LONG),
    Column("count", LONG),
    Column("shared", FLAG, required_since=None, before=False),
    Column("stolen", FLAG, required_since=None, before=False),
    Column("late", FLAG, required_since=None, before=False),
)
"""`histograms.parquet`: how many requests of a cell took so many whole microseconds; equal keys add up."""


def missing_before(columns: Iterable[Column], schema: int) -> dict[str, Scalar]:
    """What stands for the columns that a run of that schema may lack."""
    return {
        column.name: column.before
        for column in columns
        if column.required_since is None or column.required_since > schema
    }


def histogram_rows(rows: Iterable[SliceRow]) -> Iterator[dict[str, Any]]:
    """The latencies of these slices, added up for each block and cell, as rows of `histograms.parquet`.

    Those of slices in which others had the server's core, or the hypervisor took much of the measured ones,
    are kept apart, and those for which the engine was late: they can be left out later.
    """
    merged: dict[tuple[int, str, str, str, str, bool, bool, bool], Counter[int]] = {}
    for row in rows:
        cell = (row.block, row.cell.subject.id, row.cell.workload.name, row.cell.level.id)
        for late, histograms in ((False, row.result.histograms), (True, row.result.late)):
            for clock, counts in histograms.items():
                key = (*cell, clock, row.observed.shared, row.observed.stolen, late)
                merged.setdefault(key, Counter()).update(counts)
    names = (*(column.name for column in CELL), "clock", "shared", "stolen", "late")
    for values, histogram in merged.items():
        of_part = dict(zip(names, values, strict=True))
        for latency_us in sorted(histogram):
            yield {**of_part, "latency_us": latency_us, "count": histogram[latency_us]}


def parquet(rows: Iterable[Mapping[str, Any]], columns: Iterable[Column]) -> bytes:
    """These rows as a Parquet file with checksums."""
    kinds = [(column.name, column.type) for column in columns]
    schema = pa.schema(kinds, metadata={"gatebench_schema": str(SCHEMA)})
    # Arrow would import pandas, 50 MiB of it, to turn Python objects into columns; for JSON it does not.
    lines = "\n".join(map(json.dumps, rows)).encode()
    table = _parse(lines, schema) if lines else schema.empty_table()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue().to_pybytes())


def _parse(lines: bytes, schema: pa.Schema) -> pa.Table:
    parsing = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    reading = pa.json.ReadOptions(use_threads=False)
    table = pa.json.read_json(pa.BufferReader(lines), read_options=reading, parse_options=parsing)
    return table.replace_schema_metadata(schema.metadata)
