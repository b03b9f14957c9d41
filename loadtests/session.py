"""What the Locust users of one process share: the engine, and which connection belongs to whom."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

from locust.env import Environment

from loadtests.engine.fleet import EngineError, Fleet
from loadtests.engine.tally import SliceResult
from loadtests.engine.target import Target
from loadtests.locust_statistics import merge_into

_sessions: WeakKeyDictionary[Environment, LoadSession] = WeakKeyDictionary()


class LoadSession:
    """One engine process and the groups of connections that the users of an environment hold in it.

    Everything that the engine counts is merged into the environment's own Locust statistics.

    Args:
        cpu: the core to pin the engine to, or None.
        on_engine_end: called when the engine process ends before it is told to.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        cpu: int | None = None,
        on_engine_end: Callable[[], None] | None = None,
    ) -> None:
        self._environment = environment
        self._targets: dict[str, Target] = {}
        self._driven: list[str] = []
        self._names = itertools.count()
        self.connections = 0
        self.fleet = Fleet(cpu=cpu, on_report=self.count, on_end=on_engine_end)
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
    def end(environment: Environment) -> None:
        """Ends the session of an environment, if there is one."""
        session = _sessions.pop(environment, None)
        if session is not None:
            session.count_the_rest()
            session.fleet.close()

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
            self.fleet.drive(group)
            self._driven.append(group)
        return self.open(group)

    def open(self, group: str) -> str:
        """Opens one connection in a group that is known already."""
        name = str(next(self._names))
        self.fleet.open(group, name)
        self.connections += 1
        return name

    def leave(self, group: str, name: str) -> None:
        """Closes the connection of a user who stops."""
        self.connections -= 1
        with contextlib.suppress(EngineError):  # an engine that has ended holds no connection
            self.fleet.discard(group, name)

    def count_the_rest(self) -> None:
        """Merges what driven groups counted since their last report."""
        for group in self._driven:
            # An engine that was killed cannot tell; Locust's own figures then lack the last half second.
            with contextlib.suppress(EngineError):
                self.count(group, self.fleet.report(group))

    def count(self, group: str, result: SliceResult) -> None:
        """Merges what the engine counted into Locust's statistics."""
        merge_into(self._environment.stats, self._targets[group], result)
