"""Locust users whose connections the load engine drives, and their place in Locust's statistics."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import gevent
from gevent.lock import BoundedSemaphore
from locust import User, task
from locust.env import Environment
from locust.stats import RequestStats, StatsEntry, StatsError

from loadtests.engine.fleet import EngineError, Fleet
from loadtests.engine.protocol import Target, Transport
from loadtests.engine.tally import SliceResult
from loadtests.swarm.totals import Totals

NEW_CONNECTION = " (new connection)"
"""Ends the name of a row whose requests open a connection each: two different figures are not one row."""
DIGITS = 3


def merge_into(stats: RequestStats, target: Target, result: SliceResult) -> None:
    """Adds one result to the entry of its target and to Locust's total.

    Locust keeps response times as a dictionary from milliseconds to counts, and rounds what it measures
    itself to whole ones; a fast server's would all be 0. Here they have three digits; the minimum, the
    maximum and the sum are exact. The lab's own results keep all microseconds.
    """
    method = "WS" if target.transport == "websocket" else target.method
    name = target.path + (NEW_CONNECTION if target.transport == "close" else "")
    batch = _entry(stats, name, method, result)
    # Locust's own events for each single request would cost more than the request.
    stats.get(name, method).extend(batch)
    stats.total.extend(batch)
    for kind, count in result.failures.items():
        if count:
            text = f"{kind}: {result.examples.get(kind, '')}"
            key = StatsError.create_key(method, name, text)
            error = stats.errors.setdefault(key, StatsError(method, name, text))
            error.occurrences += count


def rounded_ms(latency_us: int) -> float:
    """Microseconds as milliseconds with three digits, so that a power of ten has 900 keys at most."""
    surplus = max(len(str(latency_us)) - DIGITS, 0)
    return round(latency_us, -surplus) / 1000


def _entry(stats: RequestStats, name: str, method: str, result: SliceResult) -> StatsEntry:
    entry = StatsEntry(stats, name, method)
    now = time.time()
    failures = sum(result.failures.values())
    answers = result.completed + result.drained
    timed = sum(result.histogram.values())
    entry.num_requests = answers + failures
    entry.num_failures = failures
    # The first request of a connection in a slice is counted but not timed.
    entry.num_none_requests = entry.num_requests - timed
    # Locust declares integers; the sums and the extremes that it keeps itself are fractions, too.
    entry.total_response_time = cast("int", sum(us * count for us, count in result.histogram.items()) / 1000)
    response_times = cast("dict[float, int]", entry.response_times)
    for latency_us, count in result.histogram.items():
        response_times[rounded_ms(latency_us)] += count
    if result.histogram:
        entry.min_response_time = cast("int", min(result.histogram) / 1000)
        entry.max_response_time = cast("int", max(result.histogram) / 1000)
    entry.total_content_length = result.bytes_received
    entry.last_request_timestamp = now
    entry.num_reqs_per_sec[int(now)] = entry.num_requests
    if failures:
        entry.num_fail_per_sec[int(now)] = failures
    return entry


APART_S = 0.002
"""A worker of the slowest server here has taken a connection after a third of it."""

_sessions: WeakKeyDictionary[Environment, LoadSession] = WeakKeyDictionary()


class LoadSession:
    """The engine processes and the groups of connections that the users of an environment hold in them.

    Everything that the engines count is merged into the environment's own Locust statistics, and what they
    count without an end is kept exactly in `totals`.

    Args:
        cpus: the core that each engine is pinned to, or None for one that is not.
        on_engine_end: called when an engine process ends before it is told to.
        lasting: whether the session outlives Locust's tests, as a lab's does.

    Attributes:
        fault: empty, or why `totals` lack something.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        cpus: Sequence[int | None] = (None,),
        on_engine_end: Callable[[], None] | None = None,
        lasting: bool = False,
    ) -> None:
        self._environment = environment
        self._targets: dict[str, Target] = {}
        self._driven: list[str] = []
        self._names = itertools.count()
        self._held: set[tuple[str, str]] = set()
        self._openings: defaultdict[str, BoundedSemaphore] = defaultdict(BoundedSemaphore)
        self.lasting = lasting
        self.totals = Totals()
        self.fault = ""
        self._on_engine_end = on_engine_end
        self.fleet = Fleet(cpus, on_report=self._add, on_end=self._lose)
        _sessions[environment] = self

    @staticmethod
    def of(environment: Environment) -> LoadSession:
        """The session of an environment, started with its first user."""
        return _sessions.get(environment) or LoadSession(environment)

    @staticmethod
    def existing(environment: Environment) -> LoadSession | None:
        """The session of an environment, if it has begun and not ended."""
        return _sessions.get(environment)

    @staticmethod
    def end(environment: Environment) -> LoadSession | None:
        """Ends the session of an environment, if there is one, and returns it."""
        session = _sessions.pop(environment, None)
        if session is not None:
            session.release()  # from here on nothing is answered that nobody counts
            session.count_the_rest()
            session.fleet.close()
        return session

    @property
    def connections(self) -> int:
        """How many users hold a connection."""
        return len(self._held)

    def declare(self, groups: Mapping[str, Target]) -> None:
        """Makes known the groups that are to be driven in slices."""
        for group, target in groups.items():
            self._targets[group] = target
            self.fleet.add_group(group, target)

    def withdraw(self) -> None:
        """Closes every group."""
        for group in self._targets:
            self.fleet.remove_group(group)
        self._targets.clear()

    def join(self, group: str, target: Target) -> str:
        """Opens one connection for one user and returns its name.

        A group that was not declared before is driven from now on, without an end.
        """
        if group not in self._targets:
            self._targets[group] = target
            self.fleet.add_group(group, target, endless=True)
            self.totals.begin(group)
            self.fleet.drive(group)
            self._driven.append(group)
        return self.open(group)

    def open(self, group: str) -> str:
        """Opens one connection in a group that is known already."""
        name = str(next(self._names))
        self.fleet.open(group, name)
        self._held.add((group, name))
        return name

    def open_apart(self, group: str) -> str:
        """As `open`, but connected at once, and a moment after the group's last one.

        Worker processes that wait at the same socket divide what comes one by one. Of a burst, the one that
        looks first may take all, and keeps it as long as the connections stay.
        """
        with self._openings[group]:
            name = self.open(group)
            self.fleet.prepare(group)
            gevent.sleep(APART_S)
        return name

    def leave(self, group: str, name: str) -> None:
        """Closes the connection of a user who stops."""
        self._held.discard((group, name))
        with contextlib.suppress(EngineError):  # an engine that has ended holds no connection
            self.fleet.discard(group, name)

    def release(self) -> None:
        """Closes the connections of users who have not stopped."""
        for group, name in tuple(self._held):
            self.leave(group, name)

    def count_the_rest(self) -> None:
        """Adds what driven groups counted since their last report."""
        for group in self._driven:
            try:
                self._add(group, self.fleet.report(group))
            except EngineError as error:
                # An engine that was killed cannot tell; the figures then lack its last half second.
                self.fault = str(error)

    def count(self, group: str, result: SliceResult) -> None:
        """Merges what the engines counted into Locust's statistics."""
        merge_into(self._environment.stats, self._targets[group], result)

    def _lose(self) -> None:
        """An engine has ended; also one that held no connection yet leaves load out of the totals."""
        self.fault = self.fault or "the load engine ended before it was told to"
        if self._on_engine_end is not None:
            self._on_engine_end()

    def _add(self, group: str, result: SliceResult) -> None:
        self.totals.add(group, result)
        self.count(group, result)


