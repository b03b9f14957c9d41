"""Records what servers were seen to run with, and refuses those that run on something else than asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from gatebench.contract.site import Site
from gatebench.results.record import Record
from gatebench.runners.base import Instance
from gatebench.runners.readiness import NOT_AS_ASKED, failed, look, observed
from gatebench.words.errors import ServerFailure


def look_at(
    instances: Sequence[Instance], site: Site, record: Record, block: int, *, asks_interfaces: bool
) -> list[tuple[Instance, ServerFailure]]:
    """Records what servers run with before their load.

    Args:
        instances: of a block, each of which keeps the contract.
        site: asks them.
        record: gets an event a server.
        block: its number.
        asks_interfaces: records with that what every server hands the application.

    Returns:
        Those that run on something else than their variant asks for, and on what.
    """
    differing = []
    for seen in look(instances, site):
        subject = seen.instance.subject.id
        if seen.handed is not None and asks_interfaces:
            event = {key: value for key, value in asdict(seen.handed).items() if key != "process"}
            record.event("interface", block=block, **event)
        record.event("observed", block=block, subject=subject, **seen.observed.to_json())
        if seen.wrong:
            differing.append((seen.instance, failed(seen.instance, NOT_AS_ASKED, seen.wrong)))
    return differing


def look_again(instances: Sequence[Instance], record: Record, block: int) -> None:
    """Records the processes and threads that servers have after their load: some start more under it."""
    for instance in instances:
        if not instance.subject.responder:
            found = observed(None, instance.composition())
            record.event("observed", block=block, subject=instance.subject.id, **found.to_json())
