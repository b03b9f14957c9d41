"""The slices and histograms of one block of a synthetic run, for every kind of load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gatebench.results.columns import HISTOGRAMS, SLICES, missing_before
from gatebench.words.plan import Search
from loadtests.engine.tally import FAILURES
from tests.support.synthetic_containers import PEAK_MIB
from tests.support.synthetic_model import Load, Plan, Truth

Array = npt.NDArray[np.float64]
Rows = list[dict[str, Any]]
Key = dict[str, Any]
Histograms = dict[str, Array]
"""Clock → every single latency in µs."""

_SPREAD = 0.5
"""Standard deviation of the logarithm of an open loop's response times."""
_P99_OVER_MEDIAN = float(np.exp(2.3263 * _SPREAD))
_PROCESS_MIB = 31.4
OF_CONTAINER = {"throttled_s": 0.0, "server_memory_peak_mib": PEAK_MIB}


def make_block(
    random: np.random.Generator,
    plan: Plan,
    block: int,
    subjects: Sequence[Truth],
    loads: Sequence[Load],
    failures: Sequence[Mapping[str, Any]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Slices in a random order, and histograms; a subject that failed in a workload has none there."""
    machine = random.normal(0, 0.05) + np.cumsum(random.normal(0, plan.drift, plan.rounds))
    slices: Rows = []
    histograms: list[tuple[Key, Array]] = []
    for load in loads:
        for truth in subjects:
            if load.name not in truth.rates or truth.unavailable:
                continue
            if any(_hits(failure, truth.id, load.name) for failure in failures):
                continue
            noise = random.normal(0, plan.block_noise) + random.normal(0, plan.slice_noise, plan.rounds)
            speeds = np.exp(machine + noise)
            rows, latencies = _MODELS[load.level.model](random, truth, load, speeds)
            key: Key = {"block": block, "subject": truth.id, "workload": load.name, "level": load.level.id}
            started = 1_795_335_300_000_000_000 + block * 1_000_000_000
            for number, row in enumerate(rows):
                place = {"round": number, "position": 0, "started_unix_ns": started + number * 1_000_000}
                seen = OF_CONTAINER if plan.containers else dict.fromkeys(OF_CONTAINER)
                slices.append(_whole(truth, load, row) | seen | key | place | dict(truth.columns))
            histograms += [(key | {"clock": clock}, each) for clock, each in latencies.items()]
    shuffled = random.permutation(len(slices))
    frame = pd.DataFrame([slices[index] for index in shuffled])
    parts = _table(histograms) if histograms else pd.DataFrame()
    if plan.schema == 1:
        slices_lack, parts_lack = (list(missing_before(columns, 1)) for columns in (SLICES, HISTOGRAMS))
        return frame.drop(columns=slices_lack, errors="ignore"), parts.drop(
            columns=parts_lack, errors="ignore"
        )
    return frame, parts


def _hits(failure: Mapping[str, Any], subject: str, workload: str) -> bool:
    return failure["subject"] == subject and failure["workload"] in {None, workload}


def _whole(truth: Truth, load: Load, row: dict[str, Any]) -> dict[str, Any]:
    """A row with the columns that are alike for every kind of load."""
    answers = row["completed"] + row["drained"]
    closed = answers // truth.answers_per_closure if truth.answers_per_closure else 0
    errors = truth.errors.get(load.name, {})
    cpu_s = truth.cpu_share.get(load.name, 0.99) * row["elapsed_s"] if truth.measures_cpu else None
    alike = {
        "window_s": load.slice_s,
        "counted": row["completed"],
        "counted_s": load.slice_s,
        "opened": answers if load.transport == "close" else closed,
        "closed_by_server": 0 if load.transport == "close" else closed,
        **{f"errors_{kind}": errors.get(kind, 0) for kind in FAILURES},
        "engine_busy_share": truth.busy_share,
        "bytes_received": answers * 140,
        "bytes_sent": answers * 60,
        "server_cpu_s": cpu_s,
        "server_memory_mib": _PROCESS_MIB if truth.measures_cpu else None,
        "listen_drops": truth.listen_drops,
        "rate_per_s": None,
        "offered": 0,
        "unsent": 0,
        "objective_met": None,
        "connections": load.level.connections,
        "steal_s": 0.0,
        "port_use": 0.1,
        "no_port": 0,
        "timed_in_window": 0,
        "timed_in_window_us": 0,
        "held_s": 0.0,
        "workers_missing": 0,
        "pause_variance": 0.0,
    }
    return alike | row


def _closed(random: np.random.Generator, truth: Truth, load: Load, speeds: Array) -> tuple[Rows, Histograms]:
    """Gamma latencies around what the connections at that rate must take (Little's law)."""
    rates = truth.rates[load.name] * speeds
    if load.exchange == "broadcast":
        return _broadcast(random, load, rates)
    in_flight = load.level.connections * load.level.window
    rows: Rows = []
    for rate in rates:
        completed = round(rate * load.slice_s)
        drained = min(in_flight, completed)
        sum_us = round(completed * in_flight / rate * 1e6)
        rows.append(
            {
                "elapsed_s": load.slice_s + drained / rate,
                "completed": completed,
                "drained": drained,
                "latency_count": completed,
                "latency_sum_us": sum_us,
                "timed_in_window": completed,
                "timed_in_window_us": sum_us,
                "held_s": 0.0,
            }
        )
    mean_us = in_flight / truth.rates[load.name] * 1e6
    count = sum(row["latency_count"] for row in rows)
    return rows, {"response": random.gamma(12.0, mean_us / 12.0, count)}


def _broadcast(random: np.random.Generator, load: Load, rates: Array) -> tuple[Rows, Histograms]:
    """One broadcast at a time: the last subscriber's delay is all of it, the typical one's half."""
    rows: Rows = []
    for rate in rates:
        completed = round(rate * load.slice_s)
        heard = (completed + 1) * load.level.connections
        rows.append(
            {
                "elapsed_s": load.slice_s + 1 / rate,
                "completed": completed,
                "drained": 1,
                "latency_count": heard,
                "latency_sum_us": round(heard * 0.5 / rate * 1e6),
                "timed_in_window": completed * load.level.connections,
                "timed_in_window_us": round(completed * load.level.connections * 0.5 / rate * 1e6),
                "held_s": 0.0,
            }
        )
    turn_us = 1e6 / float(rates.mean())
    heard, turns = (sum(int(row[name]) for row in rows) for name in ("latency_count", "completed"))
    last = random.gamma(12.0, turn_us / 12.0, turns + len(rows))
    return rows, {"response": random.gamma(12.0, 0.5 * turn_us / 12.0, heard), "last": last}


def _open(random: np.random.Generator, truth: Truth, load: Load, speeds: Array) -> tuple[Rows, Histograms]:
    """The offered rate as far as the server can; what it cannot do in the window it does while draining."""
    rate = load.level.rate_per_s or 0.0
    offered = round(rate * load.slice_s)
    p99_us = truth.p99_us.get(load.name, 5_000.0) / float(speeds.mean())
    mean_us = p99_us / _P99_OVER_MEDIAN * float(np.exp(_SPREAD**2 / 2))
    on_their_way = round(rate * mean_us / 1e6)
    rows: Rows = []
    for speed in speeds:
        completed = min(offered - on_their_way, round(truth.rates[load.name] * speed * load.slice_s))
        rows.append(_offered(load, rate, offered, completed) | {"latency_count": offered})
    response = random.lognormal(np.log(p99_us / _P99_OVER_MEDIAN), _SPREAD, offered * len(rows))
    lag = random.lognormal(np.log(truth.lag_us / _P99_OVER_MEDIAN), _SPREAD, offered * len(rows))
    return rows, {"response": response, "service": response * 0.95, "lag": lag}


def _offered(load: Load, rate: float, offered: int, completed: int) -> dict[str, Any]:
    drained = offered - completed
    return {
        "elapsed_s": load.slice_s + 0.01,
        "completed": completed,
        "drained": drained,
        "rate_per_s": rate,
        "offered": offered,
        "latency_sum_us": 0,
    }


def _search(random: np.random.Generator, truth: Truth, load: Load, speeds: Array) -> tuple[Rows, Histograms]:
    """The lab's own search against a server that keeps to the objective up to its true rate."""
    search = Search(truth.rates[load.name] * 1.3)
    rows: Rows = []
    for speed in speeds:
        rate = search.rate_per_s
        offered = max(1, round(rate * load.slice_s))
        met = rate <= truth.rates[load.name] * speed
        search.step(met=met)
        rows.append(_offered(load, rate, offered, offered) | {"objective_met": met, "latency_count": offered})
    count = sum(row["latency_count"] for row in rows)
    response = random.lognormal(np.log(2_000), _SPREAD, count)
    return rows, {"response": response, "service": response, "lag": np.full(count, truth.lag_us)}


def _idle(random: np.random.Generator, truth: Truth, load: Load, speeds: Array) -> tuple[Rows, Histograms]:
    """Memory that rises with the connections, off a straight line by tenths of a MiB."""
    del speeds
    rows: Rows = []
    for connections in load.steps:
        memory_mib = _PROCESS_MIB + connections * truth.rates[load.name] / 1024 + random.normal(0, 0.1)
        rows.append(
            {
                "elapsed_s": load.slice_s,
                "completed": connections,
                "drained": 0,
                "connections": connections,
                "server_memory_mib": memory_mib if truth.measures_cpu else None,
                "server_cpu_s": 0.001,
                "latency_count": 0,
                "latency_sum_us": 0,
            }
        )
    return rows, {}


_MODELS = {
    "closed": _closed,
    "locust": _closed,
    "open": _open,
    "ladder": _open,
    "objective": _search,
    "idle": _idle,
}


def _table(histograms: Sequence[tuple[Key, Array]]) -> pd.DataFrame:
    """A row for each different latency of each histogram, in whole microseconds.

    One table of all of them: with a table each, a whole run takes twice the time.
    """
    found = [
        np.unique(np.rint(latencies_us).astype(np.int64), return_counts=True)
        for _, latencies_us in histograms
    ]
    lengths = [len(values) for values, _ in found]
    keys = pd.DataFrame([key for key, _ in histograms])
    table = keys.loc[keys.index.repeat(lengths)].reset_index(drop=True)
    table["latency_us"] = np.concatenate([values for values, _ in found])
    table["count"] = np.concatenate([counts for _, counts in found])
    return table
