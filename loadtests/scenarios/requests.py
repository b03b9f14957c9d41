"""Follows every request of a scenario's users from its send to its verdict, and keeps count of one slice."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.event import Event
from locust import FastHttpUser, HttpUser, User
from locust.event import Events

from loadtests.engine.tally import Tally
from loadtests.scenarios.failures import EXAMPLE_CHARACTERS, example, kind_of, lacked_port

_KEY = "gatebench-request"
"""Under this name a request travels in Locust's own `context`, from the call to the event that ends it."""


@dataclass(eq=False, slots=True)
class Request:
    """One request.

    Attributes:
        greenlet: who sent it.
        what: method and name, for a person.
        answered: the answer is whole and only the user's own verdict on it is missing.
        error: what the client met, before the user's own checks hide it.
    """

    greenlet: Any
    what: str
    answered: bool = False
    error: BaseException | None = None


@dataclass(slots=True)
class Slice:
    """What is known of the slice that is running.

    Attributes:
        sent: set by the first request; `began_ns` and `began_cpu_s` are of that moment.
        over: the window is; nobody sends any more, except a user who takes leave (`on_stop`).
        leaving: the greenlets that were told so.
        last_ns: when the last answer or failure came.
        raised: the first error of the file's own code outside of any request; empty without.
    """

    tally: Tally = field(default_factory=Tally)
    sent: Event = field(default_factory=Event)
    began_ns: int = 0
    began_unix_ns: int = 0
    began_cpu_s: float = 0.0
    last_ns: int = 0
    over: bool = False
    raised: str = ""
    open: set[Request] = field(default_factory=set)
    leaving: set[Any] = field(default_factory=set)

    @property
    def in_flight(self) -> set[Any]:
        """The greenlets that wait for an answer."""
        return {request.greenlet for request in self.open if not request.answered}

    def begin(self) -> None:
        """Starts the clocks."""
        self.began_unix_ns = time.time_ns()
        self.began_cpu_s = time.process_time()
        self.began_ns = self.last_ns = time.perf_counter_ns()
        self.sent.set()

    def fail(self, kind: str, text: str) -> None:
        """Counts one failure."""
        self.tally.fail(kind, text[:EXAMPLE_CHARACTERS])
        self.last_ns = time.perf_counter_ns()


class Requests:
    """All requests of one scenario; ends the users who would send outside a slice."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.slice: Slice | None = None

    def begin(self) -> Slice:
        """Lets users send, and counts afresh."""
        # A user may end in the midst of the event, so everybody else has to hear of it first.
        self._events.request.add_listener(self._on_request)  # type: ignore[no-untyped-call] # Locust's
        self._events.user_error.add_listener(self._on_user_error)  # type: ignore[no-untyped-call] # Locust's
        self.slice = Slice()
        return self.slice

    def end(self) -> None:
        """Lets nobody send any more."""
        self.slice = None
        self._events.request.remove_listener(self._on_request)  # type: ignore[no-untyped-call] # Locust's
        self._events.user_error.remove_listener(self._on_user_error)  # type: ignore[no-untyped-call] # Locust's

    def watched(self, user_class: type[User], joined: Callable[[User], None]) -> type[User]:
        """The same class, whose users' requests are followed; `joined` hears of each new user."""

        def initialize(user: User, environment: Any) -> None:
            user_class.__init__(user, environment)
            if isinstance(user, FastHttpUser | HttpUser):
                self._follow(user.client)
            joined(user)

        content = {"__init__": initialize, "__module__": user_class.__module__, "__doc__": user_class.__doc__}
        return type(user_class.__name__, (user_class,), content)

    def _follow(self, client: Any) -> None:
        send = client.request  # `get`, `post` and the rest all call it

        def request(method: str, url: str, *args: Any, **named: Any) -> Any:
            current = self._admitted()
            sent = Request(gevent.getcurrent(), f"{method} {named.get('name') or url}")
            current.open.add(sent)
            named["context"] = {**named.get("context", {}), _KEY: sent}
            with ExitStack() as failing:
                failing.callback(current.open.discard, sent)  # an error is told in that of its user
                answer = send(method, url, *args, **named)
                failing.pop_all()
            if sent in current.open:  # a with-block has yet to judge the answer
                sent.error = answer.request_meta["exception"] or getattr(answer, "error", None)
                sent.answered = not named.get("stream")
            return answer

        client.request = request

    def _admitted(self) -> Slice:
        """The slice to send in; ends the greenlet, as Locust itself would, where there is none."""
        current, greenlet = self.slice, gevent.getcurrent()
        if current is None:
            raise gevent.GreenletExit
        if current.over and greenlet not in current.leaving:
            current.leaving.add(greenlet)
            raise gevent.GreenletExit
        if not current.sent.is_set():
            current.begin()
        return current

    def _on_request(
        self,
        request_type: str,
        name: str,
        response_time: float,
        exception: BaseException | None = None,
        response: Any = None,
        context: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Counts the request that ends; events that a file fires of its own accord are no answers."""
        current, request = self.slice, (context or {}).get(_KEY)
        if current is None or request not in current.open:
            return
        current.open.discard(request)
        kind = _verdict(request, exception, response)
        if kind is None:
            current.last_ns = time.perf_counter_ns()
            current.tally.response_ns.append(round(response_time * 1e6))
            if current.over:
                current.tally.drained += 1
            else:
                current.tally.completed += 1
        else:
            error = request.error or exception or RuntimeError("no answer")
            current.tally.no_port += lacked_port(error)
            current.fail(kind, example(f"{request_type} {name}", exception or error))
        if current.over and request.greenlet not in current.leaving:
            current.leaving.add(request.greenlet)
            raise gevent.GreenletExit

    def _on_user_error(self, user_instance: User, exception: BaseException, tb: Any, **_: Any) -> None:
        """Counts what a user's own code raised, most often over an answer that it did not expect."""
        current = self.slice
        if current is None:
            return
        mine = {each for each in current.open if each.greenlet is gevent.getcurrent()}
        current.open -= mine
        frame = traceback.extract_tb(tb)[-1]
        what = ", ".join(each.what for each in mine) or type(user_instance).__name__
        where = f"{type(exception).__name__} in {frame.name}, line {frame.lineno}"
        text = f"{what}: {where}: {exception}"
        if not mine:
            current.raised = current.raised or text
        current.fail(next((kind_of(each.error) for each in mine if each.error), "body"), text)


def _verdict(request: Request, exception: BaseException | None, response: Any) -> str | None:
    """None for a correct answer, otherwise the kind of failure.

    The client's own error goes before the user's: a check fails on a missing answer, too. A user may expect a
    status that the client calls an error, but not declare a missing answer correct.
    """
    kind = kind_of(request.error) if request.error is not None else None
    if exception is None:
        return None if kind == "status" else kind
    if kind is not None:
        return kind
    return "status" if getattr(response, "status_code", 0) >= 400 else kind_of(exception)
