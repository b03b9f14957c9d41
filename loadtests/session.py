"""What the Locust users of one process share: the engines, and which connection belongs to whom."""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

import gevent
from gevent.lock import BoundedSemaphore
from locust.env import Environment

from loadtests.distribution.totals import Totals
from loadtests.engine.engine_process import EngineError
from loadtests.engine.fleet import Fleet
from loadtests.engine.tally import SliceResult
from loadtests.engine.target import Target
from loadtests.locust_statistics import merge_into

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
