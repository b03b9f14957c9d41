"""The rules of the contract as data: which request has which answer. Pure; no file and no socket in here."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

from gatebench.contract import tables
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Capability, Interface, Resource, Workload
from gatebench.words.text import listed, near

_ALPHABET = (string.ascii_lowercase + string.ascii_uppercase + string.digits).encode()
_ALONE = ("fortunes", "request", "interface")


def _alphabet_bytes(size: int) -> bytes:
    return (_ALPHABET * (size // len(_ALPHABET) + 1))[:size]


def _lines(count: int) -> bytes:
    return b"".join(b"%06d\n" % index for index in range(count))


@lru_cache(maxsize=64)
def _sha256_rounds(rounds: int) -> bytes:
    digest = bytes(32)
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex().encode()


_NUMBERED: Mapping[str, Callable[[int], bytes]] = {
    "bytes": _alphabet_bytes,
    "stream": _lines,
    "sha256-rounds": _sha256_rounds,
    "row": tables.row,
    "rows": tables.rows,
    "updated": tables.updated,
}
"""Kind of a body that a number follows → what it makes of the number."""
KINDS = ("text:…", *(f"{kind}:N" for kind in _NUMBERED), *_ALONE)


@dataclass(frozen=True, slots=True)
class BodySpec:
    """A body by name.

    Attributes:
        kind: one of `KINDS`, without what follows its colon.
        value: the text or number after the colon, with the argument of the path as `{name}`.
    """

    kind: str
    value: str = ""

    @property
    def fixed(self) -> bool:
        """Whether the request alone decides the bytes; False only for `interface`."""
        return self.kind != "interface"

    def make(self, *, argument: tuple[str, str] | None = None, request: bytes = b"") -> bytes:
        """The bytes.

        Args:
            argument: name and text of the path's argument, for a body that mentions it.
            request: the request's body, for the kind `request`.

        Raises:
            ValueError: for `interface`, or where the number is none.
        """
        if self.kind == "request":
            return request
        if self.kind == "fortunes":
            return tables.fortunes()
        name, text = argument or ("", "")
        value = self.value.replace(f"{{{name}}}", text)
        if self.kind == "text":
            return value.encode()
        if make := _NUMBERED.get(self.kind):
            return make(int(value))
        message = f"a body of kind {self.kind!r} is not fixed"
        raise ValueError(message)


NO_BODY = BodySpec("text")


def parse_body(text: str, argument: str | None = None) -> BodySpec:
    """Reads a body as the contract writes it; `argument` is the name its number may refer to.

    Raises:
        ValueError: with what is wrong and what is allowed.
    """
    kind, colon, value = text.partition(":")
    if kind == "text" and colon:
        return BodySpec(kind, value)
    if kind in _ALONE and not colon:
        return BodySpec(kind)
    refers = argument is not None and value == f"{{{argument}}}"
    if kind in _NUMBERED and ((value.isascii() and value.isdigit()) or refers):
        return BodySpec(kind, value)
    message = f"{text!r} is not a body; allowed: {', '.join(KINDS)}"
    raise ValueError(message)


def parse_literal(text: str) -> BodySpec:
    """Reads a body that needs no request to be made: what a case sends, or what an error answers.

    Raises:
        ValueError: with what is wrong and what is allowed.
    """
    body = parse_body(text)
    if body.kind in ("request", "interface"):
        message = f"{text!r} stands for no bytes of its own; allowed: {', '.join(KINDS[:-2])}"
        raise ValueError(message)
    return body


SocketDeed = Literal["echo", "broadcast", "refuse"]
SOCKET_DEEDS: tuple[SocketDeed, ...] = ("echo", "broadcast", "refuse")


@dataclass(frozen=True, slots=True)
class Expected:
    """An answer that is known to the last byte.

    Attributes:
        headers: lower-case name → exact value that must be present; servers may add others.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the contract prescribes for one request.

    Attributes:
        headers: lower-case name → exact value, without Content-Length.
        body: None where only its shape is prescribed (`/interface`).
        length: the Content-Length that GET has, in bytes; None where it follows from the body that came.
        measured: whether a Content-Length is promised at all; False for a streamed answer.
        least_ms: the answer comes no sooner than this, in milliseconds.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    length: int | None
    measured: bool = True
    least_ms: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """One route: what it takes and what it answers.

    Attributes:
        prefix: the whole path, or what stands before the argument, its slash included.
        argument: the argument's name; None for a path without one.
        maximum: the argument's greatest value; `minimum` its smallest.
        body_limit: bytes of a request's body, beyond which the answer is 413; None for no limit.
        waits: whether the argument is a time in milliseconds to wait.
        requires: what it needs beside a server; only applications that declare it are asked for it.
    """

    prefix: str
    argument: str | None
    method: str
    content_type: str
    body: BodySpec
    minimum: int = 0
    maximum: int = 0
    measured: bool = True
    body_limit: int | None = None
    waits: bool = False
    requires: frozenset[Resource] = frozenset()

    @property
    def form(self) -> str:
        """`/bytes/{n}`."""
        return self.prefix + (f"{{{self.argument}}}" if self.argument else "")

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods it answers; HEAD comes with GET."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)

    def argument_of(self, path: str) -> str | None:
        """The argument in a decoded path, "" where the route has none; None where the path is another's."""
        if self.argument is None:
            return "" if path == self.prefix else None
        rest = path.removeprefix(self.prefix)
        return rest if path.startswith(self.prefix) and rest and "/" not in rest else None

    def accepts(self, text: str) -> bool:
        """Whether `text` is a plain decimal number within the route's bounds."""
        if self.argument is None:
            return True
        plain = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
        return plain and len(text) <= len(str(self.maximum)) and self.minimum <= int(text) <= self.maximum


