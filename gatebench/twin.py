"""Chooses the subject that a run measures twice, so that it knows its own noise. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from gatebench.model import Cell, Subject, Workload

LEAST_BLOCKS = 3
"""With fewer, nothing is compared, and there is nothing to know the noise for."""


def choose_twin(
    subjects: Sequence[Subject], workloads: Sequence[Workload], blocks: int, seed: int, workers: int = 1
) -> Subject | None:
    """The same subject once more, under an ID of its own; None where nothing will be compared.

    It is one of those that take part in the most levels, set up as its documentation does; which of them, the
    seed decides, so that over many runs no server's peculiarities pass for the noise of the lab.

    Args:
        subjects: those that can be started.
        workloads: those of the run.
        blocks: how many the run has.
        seed: the run's.
        workers: worker processes of every server.
    """
    if blocks < LEAST_BLOCKS or len(subjects) < 2:
        return None
    levels = {subject.id: _levels(subject, workloads, workers) for subject in subjects}
    most = max(levels.values())
    if not most:
        return None
    able = sorted((each for each in subjects if levels[each.id] == most), key=lambda each: each.id)
    usual = [each for each in able if not each.variant.tuned] or able
    return replace(random.Random(seed).choice(usual), again=True)  # noqa: S311 - a plan, not a secret


def _levels(subject: Subject, workloads: Sequence[Workload], workers: int) -> int:
    """How many levels a subject takes part in."""
    return sum(
        1
        for workload in workloads
        for level in workload.levels
        if not Cell(subject, workload, level).unsupported(workers) and level.has_rate
    )
