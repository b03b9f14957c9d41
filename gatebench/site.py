"""Asks servers whether they keep to the contract, from the machine that they run on.

They may run on another machine than the lab (a remote container engine), where loopback is not the lab's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gatebench.contract import Contract
from gatebench.model import Capability, Interface
from gatebench.readiness import Heard, ask_until_right
from gatebench.verify import Difference, verify
from gatebench.wire import HttpProbe, WireError

VERIFY_THREADS = 4
MOST_FETCHED_BYTES = 256 * 1024

_T = TypeVar("_T")
_Asked = TypeVar("_Asked")
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Check:
    """A server that is to be held to the contract, what it declares, and how many worker processes it has."""

    host: str
    port: int
    interface: Interface
    supports: frozenset[Capability]
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to a GET.

    Attributes:
        error: empty, or why there is no answer; `status` is 0 then.
    """

    status: int
    body: bytes
    error: str = ""


class Site(Protocol):
    """Asks from beside the servers."""

    def ready(self, checks: Sequence[Check], within_s: float) -> list[Heard]:
        """For each server, what came of asking `GET /` until it is right, or for that long."""

    def verify(
        self, checks: Sequence[Check], *, thorough: bool, timeout_s: float
    ) -> list[tuple[Difference, ...]]:
        """For each server, every difference from the contract."""

    def fetch(self, addresses: Sequence[Address], target: str, *, timeout_s: float) -> list[Fetched]:
        """For each server, its answer to one GET, which has at most 256 KiB."""


class LocalSite:
    """This machine."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    def ready(self, checks: Sequence[Check], within_s: float) -> list[Heard]:
        """For each server, what came of asking `GET /` until it is right, or for that long."""
        return ready(checks, self._contract, within_s)

    def verify(
        self, checks: Sequence[Check], *, thorough: bool, timeout_s: float
    ) -> list[tuple[Difference, ...]]:
        """For each server, every difference from the contract."""
        return verify_all(checks, self._contract, thorough=thorough, timeout_s=timeout_s)

    def fetch(self, addresses: Sequence[Address], target: str, *, timeout_s: float) -> list[Fetched]:
        """For each server, its answer to one GET, which has at most 256 KiB."""
        return fetch_all(addresses, target, timeout_s=timeout_s)


def ready(checks: Sequence[Check], contract: Contract, within_s: float) -> list[Heard]:
    """As `Site.ready`, from this machine; all servers are asked at once."""
    return _at_once(
        lambda check: ask_until_right(check.host, check.port, contract, within_s), checks, threads=len(checks)
    )


def verify_all(
    checks: Sequence[Check], contract: Contract, *, thorough: bool, timeout_s: float
) -> list[tuple[Difference, ...]]:
    """As `Site.verify`, from this machine."""

    def differences_of(check: Check) -> tuple[Difference, ...]:
        return verify(
            check.interface,
            check.supports,
            check.host,
            check.port,
            contract,
            thorough=thorough,
            timeout_s=timeout_s,
            workers=check.workers,
        )

    return _at_once(differences_of, checks, threads=VERIFY_THREADS)


def fetch_all(addresses: Sequence[Address], target: str, *, timeout_s: float) -> list[Fetched]:
    """As `Site.fetch`, from this machine."""
    return _at_once(
        lambda address: _fetch(address, target, timeout_s=timeout_s), addresses, threads=VERIFY_THREADS
    )


def _fetch(address: Address, target: str, *, timeout_s: float) -> Fetched:
    try:
        with HttpProbe(*address, timeout_s) as probe:
            answer = probe.ask("GET", target)
    except WireError as error:
        return Fetched(0, b"", str(error))
    if len(answer.body) > MOST_FETCHED_BYTES:
        return Fetched(0, b"", f"{target} was answered with {len(answer.body):,} bytes")
    return Fetched(answer.status, answer.body)


def _at_once(call: Callable[[_Asked], _T], asked: Sequence[_Asked], *, threads: int) -> list[_T]:
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        return list(pool.map(call, asked))
    finally:
        # After an interruption nobody waits for the checks: they fail when their servers are ended.
        pool.shutdown(wait=False, cancel_futures=True)
