"""`gatebench verify`: starts each subject and holds it to the whole contract; differences as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gatebench.contract import load_contract
from gatebench.cores import Cores
from gatebench.errors import ServerFailure
from gatebench.holding import hold_all_to_contract
from gatebench.model import Subject
from gatebench.runner import Instance
from gatebench.runner_process import process_runner


def check_subjects(subjects: Sequence[Subject], *, cores: Cores, cache: Path, console: Console) -> bool:
    """Checks all subjects and prints a table; returns whether every one that could be started holds."""
    contract = load_contract()
    table = Table(title="contract", title_justify="left")
    for column in ("subject", "verdict", "differences"):
        table.add_column(column, overflow="fold")
    failures: dict[str, ServerFailure] = {}
    with process_runner(cores=cores, cache=cache, console=console) as (runner, scratch):
        readiness = runner.prepare(subjects)
        instances: list[Instance] = []
        for subject in subjects:
            if readiness[subject.id].reason:
                continue
            try:
                instances.append(runner.start(subject, log=scratch / f"{subject.id}.log", hash_seed=0))
            except ServerFailure as failure:
                failures[subject.id] = failure
        differing = hold_all_to_contract(instances, contract, thorough=True)
        failures |= {instance.subject.id: failure for instance, failure in differing}
        for instance in instances:
            instance.begin_stop()
        for instance in instances:
            instance.finish_stop()
    for subject in subjects:
        if reason := readiness[subject.id].reason:
            table.add_row(subject.id, "unavailable", escape(reason))
        elif subject.id in failures:
            found = failures[subject.id]
            table.add_row(
                subject.id, "differs" if found.code == "contract" else found.code, escape(found.text)
            )
        else:
            table.add_row(subject.id, "holds", "")
    console.print(table)
    return not failures
