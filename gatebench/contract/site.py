"""Asks servers whether they keep to the contract, from the machine that they run on.

They may run on another machine than the lab (a remote container engine), where loopback is not the lab's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from gatebench.contract import own
from gatebench.contract.file import load_contract
from gatebench.contract.probe import CLOSE, HttpProbe, NotHttpError, WireError
from gatebench.contract.rules import Contract, Scope
from gatebench.contract.verify import Difference, differences, verify
from gatebench.words.errors import ServerFailure
from gatebench.words.model import Capability, Interface, Request

RETRY_S = 0.02
ATTEMPT_S = 2.0
STARTING = frozenset({502, 503, 504})
"""With these a server, or a proxy in front of it, says that what is behind it is not up yet."""

Outcome = Literal["right", "wrong", "starting", "silent"]

PATIENCE_S: dict[Outcome, float] = {"wrong": 2.0, "starting": 10.0}
"""How long the same is heard, without anything else in between, until it is taken to stay so.

Some servers answer with an error until their workers are up; one that still does then is up, and differs.
"""

LEAST_TIMES = 3
"""However long a look takes, so often the same is heard before it is taken to stay so."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of asking a server for `GET /`, or for the first of the routes that it declares.

    Attributes:
        outcome: `right`: the contract's answer; `wrong`: another one, or bytes that are no HTTP; `starting`:
            the server says that it is not up yet; `silent`: no connection, or no whole answer in time.
        text: what was wrong, for a person; empty where it is right.
    """

    outcome: Outcome
    text: str = ""


class Listening:
    """What one server has been heard to say, in the order of time."""

    def __init__(self) -> None:
        self._outcome: Outcome = "silent"
        self._since_s = 0.0
        self._times = 0
        self._answer = ""
        self._last = "nothing was tried"

    def hear(self, heard: Heard, now_s: float) -> None:
        """Takes note of what came of asking at that moment, of `time.monotonic`."""
        if heard.outcome != self._outcome:
            self._outcome, self._since_s, self._times = heard.outcome, now_s, 0
        self._times += 1
        self._last = heard.text
        if heard.outcome != "silent":
            self._answer = heard.text

    def is_settled(self, now_s: float) -> bool:
        """Whether the server is up and has answered wrongly for so long that waiting will not change it."""
        patience_s = PATIENCE_S.get(self._outcome)
        long_enough = patience_s is not None and now_s - self._since_s >= patience_s
        return long_enough and self._times >= LEAST_TIMES

    @property
    def reason(self) -> str:
        """Why it is not ready: what came last and, where that is no answer, the last answer before it."""
        if self._outcome == "silent" and self._answer:
            return f"{self._last}; before that, {self._answer}"
        return self._last


def ask_once(host: str, port: int, contract: Contract, request: Request | None = None) -> Heard:
    """What comes of asking for the contract's first case, or that request, now, within `ATTEMPT_S`."""
    if request is not None:
        return _ask_own(host, port, request)
    case = contract.first
    send = case.send.make()
    try:
        with HttpProbe(host, port, ATTEMPT_S) as probe:
            received = probe.ask(case.method, case.target, send, headers=CLOSE)
    except NotHttpError as error:
        return Heard("wrong", f"{case.name}: {error}")
    except WireError as error:
        return Heard("silent", f"{case.name}: {error}")
    answer = contract.answer(case.method, case.target, send)
    found = differences(case.name, case.method, answer, received)
    if not found:
        return Heard("right")
    return Heard("starting" if received.status in STARTING else "wrong", "\n".join(map(str, found)))


def _ask_own(host: str, port: int, request: Request) -> Heard:
    try:
        found = own.ask_right(host, port, request, ATTEMPT_S)
    except NotHttpError as error:
        return Heard("wrong", f"{request.name}: {error}")
    except WireError as error:
        return Heard("silent", f"{request.name}: {error}")
    if not found:
        return Heard("right")
    starting = any(each.aspect == "status" and each.got[:3] in map(str, STARTING) for each in found)
    return Heard("starting" if starting else "wrong", "\n".join(map(str, found)))


def ask_until_right(
    host: str, port: int, contract: Contract, within_s: float, request: Request | None = None
) -> Heard:
    """Asks for `GET /`, or that request, again and again until it is right; what came last.

    Args:
        host: where the server will listen.
        port: where the server will listen.
        contract: what is held to.
        within_s: after so many seconds no other attempt begins; the last one is not cut short.
        request: what is asked instead, and says itself what must come back.
    """
    end_s = time.monotonic() + within_s
    while (heard := ask_once(host, port, contract, request)).outcome != "right" and time.monotonic() < end_s:
        time.sleep(RETRY_S)
    return heard


