"""Follows every request of a scenario's users from its send to its verdict, and keeps count of one slice."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakSet

import gevent
from gevent.event import Event
from locust.event import Events

from loadtests.engine.tally import Tally
from loadtests.scenarios.failures import EXAMPLE_CHARACTERS, example, kind_of, lacked_port, verdict
from loadtests.scenarios.sockets import Contact, address_text
from loadtests.scenarios.turns import TurnsByClass
from loadtests.scenarios.users import Member, current_member, watch_locust

_KEY = "gatebench-request"
"""Under this name a request travels in Locust's own `context`, from the call to the event that ends it."""
NO_TRAFFIC = "an event without traffic of its own, such as a sum of others, or of a child process"
OTHER_TIME = (
    "only the response time that the file gave, which its socket contradicts; the socket's stands for it"
)
DOUBT_SHARE, DOUBT_NS = 0.1, 50_000
"""A time that differs by more than both is told; the rest is the file's own work around its exchange."""
OTHER_TRANSPORT = {
    True: "an HTTP request; this workload counts WebSocket messages",
    False: "went over a WebSocket; this workload counts HTTP requests",
}


@dataclass(eq=False, slots=True)
class Request:
    """One request.

    Attributes:
        greenlet: who sent it.
        method, url: as the file gave them.
        name: what Locust's statistics call it.
        member: whose it is.
        contact: what it touched.
        error: what the client met, before the user's own checks hide it.
        sent_ns: when it was sent.
        answered: the answer is whole and only the user's own verdict on it is missing.
        given_up: it was overdue and counted as that.
        taken_ms: its response time, as the client gave it to a with-block.
    """

    greenlet: Any
    method: str
    url: str
    name: str
    member: Member
    streams: bool
    contact: Contact = field(default_factory=Contact)
    error: BaseException | None = None
    sent_ns: int = field(default_factory=time.perf_counter_ns)
    answered: bool = False
    given_up: bool = False
    taken_ms: float | None = None

    def bounds_ns(self) -> tuple[int, int] | None:
        """The least and the most that its response time can be; None where no with-block could change it.

        It is the client's; the block of a stream knows better when that has ended.
        """
        if self.taken_ms is None:
            return None
        taken_ns = round(self.taken_ms * 1e6)
        return taken_ns, time.perf_counter_ns() - self.sent_ns if self.streams else taken_ns

    @property
    def what(self) -> str:
        """Method and name, for a person."""
        return f"{self.method} {self.name}"


@dataclass(slots=True)
class Stray:
    """Requests that did not go to the subject: how many, and the first one."""

    count: int
    what: str
    where: str


Phase = Literal["between", "window", "drain"]


