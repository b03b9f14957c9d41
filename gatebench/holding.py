"""Waits until servers answer, and holds them to the contract before anything is measured."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gatebench import resting
from gatebench.errors import ServerFailure
from gatebench.readiness import Listening
from gatebench.runner import Instance
from gatebench.site import Check, Site
from gatebench.verify import Difference

READY_TIMEOUT_S = 30.0
READY_STEP_S = 0.5
"""Between two looks at whether the servers that do not answer yet are still alive."""
CASE_TIMEOUT_S = 10.0


def describe(differences: Sequence[Difference]) -> str:
    """Every difference from the contract, a line each."""
    return "\n".join(
        f"{each.case}: {each.aspect}: expected {each.expected}, got {each.got}" for each in differences
    )


def hold_to_contract(instance: Instance, site: Site, *, thorough: bool) -> None:
    """Waits until a server answers, and holds it to the contract.

    Raises:
        ServerFailure: it never got ready, ended, or differs from the contract; with its last log lines.
    """
    for _, failure in hold_all_to_contract([instance], site, thorough=thorough):
        raise failure


def hold_all_to_contract(
    instances: Sequence[Instance], site: Site, *, thorough: bool
) -> list[tuple[Instance, ServerFailure]]:
    """Holds several servers to the contract at the same time; returns those that fail."""
    answering, failures = _wait_until_ready(instances, site)
    differences = site.verify(
        [_check(each) for each in answering], thorough=thorough, timeout_s=CASE_TIMEOUT_S
    )
    restless = resting.await_rest([each for each in answering if each.workers > 1])
    for instance, found in zip(answering, differences, strict=True):
        # First of all whether it is this server that answered: a port can be somebody else's by now.
        if fault := instance.fault():
            failures.append((instance, failed(instance, "died", fault)))
        elif found:
            failures.append((instance, failed(instance, "contract", describe(found))))
        elif instance in restless:
            why = (
                f"the server did not come to rest within {resting.TIMEOUT_S:g} s of its first answers, so it "
                f"is not known whether all of its {instance.workers} worker processes serve"
            )
            failures.append((instance, failed(instance, "start", why)))
        else:
            instance.settle()
    return failures


def _wait_until_ready(
    instances: Sequence[Instance], site: Site
) -> tuple[list[Instance], list[tuple[Instance, ServerFailure]]]:
    """The servers that answer, and why the others do not.

    One that answers wrongly and goes on to is up: its differences are all told, not only those of `GET /`.
    """
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    answering: list[Instance] = []
    failures: list[tuple[Instance, ServerFailure]] = []
    waiting = [(instance, Listening()) for instance in instances]
    while waiting:
        in_time = time.monotonic() < deadline_s
        still = []
        heard = site.ready([_check(instance) for instance, _ in waiting], READY_STEP_S)
        now_s = time.monotonic()
        for (instance, listening), last in zip(waiting, heard, strict=True):
            listening.hear(last, now_s)
            if last.outcome == "right" or listening.is_settled(now_s):
                answering.append(instance)
            elif fault := instance.fault():
                why = f"the server ended before it was ready; last: {listening.reason}\n{fault}"
                failures.append((instance, failed(instance, "start", why)))
            elif in_time:
                still.append((instance, listening))
            else:
                why = f"the server was not ready within {READY_TIMEOUT_S:g} s; last: {listening.reason}"
                failures.append((instance, failed(instance, "start", why)))
        waiting = still
    return answering, failures


def _check(instance: Instance) -> Check:
    variant = instance.subject.variant
    return Check(instance.host, instance.port, variant.interface, variant.supports, instance.workers)


def failed(instance: Instance, code: str, text: str) -> ServerFailure:
    """A failure with the server's last lines below it."""
    tail = instance.log_tail()
    return ServerFailure(code, f"{text}\nlast lines of {instance.log.name}:\n{tail}" if tail else text)
