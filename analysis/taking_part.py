"""Whether a subject of a run took part in a workload, as `run.json` tells of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebench.words.model import why_not

if TYPE_CHECKING:
    from analysis.meta import RunMeta, SubjectMeta, WorkloadMeta


def why_unsupported(meta: RunMeta, subject: SubjectMeta, workload: WorkloadMeta) -> str:
    """Why the subject takes no part in the workload by its nature; empty where it does."""
    lacks, takes = workload.needs - subject.supports, subject.takes_workers
    return why_not(subject.id, lacks, takes, workload.exchange, meta.workers)
