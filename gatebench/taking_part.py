"""Whether a subject can take part in a workload at all. Pure; the plan and the report ask the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gatebench.commands import placeholders

WORKERS_PLACEHOLDER = "{workers}"


def takes_workers(texts: Iterable[str]) -> bool:
    """Whether a command, or what it reads, says how many worker processes there are to be."""
    return any(WORKERS_PLACEHOLDER.strip("{}") in placeholders(text) for text in texts)


def one_process_only(subject_id: str, takes: bool, workers: int) -> str:
    """Why a subject cannot have so many worker processes; empty where it can.

    Measured with one, it would stand beside others that had several, on the same cores.

    Args:
        subject_id: names it.
        takes: whether its command takes a number of worker processes.
        workers: how many every server of the run has.
    """
    if workers == 1 or takes:
        return ""
    return f"{subject_id} runs one worker process only: its command takes no {WORKERS_PLACEHOLDER}"


def why_not(subject_id: str, lacks: Collection[str], takes: bool, exchange: str, workers: int) -> str:
    """Why a subject takes no part in a workload; empty where it does.

    Args:
        subject_id: names it.
        lacks: capabilities that the workload needs and the subject does not declare.
        takes: whether its command takes a number of worker processes.
        exchange: what the workload's WebSockets are for, such as `broadcast`.
        workers: how many worker processes every server of the run has.
    """
    if lacks:
        return f"{subject_id} does not declare {' and '.join(sorted(lacks))}"
    if refused := one_process_only(subject_id, takes, workers):
        return refused
    if exchange == "broadcast" and workers > 1:
        # The contract's broadcast is to the sockets of a process; the load's subscribers are in all of them.
        return f"{subject_id} has {workers} worker processes, and a broadcast stays within one"
    return ""