def wait_until_accepting(
    host: str,
    port: int,
    *,
    deadline_s: float,
    alive: Callable[[], bool],
    contract: Contract | None = None,
) -> None:
    """Return as soon as `GET /` gets the answer of the contract: ready means correct.

    Args:
        host: where the server will listen.
        port: where the server will listen.
        deadline_s: how long that may take, in seconds.
        alive: whether the server's process still runs.
        contract: what is held to; the project's own by default.

    Raises:
        ServerFailure: with the code `start`: the process ended, or the time is up; with `contract`: it goes
            on to answer something else. It says what came last.
    """
    contract = contract or load_contract()
    end_s = time.monotonic() + deadline_s
    listening = Listening()
    while True:
        heard = ask_once(host, port, contract)
        if heard.outcome == "right":
            return
        now_s = time.monotonic()
        listening.hear(heard, now_s)
        if not alive():
            raise ServerFailure("start", f"the server ended before it was ready; last: {listening.reason}")
        if listening.is_settled(now_s):
            raise ServerFailure("contract", listening.reason)
        if now_s >= end_s:
            why = f"the server was not ready within {deadline_s:g} s; last: {listening.reason}"
            raise ServerFailure("start", why)
        time.sleep(RETRY_S)


VERIFY_THREADS = max(4, os.cpu_count() or 1)
"""Most of a verification is waiting, so that four at once are not too many for one core."""
MOST_FETCHED_BYTES = 256 * 1024

_T = TypeVar("_T")
_Asked = TypeVar("_Asked")
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Check:
    """A server that is to be held to the contract, what it declares, and how many worker processes it has.

    Attributes:
        scope: the part of the contract that it is held to; None for all of it.
        routes: what its application declares, and all that it is held to; None for the whole contract.
        asks: requests of which the workloads themselves say, or learn, what must come back.
    """

    host: str
    port: int
    interface: Interface
    supports: frozenset[Capability]
    workers: int = 1
    scope: Scope | None = None
    routes: frozenset[str] | None = None
    asks: tuple[Request, ...] = ()

    def part_of(self, contract: Contract) -> Contract:
        """What of the contract is asked."""
        declared = contract.declared(self.routes)
        return declared if self.scope is None else declared.within(self.scope)

    def first(self, contract: Contract) -> Request | None:
        """What is asked until the server is ready, where that is no route of the contract."""
        return self.asks[0] if self.asks and not self.part_of(contract).cases else None


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

    def listen(self, checks: Sequence[Check], *, timeout_s: float) -> list[list[tuple[own.Told, ...]]]:
        """For each server and each of the requests that it is asked, its different answers."""


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

    def listen(self, checks: Sequence[Check], *, timeout_s: float) -> list[list[tuple[own.Told, ...]]]:
        """For each server and each of the requests that it is asked, its different answers."""
        return listen_all(checks, timeout_s=timeout_s)


def ready(checks: Sequence[Check], contract: Contract, within_s: float) -> list[Heard]:
    """As `Site.ready`, from this machine; all servers are asked at once."""
    return _at_once(
        lambda check: ask_until_right(
            check.host, check.port, contract.declared(check.routes), within_s, check.first(contract)
        ),
        checks,
        threads=len(checks),
    )


def verify_all(
    checks: Sequence[Check], contract: Contract, *, thorough: bool, timeout_s: float
) -> list[tuple[Difference, ...]]:
    """As `Site.verify`, from this machine."""

    def differences_of(check: Check) -> tuple[Difference, ...]:
        of_contract = verify(
            check.interface,
            check.supports,
            check.host,
            check.port,
            check.part_of(contract),
            thorough=thorough,
            timeout_s=timeout_s,
            workers=check.workers,
        )
        return (*of_contract, *_own_differences(check, timeout_s))

    return _at_once(differences_of, checks, threads=VERIFY_THREADS)


def _own_differences(check: Check, timeout_s: float) -> tuple[Difference, ...]:
    """Every difference from what workloads say of their answers, each once however often it came."""
    heard = zip(check.asks, _listen(check, timeout_s), strict=True)
    return tuple(
        dict.fromkeys(
            each for request, several in heard for told in several for each in own.differences(request, told)
        )
    )


def _listen(check: Check, timeout_s: float) -> list[tuple[own.Told, ...]]:
    keeps = "keep-alive" in check.supports
    return [
        own.ask_for(check.host, check.port, each, keeps=keeps, timeout_s=timeout_s) for each in check.asks
    ]


def listen_all(checks: Sequence[Check], *, timeout_s: float) -> list[list[tuple[own.Told, ...]]]:
    """As `Site.listen`, from this machine."""
    return _at_once(lambda check: _listen(check, timeout_s), checks, threads=VERIFY_THREADS)


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
