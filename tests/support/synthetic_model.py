"""The words in which a synthetic run is described: subjects with their truth, loads and a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatebench.words.model import Level
from tests.support.synthetic_containers import PYTHON

CONNECTIONS = 64
_ALIKE = Level(CONNECTIONS)


@dataclass(frozen=True, slots=True)
class Truth:
    """One subject and what it really does.

    Attributes:
        rates: workload → true requests/s in a quiet slice; a workload that is missing here is not supported.
            In an open loop, the most it can do; in a search, the most that keeps to the objective; of idle
            connections, the KiB of memory that each takes.
        p99_us: workload → open loops: the true p99 of the response time, while it keeps up.
        lag_us: open loops: p99 of how late the engine sent.
        columns: column → what every slice has there instead.
        cpu_share: workload → share of its core that the server uses; 0.99 where not named.
        errors: workload → kind of error → how many a slice.
        busy_share: busy share of the engine at this subject's slices.
        answers_per_closure: the server closes a connection after that many answers; 0 for never.
        listen_drops: connection attempts that the kernel drops in each slice.
        python: of its image, where it runs in one.
        app: the application.
        observed: what it was seen to run with, as an event has it; empty where nobody looked.
        unavailable: why it could not be installed; empty where it could.
    """

    id: str
    server: str
    variant: str
    interface: str
    rates: Mapping[str, float]
    cpu_share: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    busy_share: float = 0.4
    answers_per_closure: int = 0
    listen_drops: int = 0
    unavailable: str = ""
    measures_cpu: bool = True
    color: str | None = None
    p99_us: Mapping[str, float] = field(default_factory=dict)
    lag_us: float = 40.0
    columns: Mapping[str, float | None] = field(default_factory=dict)
    python: str = PYTHON
    app: str = "plain"
    observed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """One workload at one level.

    Attributes:
        ceiling_per_s: what the engine does in calibration, or None.
        responder: what answers it there; empty for runs from before there was a choice.
    """

    name: str
    transport: str
    needs: tuple[str, ...]
    slice_s: float = 0.1
    saturates: bool = True
    service_s: float = 0.0
    path: str = "/plaintext"
    level: Level = _ALIKE
    exchange: str | None = None
    steps: tuple[int, ...] = ()
    answer_bytes: int | None = 13
    ceiling_per_s: float | None = None
    responder: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the synthetic run is measured.

    Attributes:
        drift: standard deviation of the machine's speed from one round to the next, as a random walk.
        slice_noise: standard deviation of one slice.
        block_noise: standard deviation of a server's speed from one start to the next.
        schema: of the raw data; 1 knows closed loops only.
        containers: whether the servers run in containers.
    """

    blocks: int = 5
    rounds: int = 20
    seed: int = 7
    drift: float = 0.01
    slice_noise: float = 0.04
    block_noise: float = 0.012
    schema: int = 2
    containers: bool = False
