"""One slice as the load process reports it, and the totals of a cell that every gate lets pass."""

from __future__ import annotations

from analysis.figures.cells import Totals
from analysis.figures.percentiles import Percentiles
from gatebench.results.columns import Observed, SliceRow
from gatebench.results.schema import LevelPlan, RequestMeta, WorkloadMeta
from gatebench.words.model import Cell
from loadtests.engine.tally import FAILURES, SliceResult

PLAN = LevelPlan(workload="keep-alive", level="c64", connections=64, rounds=20, slice_s=0.1)
WORKLOAD = WorkloadMeta(
    name="keep-alive",
    description="",
    transport="keep-alive",
    request=RequestMeta(),
    needs=frozenset({"keep-alive"}),
    saturates=True,
    service_s=0.0,
)
NO_ERRORS = dict.fromkeys(("refused", "reset", "short", "status", "body", "timeout"), 0)
NONE = dict.fromkeys(("p50", "p90", "p99", "p999", "max"))
HONEST = Totals(
    subject="uvicorn",
    blocks=5,
    requests=100_000,
    counted=96_000,
    counted_s=8.0,
    errors=NO_ERRORS,
    closed_by_server=0,
    listen_drops=0,
    requests_per_connection=312.5,
    busy_share=0.4,
    cpu_share=0.99,
    cpu_us_per_request=80.0,
    memory_mib=30.0,
    memory_peak_mib=None,
    typical_completed=1_000.0,
    missed_share=0.0,
    lag_us=None,
    in_flight=64.0,
    steal_share=0.0,
    throttled_share=0.0,
    port_use=0.1,
    no_port=0,
    workers_missing=0,
    percentiles=Percentiles(100_000, {"p50": 5_000, "p90": 6_000, "p99": 7_000, "p999": 8_000, "max": 9_000}),
    service=Percentiles(0, NONE),
    last=Percentiles(0, NONE),
)


def a_slice(histogram: dict[int, int]) -> SliceResult:
    return SliceResult(
        window_s=0.1,
        elapsed_s=0.11,
        completed=sum(histogram.values()),
        drained=2,
        counted=sum(histogram.values()),
        counted_s=0.1,
        offered=0,
        unsent=0,
        opened=0,
        closed_by_server=0,
        no_port=0,
        bytes_received=100,
        bytes_sent=50,
        failures=dict.fromkeys(FAILURES, 0),
        examples={},
        histograms={"response": histogram, "service": dict.fromkeys(histogram, 1)},
        busy_share=0.4,
        started_unix_ns=1,
    )


def a_row(cell: Cell, round_number: int, histogram: dict[int, int]) -> SliceRow:
    seen = Observed(server_cpu_s=0.1, listen_drops=0)
    return SliceRow(0, round_number, 0, cell, a_slice(histogram), seen, connections=64)