@dataclass(frozen=True, slots=True)
class Case:
    """One request that verification makes.

    Attributes:
        target: the request target as sent, with its query string and percent-encoding.
        chunked: send the body without a Content-Length; only to servers that declare `chunked-request`.
        thorough: left out of the quick verification before a block.
    """

    method: str
    target: str
    send: BodySpec
    chunked: bool = False
    thorough: bool = False

    @property
    def name(self) -> str:
        """`POST /echo (bytes:1000, chunked)`."""
        notes = [f"{self.send.kind}:{self.send.value}"] if self.send.value else []
        notes += ["chunked"] if self.chunked else []
        return f"{self.method} {self.target}" + (f" ({', '.join(notes)})" if notes else "")


_ROOT_CASE = Case("GET", "/", NO_BODY)
LEAST_ON_CONNECTION = 3
"""Requests on one connection, so that the second is seen to be kept as well as the first."""


@dataclass(frozen=True, slots=True)
class SocketCase:
    """One WebSocket path, what it does with messages, and how many sockets try it at once."""

    path: str
    does: SocketDeed
    sockets: int
    messages: tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the contract that a server's load uses.

    Attributes:
        routes: forms of the routes that are asked over HTTP, such as `/wait/{ms}`.
        keeps: whether several requests go over one connection.
        sockets: paths of WebSockets.
    """

    routes: frozenset[str] = frozenset()
    keeps: bool = False
    sockets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Contract:
    """The whole contract; see the head of `apps/contract.toml` for its rules.

    Attributes:
        errors: status → body of the answers that refuse.
        interface_keys: the keys that `/interface` must show, by interface.
        connection: the cases asked one after another on one connection.
    """

    routes: tuple[Route, ...]
    error_content_type: str
    errors: Mapping[int, bytes]
    interface_keys: Mapping[Interface, tuple[str, ...]]
    cases: tuple[Case, ...]
    connection: tuple[Case, ...]
    websockets: tuple[SocketCase, ...]

    def status(self, method: str, target: str, body_bytes: int = 0) -> int:
        """The status of the answer to a request with a body of that length."""
        return self._decide(method, target, body_bytes)[0]

    def needs(self, case: Case) -> frozenset[Capability]:
        """The capabilities without which a server is not asked `case`."""
        _, route, _ = self._decide(case.method, case.target, 0)
        streamed: set[Capability] = {"streaming"} if route is not None and not route.measured else set()
        chunked: set[Capability] = {"chunked-request"} if case.chunked else set()
        return frozenset(streamed | chunked)

    def scope_of(self, workloads: Iterable[Workload]) -> Scope | None:
        """What workloads use of the contract; None for all of it, where a Locust file asks what it likes."""
        routes, sockets, keeps = set(), set(), False
        for workload in workloads:
            if workload.locustfile is not None:
                return None
            if workload.transport == "websocket":
                sockets.add(workload.request.path)
                continue
            asked = [each for each in workload.requests if each.answer is None]
            for request in asked:
                _, route, _ = self._decide(request.method, request.path, len(request.body))
                routes.update([route.form] if route is not None else [])
            keeps = keeps or bool(asked and workload.transport == "keep-alive")
        return Scope(frozenset(routes), keeps, frozenset(sockets))

    def within(self, scope: Scope) -> Contract:
        """The same rules with the cases of a scope alone; no refusal is among them."""

        def concerns(case: Case) -> bool:
            status, route, _ = self._decide(case.method, case.target, len(case.send.make()))
            return status == 200 and route is not None and route.form in scope.routes

        return replace(
            self,
            cases=tuple(filter(concerns, self.cases)),
            connection=self.connection if scope.keeps else (),
            websockets=tuple(case for case in self.websockets if case.path in scope.sockets),
        )

    def form_of(self, method: str, target: str, body_bytes: int = 0) -> str:
        """The form of the route that a request asks, such as `/wait/{ms}`; empty where none has the path."""
        _, route, _ = self._decide(method, target, body_bytes)
        return "" if route is None else route.form

    @property
    def forms(self) -> tuple[str, ...]:
        """What an application may declare: every route, then every WebSocket's path."""
        sockets = (case.path for case in self.websockets if case.does != "refuse")
        return (*(route.form for route in self.routes), *sockets)

    def declared(self, forms: frozenset[str] | None) -> Contract:
        """The part that an application answers that declares these forms.

        Where it declares none, that is all of it but for the routes that require more than a server.

        Beyond a route's method, status, type and body nothing is asked of it: no HEAD, no chunked body (PEP
        3333 leaves open how its end is known), and no refusal of a path, a method, an argument or a body.
        What is asked on one connection are its own routes.
        """
        if forms is None:
            return self._without_resources()

        def answered(case: Case) -> bool:
            status, route, _ = self._decide(case.method, case.target, len(case.send.make()))
            beyond = case.chunked or case.method == "HEAD" or status != 200
            return not beyond and route is not None and route.form in forms

        cases = tuple(filter(answered, self.cases))
        connection = tuple(filter(answered, self.connection))
        if len(connection) < LEAST_ON_CONNECTION:
            plain = [case for case in cases if not self.needs(case) and not case.thorough]
            connection = tuple((plain or [*connection, *cases])[:1]) * LEAST_ON_CONNECTION
        return replace(
            self,
            routes=tuple(route for route in self.routes if route.form in forms),
            cases=cases,
            connection=connection,
            websockets=tuple(case for case in self.websockets if case.path in forms),
        )

    def _without_resources(self) -> Contract:
        """The same without the routes that require a resource, and what verification asks of these."""
        left_out = {route.form for route in self.routes if route.requires}
        if not left_out:
            return self
        return replace(
            self,
            routes=tuple(route for route in self.routes if not route.requires),
            cases=tuple(
                case for case in self.cases if self.form_of(case.method, case.target) not in left_out
            ),
        )

    def resources(self, forms: Collection[str]) -> frozenset[Resource]:
        """What the routes of these forms require beside a server."""
        return frozenset(each for route in self.routes if route.form in forms for each in route.requires)

    @property
    def first(self) -> Case:
        """The request by which a server is known to answer: `GET /`, or the first that is declared."""
        if any(route.form == _ROOT_CASE.target for route in self.routes):
            return _ROOT_CASE
        return min(self.cases, key=lambda case: (case.thorough, len(self.needs(case))), default=_ROOT_CASE)

    def answer(self, method: str, target: str, body: bytes = b"") -> Answer:
        """What a request gets; `target` may carry a query string and percent-encoding."""
        status, route, text = self._decide(method, target, len(body))
        if route is not None and status == 200:
            answer = _success(route, text, body)
        else:
            allow = {"allow": ", ".join(route.methods)} if route is not None and status == 405 else {}
            refusal = self.errors[status]
            answer = Answer(status, {"content-type": self.error_content_type, **allow}, refusal, len(refusal))
        return replace(answer, body=b"") if method == "HEAD" else answer

    def expect(self, method: str, path: str, body: bytes = b"") -> Expected:
        """The answer to a request, for whoever checks every byte of it.

        Raises:
            ConfigurationError: for a path that no route has, or one whose answer is not fixed.
        """
        answer = self.answer(method, path, body)
        if answer.status == 404:
            raise ConfigurationError(f"{method} {path}: no route of the contract; routes: {self._paths()}")
        if answer.body is None:
            raise ConfigurationError(
                f"{method} {path}: its answer differs between servers, so it cannot be checked"
            )
        promised = answer.measured and answer.length is not None and method != "HEAD"
        length = {"content-length": str(answer.length)} if promised else {}
        return Expected(answer.status, {**answer.headers, **length}, answer.body)

    def why_not_asked(self, method: str, target: str, body_bytes: int = 0) -> tuple[str, str]:
        """Why a workload cannot ask this; both empty where it can.

        Returns:
            What of the request is wrong, `path`, `method` or `body`, and a sentence about it.
        """
        status, route, text = self._decide(method, target, body_bytes)
        forms = [each.form for each in self.routes]
        if route is None:
            return (
                "path",
                f'"{target}" is no route of the contract{near(target, forms)}; routes: {listed(forms)}',
            )
        if status == 405:
            return "method", f"{method} {route.form} is answered with 405; the route takes {route.method}"
        if status == 400:
            bounds = f"{route.minimum:,} to {route.maximum:,}"
            return "path", f'"{text}" is no {route.argument} of {route.form}, a plain number from {bounds}'
        if status == 413:
            return (
                "body",
                f"{body_bytes:,} bytes are over the {route.body_limit or 0:,} that {route.form} takes",
            )
        if not route.body.fixed:
            return "path", f"the answer of {route.form} differs between servers, so it cannot be checked"
        return "", ""

    def why_no_socket(self, path: str, exchange: str) -> str:
        """Why a workload cannot open WebSockets there for an exchange; empty where it can."""
        does = {case.path: case.does for case in self.websockets if case.does != "refuse"}
        if path not in does:
            return f'"{path}" is no WebSocket of the contract{near(path, does)}; there are: {listed(does)}'
        if exchange in SOCKET_DEEDS and does[path] != exchange:
            fitting = listed(each for each, deed in does.items() if deed == exchange)
            return f'"{path}" is for exchange = "{does[path]}"; for "{exchange}" there is {fitting}'
        return ""

    def _decide(self, method: str, target: str, body_bytes: int) -> tuple[int, Route | None, str]:
        """Status, route and argument: unknown path, then method, then argument, then the body's length."""
        path = unquote(target.partition("?")[0], encoding="latin-1")
        for route in self.routes:
            text = route.argument_of(path)
            if text is None:
                continue
            if method not in route.methods:
                return 405, route, text
            if not route.accepts(text):
                return 400, route, text
            too_long = route.body_limit is not None and body_bytes > route.body_limit
            return 413 if too_long else 200, route, text
        return 404, None, ""

    def _paths(self) -> str:
        return listed(route.form for route in self.routes)


def _success(route: Route, text: str, body: bytes) -> Answer:
    argument = (route.argument, text) if route.argument else None
    made = route.body.make(argument=argument, request=body) if route.body.fixed else None
    return Answer(
        status=200,
        headers={"content-type": route.content_type},
        body=made,
        length=len(made) if made is not None and route.measured else None,
        measured=route.measured,
        least_ms=int(text) if route.waits else 0,
    )
