"""The rows of a run's raw tables, `slices.parquet` and `histograms.parquet`, and how they become Parquet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from gatebench.results.schema import SCHEMA
from gatebench.words.model import Cell
from loadtests.engine.tally import FAILURES, SliceResult

SHARED_LIMIT = 0.05
"""Others may have this share of the server's cores in a slice; METHOD.md tells what honest runs showed."""

# Arrow's own allocators keep what they once held; a run writes little and lasts long.
pa.set_memory_pool(pa.system_memory_pool())

SLICES = pa.schema(
    [
        ("block", pa.int32()),
        ("round", pa.int32()),
        ("position", pa.int32()),
        ("subject", pa.string()),
        ("workload", pa.string()),
        ("level", pa.string()),
        ("started_unix_ns", pa.int64()),
        ("window_s", pa.float64()),
        ("elapsed_s", pa.float64()),
        ("completed", pa.int64()),
        ("drained", pa.int64()),
        ("counted", pa.int64()),
        ("counted_s", pa.float64()),
        ("rate_per_s", pa.float64()),
        ("offered", pa.int64()),
        ("unsent", pa.int64()),
        ("objective_met", pa.bool_()),
        ("connections", pa.int64()),
        ("opened", pa.int64()),
        ("closed_by_server", pa.int64()),
        *((f"errors_{kind}", pa.int64()) for kind in FAILURES),
        ("latency_count", pa.int64()),
        ("latency_sum_us", pa.int64()),
        ("engine_busy_share", pa.float64()),
        ("bytes_received", pa.int64()),
        ("bytes_sent", pa.int64()),
        ("server_cpu_s", pa.float64()),
        ("server_memory_mib", pa.float64()),
        ("listen_drops", pa.int64()),
        ("steal_s", pa.float64()),
        ("port_use", pa.float64()),
        ("no_port", pa.int64()),
        ("timed_in_window", pa.int64()),
        ("timed_in_window_us", pa.int64()),
        ("held_s", pa.float64()),
        ("workers_missing", pa.int64()),
        ("throttled_s", pa.float64()),
        ("server_memory_peak_mib", pa.float64()),
        ("pause_variance", pa.float64()),
        ("others_s", pa.float64()),
        ("others", pa.string()),
        ("shared", pa.bool_()),
    ],
    metadata={"gatebench_schema": str(SCHEMA)},
)
HISTOGRAMS = pa.schema(
    [
        ("block", pa.int32()),
        ("subject", pa.string()),
        ("workload", pa.string()),
        ("level", pa.string()),
        ("clock", pa.string()),
        ("latency_us", pa.int64()),
        ("count", pa.int64()),
        ("shared", pa.bool_()),
    ],
    metadata={"gatebench_schema": str(SCHEMA)},
)


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

    def values(self) -> dict[str, Any]:
        """The row of `slices.parquet`."""
        result, observed = self.result, self.observed
        return {
            "block": self.block,
            "round": self.round_number,
            "position": self.position,
            "subject": self.cell.subject.id,
            "workload": self.cell.workload.name,
            "level": self.cell.level.id,
            "started_unix_ns": result.started_unix_ns,
            "window_s": result.window_s,
            "elapsed_s": result.elapsed_s,
            "completed": result.completed,
            "drained": result.drained,
            "counted": result.counted,
            "counted_s": result.counted_s,
            "rate_per_s": self.rate_per_s,
            "offered": result.offered,
            "unsent": result.unsent,
            "objective_met": self.objective_met,
            "connections": self.connections,
            "opened": result.opened,
            "closed_by_server": result.closed_by_server,
            **{f"errors_{kind}": result.failures[kind] for kind in FAILURES},
            "latency_count": sum(result.histogram.values()),
            "latency_sum_us": sum(latency * count for latency, count in result.histogram.items()),
            "engine_busy_share": result.busy_share,
            "bytes_received": result.bytes_received,
            "bytes_sent": result.bytes_sent,
            "server_cpu_s": observed.server_cpu_s,
            "server_memory_mib": observed.server_memory_mib,
            "listen_drops": observed.listen_drops,
            "steal_s": observed.steal_s,
            "port_use": observed.port_use,
            "no_port": result.no_port,
            "timed_in_window": result.timed_in_window,
            "timed_in_window_us": result.timed_in_window_us,
            "held_s": result.held_s,
            "workers_missing": result.workers_missing,
            "throttled_s": observed.throttled_s,
            "server_memory_peak_mib": observed.memory_peak_mib,
            "pause_variance": result.pause_variance,
            "others_s": observed.others_s,
            "others": observed.others,
            "shared": observed.shared,
        }


def histogram_rows(rows: Iterable[SliceRow]) -> Iterator[dict[str, Any]]:
    """The latencies of these slices, added up for each block and cell, as rows of `histograms.parquet`.

    Those of slices in which others had the server's core are kept apart: they can be left out later.
    """
    merged: dict[tuple[int, str, str, str, str, bool], Counter[int]] = {}
    for row in rows:
        cell = (row.block, row.cell.subject.id, row.cell.workload.name, row.cell.level.id)
        for clock, counts in row.result.histograms.items():
            merged.setdefault((*cell, clock, row.observed.shared), Counter()).update(counts)
    for values, histogram in merged.items():
        key = dict(zip(("block", "subject", "workload", "level", "clock", "shared"), values, strict=True))
        for latency_us in sorted(histogram):
            yield {**key, "latency_us": latency_us, "count": histogram[latency_us]}


def parquet(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """These rows as a Parquet file with checksums."""
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
