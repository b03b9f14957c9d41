"""What servers with known answers say of themselves in a run's logs, cut to what the lab measured of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tests.support.lab import Results

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """One subject's own words about a run under a single workload (`tests.support.small_server.bare`).

    What it did at verification and in warm-ups is left out: nothing of that is in the lab's figures either.
    """

    results: Results
    subject: str

    def planted(self, fault: str) -> int:
        """How often it planted a fault during the lab's slices."""
        return sum(
            began_us <= moment_us <= ended_us
            for block in self._blocks
            for began_us, ended_us in self._slices(block)
            for moment_us in self._moments_us(block, fault)
        )

    def service_us(self, connections: int) -> dict[int, Numbers]:
        """Block → microseconds that each answer took.

        The first answer of each connection in a slice is left out, which the lab does not time.
        """
        return {
            block: np.concatenate([part[connections:, 1] for part in self._served(block)])
            for block in self._blocks
        }

    def cpu_us_per_request(self) -> float:
        """CPU time of its loop over the number of its answers."""
        parts = [part[:, 2] for block in self._blocks for part in self._served(block)]
        return float(np.concatenate(parts).mean())

    def measured_us(self) -> dict[int, Numbers]:
        """Block → every latency that the lab measured, in microseconds."""
        histograms = pd.read_parquet(self.results.folder / "histograms.parquet")
        own = histograms[(histograms["subject"] == self.subject) & (histograms["clock"] == "response")]
        return {
            block: np.repeat(part["latency_us"].to_numpy(np.int64), part["count"].to_numpy(np.int64))
            for block in self._blocks
            for part in [own[own["block"] == block]]
        }

    @property
    def _blocks(self) -> list[int]:
        return sorted({int(block) for block in self._own_slices["block"]})

    @property
    def _own_slices(self) -> pd.DataFrame:
        slices = pd.read_parquet(self.results.folder / "slices.parquet")
        return slices[slices["subject"] == self.subject]

    def _slices(self, block: int) -> list[tuple[int, int]]:
        """The beginning and the end of each slice in Unix microseconds, the drain included."""
        slices = self._own_slices
        slices = slices[slices["block"] == block].sort_values("started_unix_ns")
        began_us = slices["started_unix_ns"] // 1000
        ended_us = began_us + (slices["elapsed_s"] * 1e6).astype("int64")
        return list(zip(began_us.tolist(), ended_us.tolist(), strict=True))

    def _served(self, block: int) -> list[Numbers]:
        """For each slice its answers, in the order of their requests: arrival, service time, CPU time."""
        served = np.array([words[1:] for words in self._said(block, "served")], dtype=np.int64)
        served = served[np.argsort(served[:, 0], kind="stable")]
        return [
            served[(served[:, 0] >= began_us) & (served[:, 0] <= ended_us)]
            for began_us, ended_us in self._slices(block)
        ]

    def _moments_us(self, block: int, fault: str) -> list[int]:
        return [int(words[1]) for words in self._said(block, "planted") if words[2] == fault]

    def _said(self, block: int, word: str) -> list[list[str]]:
        log = self.results.folder / "logs" / f"{self.subject}-b{block}.log"
        lines = (line.split() for line in log.read_text().splitlines())
        return [words for words in lines if words and words[0] == word]
