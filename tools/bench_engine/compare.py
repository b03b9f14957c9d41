"""Alternating runs of several clients, and what they come to: the first client against each of the others."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatebench.words.text import counted
from tools.bench_engine.clients import CONNECTIONS, Client, Run
from tools.bench_engine.servers import Responder

BUSY = 0.85
"""From this CPU share on a core counts as full: clients here never rest while an answer is there."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of a figure over the runs."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of some values, at least one."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.least:.3f} to {self.greatest:.3f})"


def alternate(
    clients: Mapping[str, Client], server: Responder, *, seconds: float, runs: int
) -> tuple[Run, ...]:
    """Runs A, B, C, A, B, C, …, so that a machine that changes its speed changes it for all of them."""
    return tuple(client(server, seconds) for _ in range(runs) for client in clients.values())


def ratios(runs: Sequence[Run], first: str, other: str) -> Spread:
    """The rate of one client over that of another, turn by turn."""
    ours = [run.rate_per_s for run in runs if run.client == first]
    theirs = [run.rate_per_s for run in runs if run.client == other]
    return Spread.of([mine / its for mine, its in zip(ours, theirs, strict=True)])


def table(title: str, runs: Sequence[Run]) -> str:
    """The figures of a comparison, as lines for a person; the first run's client is the reference."""
    clients = list(dict.fromkeys(run.client for run in runs))
    turns = len(runs) // len(clients)
    columns = f"{'requests/s':>10} {'CPU µs/request':>15} {'own cores':>10} {'server core':>12}"
    lines = [
        f"{title}, {CONNECTIONS} connections, {counted(turns, 'alternating run')}:",
        f"  {'client':<14} {columns}   {clients[0]}/client",
    ]
    for client in clients:
        own = [run for run in runs if run.client == client]
        rate = statistics.median(run.rate_per_s for run in own)
        cpu_us = statistics.median(run.cpu_us_per_request for run in own)
        busy = statistics.median(run.client_busy for run in own)
        server_busy = statistics.median(run.server_busy for run in own)
        line = f"  {client:<14} {rate:>10,.0f} {cpu_us:>15.2f} {busy:>10.0%} {server_busy:>12.0%}"
        if client != clients[0]:
            line += f"   {ratios(runs, clients[0], client)}"
        lines.append(line)
    return "\n".join(lines + [f"  {note}" for note in held_up(runs)])


def held_up(runs: Sequence[Run]) -> list[str]:
    """A note about each client that may not have been the limit itself: its rate is then not its best."""
    notes = []
    for client in dict.fromkeys(run.client for run in runs):
        own = [run for run in runs if run.client == client]
        full = sum(run.server_busy >= BUSY for run in own)
        neither = sum(run.server_busy < BUSY and run.client_busy < BUSY for run in own)
        if full:
            times = counted(full, "run")
            notes.append(f"{client}: a core of the server's was full in {times}: the rate may be its")
        if neither:
            notes.append(
                f"{client}: in {counted(neither, 'run')} neither it nor the server was busy: "
                "something else held it up (other load on this machine?)"
            )
    return notes
