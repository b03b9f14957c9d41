"""`gatebench verify`: starts each subject and holds it to the whole contract; differences as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gatebench.backend import Backend
from gatebench.errors import ServerFailure
from gatebench.holding import hold_all_to_contract
from gatebench.model import Subject
from gatebench.runner import Instance, Launch
from gatebench.selection import LoadOptions


def check_subjects(
    subjects: Sequence[Subject], backend: Backend, scratch: Path, console: Console, *, named: bool
) -> bool:
    """Checks all subjects and prints a table.

    One that cannot have the backend's number of worker processes is not started.

    Args:
        subjects: which.
        backend: what starts them.
        scratch: folder for their logs.
        console: to print on.
        named: a person asked for these, so that each must be there to be checked.

    Returns:
        Whether every one that was checked holds, and all that had to be were checked: at least one.
    """
    table = Table(title="contract", title_justify="left")
    for column in ("subject", "verdict", "differences"):
        table.add_column(column, overflow="fold")
    failures: dict[str, ServerFailure] = {}
    readiness = backend.prepare(subjects)
    unsupported = {subject.id: subject.one_process_only(backend.budget.workers) for subject in subjects}
    ready = [each for each in subjects if not readiness[each.id].reason and not unsupported[each.id]]
    with backend.open(scratch, LoadOptions()) as ground:
        launches = [Launch(subject, scratch / f"{subject.id}.log", hash_seed=0) for subject in ready]
        instances: list[Instance] = []
        for subject, started in zip(ready, ground.runner.start(launches), strict=True):
            if isinstance(started, ServerFailure):
                failures[subject.id] = started
            else:
                instances.append(started)
        try:
            differing = hold_all_to_contract(instances, ground.site, thorough=True)
            failures |= {instance.subject.id: failure for instance, failure in differing}
        finally:
            ground.runner.stop(instances)
    for subject in subjects:
        if reason := unsupported[subject.id]:
            table.add_row(subject.id, "unsupported", escape(reason))
        elif reason := readiness[subject.id].reason:
            table.add_row(subject.id, "unavailable", escape(reason))
        elif subject.id in failures:
            found = failures[subject.id]
            table.add_row(
                subject.id, "differs" if found.code == "contract" else found.code, escape(found.text)
            )
        else:
            table.add_row(subject.id, "holds", "")
    console.print(table)
    unchecked = named and any(readiness[each.id].reason for each in subjects)
    return bool(ready) and not failures and not unchecked