class Requests:
    """All requests of one scenario.

    Args:
        events: the file's.
        host: the subject, `http://ADDRESS:PORT`.
        transport: what must carry a request for it to count.

    Attributes:
        phase: `window` and `drain` of a slice, or `between` two of them. Answers between slices count for
            nothing; failures, whenever they come, count for the next result.
        tally: what the next result will tell.
        turns: of the users.
        members: in the order in which Locust started them.
        open: requests without a verdict.
        awaited: those of them that were open when the window ended.
        disturbed: set when a user ended of itself, or the file ended the test.
        quit_by_file: what the file called to end the test; empty otherwise.
        first_failure: for a person; empty without one.
    """

    def __init__(self, events: Events, host: str, transport: str) -> None:
        watch_locust()
        self._events = events
        self._transport = transport
        parts = urlsplit(host)
        self._address, self._port = parts.hostname or host, parts.port or 80
        self._subject = {
            info[4][0] for info in socket.getaddrinfo(self._address, self._port, type=socket.SOCK_STREAM)
        }
        self._contacts: WeakKeyDictionary[Any, Contact] = WeakKeyDictionary()
        self._by_greenlet: dict[Any, Request] = {}
        self._sockets: WeakSet[Any] = WeakSet()
        self.phase: Phase = "between"
        self.tally = Tally()
        self.turns = TurnsByClass()
        self.members: list[Member] = []
        self.open: set[Request] = set()
        self.awaited: set[Request] = set()
        self.disturbed = Event()
        self.acted = Event()
        self.stopping = False
        self.quit_by_file = ""
        self.first_failure = ""
        self.raised = ""
        self.judged = 0
        self.stray: Stray | None = None
        self.reused = self.fresh = self.over_http = self.asked = 0
        # A user may end in the midst of an event, so everybody else has to hear of it first.
        events.request.add_listener(self._on_request)  # type: ignore[no-untyped-call] # Locust's
        events.user_error.add_listener(self._on_user_error)  # type: ignore[no-untyped-call] # Locust's

    def joined(self, member: Member) -> None:
        """Locust has started one user more."""
        self.members.append(member)
        self.turns.joined(member.user_class)

    def left(self, member: Member) -> None:
        """A user has ended."""
        if not self.stopping:
            member.ended = member.ended or "its run was over"
            self.disturbed.set()

    def file_quits(self, what: str) -> None:
        """The file itself ends the test."""
        self.quit_by_file = self.quit_by_file or what
        self.disturbed.set()

    def begin(self) -> None:
        """Opens a window; what failed before it is in its count."""
        tally = self.tally
        tally.completed = tally.drained = tally.bytes_sent = tally.bytes_received = 0
        self.reused = self.fresh = self.over_http = self.asked = 0
        self.phase = "window"

    def end_window(self) -> None:
        """Ends the window; what is open now is waited for."""
        self.phase = "drain"
        self.awaited = {each for each in self.open if not each.given_up}
        self.tally.timed_in_window = len(self.tally.response_ns)

    def end(self) -> Tally:
        """What was counted since the last time; from here on the next one is."""
        self.phase = "between"
        self.awaited.clear()
        done, self.tally = self.tally, Tally()
        return done

    def carry(self, failed: Tally) -> None:
        """Counts for the next result, too, what failed in a result that is thrown away."""
        for kind, count in failed.failures.items():
            self.tally.failures[kind] += count
        self.tally.examples.update({k: v for k, v in failed.examples.items() if k not in self.tally.examples})
        self.tally.no_port += failed.no_port
        for name, (_, failures) in failed.names.items():
            if failures:
                self.tally.names.setdefault(name, [0, 0])[1] += failures

    def give_up(self, request: Request, kind: str, why: str) -> None:
        """Counts an overdue request as failed, whatever becomes of it."""
        request.given_up = True
        self.awaited.discard(request)
        self._fail(kind, request.what, f"{request.what}: {why}", request.member)

    def overdue(self, members: list[Member], after_s: float) -> bool:
        """Whether one of these users has waited for an answer for so long."""
        since_ns = time.perf_counter_ns() - after_s * 1e9
        return any(each.member in members and each.sent_ns < since_ns for each in self.open)

    def contact(self) -> Contact:
        """What the running greenlet's request has touched, or the greenlet since its last event."""
        greenlet = gevent.getcurrent()
        if (request := self._by_greenlet.get(greenlet)) is not None:
            return request.contact
        member = current_member()
        contacts = member.contacts if member is not None else self._contacts
        if (found := contacts.get(greenlet)) is None:
            found = contacts[greenlet] = Contact()
        return found

    def is_subject(self, address: Any) -> bool:
        """Whether a connection to that address is one to the subject."""
        if not isinstance(address, tuple):
            return False
        host = str(address[0]).removeprefix("::ffff:")
        return address[1] == self._port and host in self._subject

    def opened(self, watched: Any) -> None:
        """A connection was opened."""
        self._sockets.add(watched)
        self.tally.opened += watched.to_subject

    def moved(self, *, sent: int = 0, received: int = 0) -> None:
        """Bytes went to or from the subject."""
        self.tally.bytes_sent += sent
        self.tally.bytes_received += received

    def ended_by_server(self) -> None:
        """The subject ended a connection; under `close` it was asked to."""
        if self._transport != "close" and not self.stopping:
            self.tally.closed_by_server += 1

    def asked_to_end(self) -> None:
        """A request asked the subject to end its connection; under `close` each does."""
        self.asked += 1

    def close_connections(self) -> None:
        """Closes what the users have left open."""
        for each in list(self._sockets):
            each.close()

    def follow(
        self,
        send: Callable[..., Any],
        member: Member,
        method: str,
        url: str,
        args: Any,
        named: dict[str, Any],
    ) -> Any:
        """Sends one request, and knows of it until it is judged."""
        if self.stopping:
            return send(method, url, *args, **named)
        greenlet = gevent.getcurrent()
        name = str(named.get("name") or url)
        request = Request(greenlet, str(method), str(url), name, member, bool(named.get("stream")))
        self.open.add(request)
        outer = self._by_greenlet.get(greenlet)
        self._by_greenlet[greenlet] = request
        self.acted.set()
        named["context"] = {**named.get("context", {}), _KEY: request}
        if self._transport == "close":
            given = dict(named.get("headers") or {})
            named["headers"] = {k: v for k, v in given.items() if str(k).lower() != "connection"}
            named["headers"]["Connection"] = "close"
        with ExitStack() as failing:
            failing.callback(self._close, request, outer)  # an error is told in that of its user
            answer = send(method, url, *args, **named)
            failing.pop_all()
        if request in self.open:  # a with-block has yet to judge the answer
            request.error = answer.request_meta["exception"] or getattr(answer, "error", None)
            request.answered = not request.streams
            request.taken_ms = answer.request_meta["response_time"]
        return answer

    def _close(self, request: Request, outer: Request | None = None) -> None:
        self.open.discard(request)
        self.awaited.discard(request)
        if self._by_greenlet.get(request.greenlet) is request:
            if outer is not None:
                self._by_greenlet[request.greenlet] = outer
            else:
                del self._by_greenlet[request.greenlet]

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
        """Counts the request that ends, or what a file fires of its own accord."""
        request, what = (context or {}).get(_KEY), f"{request_type} {name}"
        if not isinstance(request, Request):
            if self.stopping:
                return
            self._on_fired(what, response_time, exception)
            return
        if request not in self.open:
            return
        awaited = request in self.awaited
        self._close(request)
        request.member.contacts.pop(request.greenlet, None)
        if request.given_up or self.stopping:
            return
        if not self._went_to_subject(request):
            return
        kind = verdict(request.error, exception, response)
        if kind is not None:
            error = request.error or exception or RuntimeError("no answer")
            self.tally.no_port += lacked_port(error)
            self._fail(kind, what, example(what, kind, exception or error, response), request.member)
        else:
            took_ns = self._believed(what, response_time, request.bounds_ns())
            self._answer(what, request.contact, took_ns, awaited=awaited, member=request.member)
        if self._transport == "close" and not request.streams:
            _end_for_good(request.contact)

    def _went_to_subject(self, request: Request) -> bool:
        contact = request.contact
        if elsewhere := contact.elsewhere:
            self._strays(request, elsewhere)
            return False
        if contact.to_subject:
            return True
        tried = [each for each in contact.tried if not self._may_be_subject(each)]
        if tried:
            self._strays(request, address_text(tried[0]))
            return False
        if request.error is None:
            self._strays(request, "")
            return False
        return True

    def _may_be_subject(self, address: Any) -> bool:
        """Also an address of `localhost` at which nobody answered; the subject's may come next."""
        return (
            isinstance(address, tuple) and address[1] == self._port and address[0] in {"::1", *self._subject}
        )

    def _strays(self, request: Request, where: str) -> None:
        if self.stray is None:
            self.stray = Stray(0, f"{request.method} {request.url}", where)
        self.stray.count += 1
        request.member.acted(counts=False)

    def _on_fired(self, what: str, response_time: float, exception: BaseException | None) -> None:
        greenlet, member = gevent.getcurrent(), current_member()
        contacts = member.contacts if member is not None else self._contacts
        contact = contacts.pop(greenlet, None) or Contact()
        if not contact.sockets and exception is None:
            contact = _of_other_greenlets(contacts) or contact
        # One message is one event, whichever greenlets of the user sent it, read it and told of it.
        for other in contacts.values():
            for each in contact.sockets:
                other.sockets.pop(each, None)
        self.acted.set()
        exchange_ns = contact.exchange_ns()
        contact.settle()
        if exception is not None:
            text = f"{what}: {str(exception) or type(exception).__name__}"
            self._fail(kind_of(exception), what, text, member)
        elif contact.to_subject:
            took_ns = self._believed(what, response_time, exchange_ns)
            self._answer(what, contact, took_ns, awaited=False, member=member)
        else:
            where = f"went to {contact.elsewhere}, not to the server" if contact.elsewhere else NO_TRAFFIC
            self._uncounted(what, where)
            if member is not None:
                member.acted(counts=False)

    def _believed(self, what: str, given_ms: float, bounds_ns: tuple[int, int] | None) -> int:
        """The response time in nanoseconds that a file gave, or the nearest one that can be."""
        given_ns = round(given_ms * 1e6)
        if bounds_ns is None:
            return given_ns
        least_ns, most_ns = bounds_ns
        believed_ns = min(max(given_ns, least_ns), most_ns)
        if abs(believed_ns - given_ns) > max(DOUBT_NS, DOUBT_SHARE * believed_ns):
            self._uncounted(what, OTHER_TIME)
        return believed_ns

    def _answer(
        self, what: str, contact: Contact, took_ns: int, *, awaited: bool, member: Member | None
    ) -> None:
        self.judged += 1
        websockets = self._transport == "websocket"
        counts = contact.upgraded is websockets
        if member is not None:
            member.acted(counts=counts)
        if counts and not websockets:
            self._count_connections(contact)
        if self.phase == "between":
            return
        if not counts:
            self._uncounted(what, OTHER_TRANSPORT[websockets])
            return
        self.tally.names.setdefault(what, [0, 0])[0] += 1
        if self.phase == "window":
            self.tally.completed += 1
        else:
            self.tally.drained += 1
        if self.phase == "window" or awaited:
            self.tally.response_ns.append(took_ns)

    def _count_connections(self, contact: Contact) -> None:
        own = contact.to_subject
        self.over_http += 1
        self.reused += any(each.carried for each in own)
        self.fresh += bool(contact.fresh)
        for each in own:
            each.carried += 1

    def _fail(self, kind: str, what: str, text: str, member: Member | None) -> None:
        self.judged += 1
        self.tally.names.setdefault(what, [0, 0])[1] += 1
        text = text[:EXAMPLE_CHARACTERS]
        self.tally.fail(kind, text)
        self.first_failure = self.first_failure or text
        if member is not None:
            member.acted(counts=False)

    def _uncounted(self, what: str, why: str) -> None:
        if self.phase != "between":
            key = f"{what}: {why}"
            self.tally.uncounted[key] = self.tally.uncounted.get(key, 0) + 1

    def _on_user_error(self, user_instance: Any, exception: BaseException, tb: Any, **_: Any) -> None:
        """Counts what a user's own code raised, most often over an answer that it did not expect."""
        if self.stopping:
            return
        mine = [each for each in self.open if each.greenlet is gevent.getcurrent()]
        for each in mine:
            self._close(each)
        frame = traceback.extract_tb(tb)[-1]
        name = type(getattr(user_instance, "user", user_instance)).__name__
        what = mine[0].what if mine else name
        text = f"{what}: {type(exception).__name__} in {frame.name}, line {frame.lineno}: {exception}"
        self.raised = self.raised or ("" if mine else text)
        kind = next((kind_of(each.error) for each in mine if each.error), "body")
        self._fail(kind, what, text, current_member())


def _of_other_greenlets(contacts: MutableMapping[Any, Contact]) -> Contact | None:
    """What another greenlet of the user received for the one that fires the event, as a reader does."""
    for greenlet, contact in list(contacts.items()):
        if contact.to_subject:
            del contacts[greenlet]
            return contact
    return None


def _end_for_good(contact: Contact) -> None:
    """Has the client take another connection next time, whatever the server did with this one."""
    for each in contact.to_subject:
        if not each.upgraded:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client, or the server, has closed it
