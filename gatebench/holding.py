"""Waits until servers answer, and holds them to the contract before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gatebench.contract import Contract
from gatebench.errors import ServerFailure
from gatebench.runner import Instance
from gatebench.verify import Difference, verify, wait_until_accepting

READY_TIMEOUT_S = 30.0
CASE_TIMEOUT_S = 10.0
VERIFY_THREADS = 4


def describe(differences: Sequence[Difference]) -> str:
    """Every difference from the contract, a line each."""
    return "\n".join(
        f"{each.case}: {each.aspect}: expected {each.expected}, got {each.got}" for each in differences
    )


def hold_to_contract(instance: Instance, contract: Contract, *, thorough: bool) -> None:
    """Waits until a server answers, and holds it to the contract.

    Raises:
        ServerFailure: it never got ready, ended, or differs from the contract; with its last log lines.
    """
    variant = instance.subject.variant
    try:
        wait_until_accepting(
            instance.host,
            instance.port,
            deadline_s=READY_TIMEOUT_S,
            alive=lambda: not instance.fault(),
        )
    except ServerFailure as failure:
        raise failed(
            instance, failure.code, "\n".join(filter(None, (failure.text, instance.fault())))
        ) from failure
    differences = verify(
        variant.interface,
        variant.supports,
        instance.host,
        instance.port,
        contract,
        thorough=thorough,
        timeout_s=CASE_TIMEOUT_S,
    )
    # First of all whether it is this server that answered: a port can be somebody else's by now.
    if fault := instance.fault():
        raise failed(instance, "died", fault)
    if differences:
        raise failed(instance, "contract", describe(differences))
    instance.settle()


def hold_all_to_contract(
    instances: Sequence[Instance], contract: Contract, *, thorough: bool
) -> list[tuple[Instance, ServerFailure]]:
    """Holds several servers to the contract at the same time; returns those that fail."""
    pool = ThreadPoolExecutor(VERIFY_THREADS)
    try:
        checks = [
            (instance, pool.submit(hold_to_contract, instance, contract, thorough=thorough))
            for instance in instances
        ]
        failures = []
        for instance, check in checks:
            error = check.exception()
            if isinstance(error, ServerFailure):
                failures.append((instance, error))
            elif error is not None:
                raise error
        return failures
    finally:
        # After an interruption nobody waits for the checks: they fail when their servers are ended.
        pool.shutdown(wait=False, cancel_futures=True)


def failed(instance: Instance, code: str, text: str) -> ServerFailure:
    """A failure with the server's last lines below it."""
    tail = instance.log_tail()
    return ServerFailure(code, f"{text}\nlast lines of {instance.log.name}:\n{tail}" if tail else text)
