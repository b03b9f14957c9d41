"""What the repository's folders register, and every cell of it that can be measured."""

from __future__ import annotations

from gatebench.registry.registry import load_registry
from gatebench.words.model import Cell, Subject
from gatebench.words.paths import ROOT

REGISTRY = load_registry(ROOT)
SUBJECTS: tuple[Subject, ...] = tuple(each for each in REGISTRY.subjects() if each.variant.selected)
CELLS = [
    cell
    for workload in REGISTRY.workloads.values()
    for level in workload.levels
    for subject in SUBJECTS
    if not (cell := Cell(subject, workload, level)).unsupported()
]