HOLD_S = 3600.0
CONNECT_S = 2.0
DEFAULT_PORT = 80


class FleetUser(User):
    """Holds one connection for as long as Locust runs this user.

    Attributes:
        transport: what the connection does after each answer.
        group: name of the connections that are driven together; by default, class and host.
        shares: worker → how many of these users a lab wants there.
        apart: whether connections are opened one by one, for a server with several worker processes.
    """

    abstract = True
    transport: Transport = "keep-alive"
    group: str = ""
    shares: Mapping[str, int] = MappingProxyType({})
    apart: bool = False

    def on_start(self) -> None:
        """Opens the connection."""
        self._load = LoadSession.of(self.environment)
        self._cell = self.group or f"{type(self).__name__} {self.host}"
        self._slot = self.join(self._load, self._cell)

    def on_stop(self) -> None:
        """Closes the connection."""
        self._load.leave(self._cell, self._slot)

    @task
    def hold(self) -> None:
        """Leaves the work to the engine."""
        gevent.sleep(HOLD_S)

    def join(self, session: LoadSession, group: str) -> str:
        """Opens this user's connection in its group, which is known already; returns its name."""
        return session.open_apart(group) if self.apart else session.open(group)


@dataclass(frozen=True, slots=True)
class Site:
    """What `--host` names.

    Attributes:
        host: a name or an address, an IPv6 one without brackets.
        prefix: of every path there, such as `/api`; empty without one.
        authority: host and port as they were written.
    """

    host: str
    port: int
    prefix: str
    authority: str

    def address(self) -> str:
        """The address to connect to: of a name with several, the first that accepts a connection now.

        A name that has none, or at which nobody listens yet, stands for itself.
        """
        with _looking:  # each user asks, and one look is enough
            if self not in _addresses:
                found = _resolved(self.host, self.port)
                chosen = found[0] if len(found) == 1 else next(filter(_accepts, found), None)
                if chosen is None:
                    return self.host
                _addresses[self] = chosen[0]
            return _addresses[self]


_looking = threading.Lock()
_addresses: dict[Site, str] = {}
"""Where a site was found: every user of it goes to the same server."""


def parse_host(text: str | None) -> Site:
    """`http://127.0.0.1:8000/api/` → the site at that address, with the prefix `/api`.

    Raises:
        ValueError: there is no host, it is not plain HTTP, or it says more than where the server is.
    """
    given = f"the host {text!r} (--host)"
    form = (
        "it must be given as http://ADDRESS:PORT, with a path that goes before every route where there is one"
    )
    try:
        parts = urlsplit(text or "")
        port = parts.port
    except ValueError as error:  # a port beyond 65535, or brackets without an IPv6 address
        raise ValueError(f"{given}: {error}; {form}") from error
    if parts.scheme == "https":
        raise ValueError(f"{given}: TLS is not spoken here; name the server's plain HTTP port. {form}")
    if parts.scheme not in {"http", "ws"} or not parts.hostname or port == 0:
        raise ValueError(f"{given}: {form}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{given}: a user name, a query or a fragment would be left out; {form}")
    prefix = parts.path.rstrip("/")
    if not prefix.isascii() or " " in prefix:
        raise ValueError(f"{given}: its path must be percent-encoded")
    return Site(parts.hostname, port or DEFAULT_PORT, prefix, parts.netloc)


def _resolved(host: str, port: int) -> list[tuple[str, int]]:
    """Every address of a host, each once, in the order in which they are to be tried."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys((str(address[0]), int(address[1])) for *_, address in found))


def _accepts(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=CONNECT_S):
            return True
    except OSError:
        return False
