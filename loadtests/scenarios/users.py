"""The users of a Locust file: how they begin, live and take turns, and how Locust tells of what they do."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import gevent
from gevent.event import Event
from locust import TaskSet, User
from locust.clients import HttpSession
from locust.contrib.fasthttp import FastHttpSession
from locust.exception import StopTest, StopUser

from loadtests.scenarios.sockets import Contact, install

if TYPE_CHECKING:
    from loadtests.scenarios.requests import Requests


_KEY = "gatebench-member"
ENDLESS_ACTS = 20
ENDLESS_S = 1.0
"""A user who has done so much, for so long, in its first task is taken not to end it."""


@dataclass(eq=False, slots=True)
class Member:
    """One user.

    Attributes:
        user_class: the name of its class.
        requests: those of its scenario.
        may_begin: set when it is its turn to start.
        begun_ns: when its first task began; 0 before.
        turn_ns: when its present turn did.
        answers, acts: of its present turn: correct answers that count, and whatever was judged.
        tasks: tasks that it began.
        turns: turns with something in them that it ended.
        first_turn_s: how long the first of them took.
        ended: why it ended of itself; empty while it lives.
        contacts: what each of its greenlets has touched since its last event, requests of clients aside.
    """

    user_class: str
    requests: Requests
    may_begin: Event = field(default_factory=Event)
    begun_ns: int = 0
    turn_ns: int = 0
    answers: int = 0
    acts: int = 0
    tasks: int = 0
    turns: int = 0
    first_turn_s: float = 0.0
    ended: str = ""
    contacts: WeakKeyDictionary[Any, Contact] = field(default_factory=WeakKeyDictionary)

    def begins_task(self) -> None:
        """A turn ends where the next task begins."""
        self.tasks += 1
        self._turn()

    def acted(self, *, counts: bool) -> None:
        """One request of it was judged."""
        self.acts += 1
        self.answers += counts
        endless = self.tasks <= 1 and self.acts + self.turns >= ENDLESS_ACTS
        if endless and self.begun_ns and time.perf_counter_ns() - self.begun_ns >= ENDLESS_S * 1e9:
            self._turn()

    def _turn(self) -> None:
        now = time.perf_counter_ns()
        if not self.begun_ns:
            self.begun_ns = now
        else:
            took_s = (now - self.turn_ns) / 1e9
            self.requests.turns.add(self.user_class, self.answers, took_s)
            if self.acts:
                self.turns += 1
                self.first_turn_s = self.first_turn_s or took_s
        self.turn_ns, self.answers, self.acts = now, 0, 0


def current_member() -> Member | None:
    """The user to whom the running greenlet belongs, itself or as one that it spawned."""
    found = getattr(gevent.getcurrent(), "spawn_tree_locals", None)
    return found.get(_KEY) if found else None


def watched_class(user_class: type[User], requests: Requests) -> type[User]:
    """The same class, whose users wait for their turn to begin and tell why they end."""
    plain_run: Callable[[User], None] = user_class.run
    plain_on_stop: Callable[[User], None] = user_class.on_stop

    def run(user: User) -> None:
        member = Member(user_class.__name__, requests)
        # What this greenlet spawns inherits it: gevent hands the dictionary down.
        gevent.getcurrent().spawn_tree_locals = {_KEY: member}
        requests.joined(member)
        member.may_begin.wait()
        # Locust paces from the moment when a user is made, and that one has waited since.
        user._cp_last_run = time.perf_counter()  # noqa: SLF001 - Locust has no other way to say so
        try:
            plain_run(user)
        except (Exception, SystemExit) as error:  # somebody's file may raise anything
            member.ended = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if not isinstance(error, SystemExit):  # which would end the load process
                raise
        finally:
            requests.left(member)

    def on_stop(user: User) -> None:
        member, error = current_member(), sys.exc_info()[1]
        if member is not None and isinstance(error, StopUser | StopTest):
            member.ended = type(error).__name__
        plain_on_stop(user)

    content = {
        "run": run,
        "on_stop": on_stop,
        "__module__": user_class.__module__,
        "__doc__": user_class.__doc__,
    }
    return type(user_class.__name__, (user_class,), content)


def _watch_tasks() -> None:
    """Has Locust tell of each task that a user begins."""
    plain: Callable[[Any], None] = TaskSet.execute_next_task

    def execute_next_task(tasks: TaskSet) -> None:
        if (member := current_member()) is not None:
            member.begins_task()
        plain(tasks)

    TaskSet.execute_next_task = execute_next_task  # type: ignore[method-assign]


def _followed(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def request(session: Any, method: str, url: str, *args: Any, **named: Any) -> Any:
        member = current_member()
        bound = functools.partial(send, session)
        if member is None:
            return bound(method, url, *args, **named)
        return member.requests.follow(bound, member, method, url, args, named)

    return request


@functools.cache
def watch_locust() -> None:
    """Once in a process: Locust's clients, its tasks and the sockets tell of what a user does."""
    # `get`, `post` and the rest all call it, whoever made the session.
    for session in (HttpSession, FastHttpSession):
        session.request = _followed(session.request)  # type: ignore[method-assign]
    _watch_tasks()
    install(_watch_of)


def _watch_of() -> Requests | None:
    member = current_member()
    return member.requests if member is not None else None
