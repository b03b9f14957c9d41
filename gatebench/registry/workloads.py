"""Reads the folder of a workload into the model; reports every problem at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import quote

from pydantic import AfterValidator, Field

from gatebench.contract.file import load_contract
from gatebench.contract.rules import BodySpec, Contract, Route
from gatebench.registry.servers import HYPHENATED, check_name
from gatebench.registry.toml import (
    Fault,
    Finite,
    Many,
    Place,
    Positive,
    Some,
    Span,
    Table,
    Text,
    Time,
    check,
    form_of,
    like,
    load,
    one_of,
    read_by,
)
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import (
    ArrivalProcess,
    Capability,
    Exchange,
    Level,
    Objective,
    OwnAnswer,
    Request,
    Transport,
    Workload,
)
from gatebench.words.paths import WORKLOAD_FILE
from gatebench.words.plan import PROFILES
from gatebench.words.text import listed, near, seconds
from loadtests.engine.masked import compiled

MOST_ARGUMENTS = 1000
"""Each has an answer of its own, which the engine reads in full before it recognises the next one like it."""
ARGUMENT_STEP = 7919
"""A prime that divides the number of no route's arguments, so that no argument comes twice."""
_Number = TypeVar("_Number", int, float)

LOCUST_FILE = "locustfile.py"
_PATH_CHARACTERS = "/%:@!$&'()*+,;=~-._?[]"
"""Those beside letters and digits that are sent as they are written; `%` is of what was encoded before."""
_FRAMING = (
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
"""Headers that are the engine's own: they frame the request, or decide what becomes of the connection."""
SEQUENCE_DIGITS = 16
"""Every WebSocket message holds a number of so many digits, so that a stale echo is seen."""
SERVICE_TIMES_PER_SLICE = 20
"""A slice is at least this many service times long (METHOD.md, "The plan")."""
CONNECTIONS = 64
"""How many connections an open loop has where its workload does not say."""


def _series(least: float) -> AfterValidator:
    """Takes numbers of which there is one, none too small, and none twice."""

    def series(numbers: tuple[_Number, ...]) -> tuple[_Number, ...]:
        if not numbers:
            raise ValueError("must name at least one number")
        if min(numbers) < least:
            raise ValueError(f"{min(numbers):g} is under {least:g}")
        if len(set(numbers)) < len(numbers):
            raise ValueError("names a number twice")
        return numbers

    return AfterValidator(series)


def _not_framing(name: str) -> str:
    if name.lower() in _FRAMING:
        raise ValueError(f'"{name}" is set by the load engine, by `transport` and `body`; leave it out')
    return name


_HeaderName = Annotated[
    str,
    like(re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"), "is no header's name"),
    AfterValidator(_not_framing),
]
_HeaderValue = Annotated[
    str,
    like(
        re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?"),
        "is no header's value: visible ASCII, no space at its ends",
    ),
]
_Counts = Annotated[Many[int], _series(1)]


class _Closed(Table):
    model: Literal["closed"]
    connections: _Counts
    window: _Counts = (1,)


class _Paced(Table):
    connections: Annotated[int, Field(ge=1)] = CONNECTIONS
    arrivals: ArrivalProcess = "poisson"


class _Open(_Paced):
    model: Literal["open"]
    rates: Annotated[Many[Finite], _series(1)]


class _Ladder(_Paced):
    model: Literal["ladder"]
    of: Text
    shares: Annotated[Many[Finite], _series(0.01)]


class _Objective(_Paced):
    model: Literal["objective"]
    percentile: Literal["p50", "p90", "p99", "p99.9"]
    limit: Span


class _Idle(Table):
    model: Literal["idle"]
    connections: Annotated[Many[int], _series(0)]


class _Locust(Table):
    model: Literal["locust"]
    users: _Counts


_Load = _Closed | _Open | _Ladder | _Objective | _Idle | _Locust


class _Answer(Table):
    learn: bool = False
    status: Annotated[int, Field(ge=200, le=599)] = 200
    content_type: str = ""
    body: str | None = None
    varies: Many[Annotated[Text, read_by(compiled)]] = ()


class _Request(Table):
    path: Text
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[_HeaderName, _HeaderValue] = Field(default_factory=dict)
    body: str = ""
    body_bytes: Annotated[int, Field(ge=0)] = 0
    exchange: Exchange = "echo"
    message_bytes: Annotated[int, Field(ge=SEQUENCE_DIGITS)] = 64


class _Repeated(_Request):
    arguments: Annotated[int, Field(ge=2, le=MOST_ARGUMENTS)] | None = None


class _InTurn(_Request):
    share: Annotated[int, Field(ge=1, le=1000)] = 1
    answer: _Answer | None = None


class _WorkloadFile(Table):
    description: Text
    transport: Transport
    slice: Span
    warmup: Span
    profiles: Some[Annotated[str, one_of(PROFILES)]]
    needs: Some[Capability] = frozenset()
    saturates: bool | None = None
    service: Time = "0s"
    share: Positive = 1.0
    load: Annotated[_Load, form_of("model", *get_args(_Load))]
    request: _Repeated | None = None
    requests: Many[_InTurn] = ()
    answer: _Answer | None = None
    routes: Some[Text] = frozenset()


def parse_workload(folder: Path, contract: Contract | None = None) -> Workload:
    """The workload that a folder's `workload.toml` describes; the folder's name is the workload's.

    Args:
        folder: holds `workload.toml`.
        contract: what answers are checked by, so what may be asked; the project's own by default.

    Raises:
        ConfigurationError: with every problem in the folder.
    """
    problems: list[str] = []
    check_name(folder, HYPHENATED, "lower-case letters, digits and -", problems)
    path, locustfile = folder / WORKLOAD_FILE, folder / LOCUST_FILE
    data = load(path, problems)
    if data is None:
        raise ConfigurationError(problems)
    contract = contract or load_contract()
    together = partial(_faults, data, contract, locustfile.is_file())
    file = check(_WorkloadFile, data, path, problems, together)
    if problems or file is None:
        raise ConfigurationError(problems)
    asked = _requests(file, contract)
    first, *others = asked or [Request("GET", "/")]
    routes = _routes(asked, contract, file.transport) | file.routes
    return Workload(
        name=folder.name,
        folder=folder,
        description=file.description,
        transport=file.transport,
        request=first,
        levels=_levels(file.load),
        slice_s=seconds(file.slice),
        warmup_s=seconds(file.warmup),
        # A transport is a capability of its own, so a workload cannot forget to ask for it.
        needs=file.needs | {file.transport},
        profiles=file.profiles,
        saturates=file.load.model == "closed" if file.saturates is None else file.saturates,
        service_s=seconds(file.service),
        share=file.share,
        arrivals=file.load.arrivals if isinstance(file.load, _Paced) else "poisson",
        reference=file.load.of if isinstance(file.load, _Ladder) else "",
        steps=file.load.connections if isinstance(file.load, _Idle) else (),
        locustfile=locustfile if file.load.model == "locust" else None,
        others=tuple(others),
        routes=routes,
        requires=contract.resources(routes),
    )


def _routes(requests: Iterable[Request], contract: Contract, transport: Transport) -> frozenset[str]:
    """The forms of what a workload asks of the contract; of what it answers itself, none."""
    if transport == "websocket":
        return frozenset(each.path for each in requests)
    asked = (each for each in requests if each.answer is None)
    return frozenset(contract.form_of(each.method, each.path, len(each.body)) for each in asked)


def _levels(load: _Load) -> tuple[Level, ...]:
    match load:
        case _Closed():
            windows = load.window
            return tuple(Level(each, window=window) for each in load.connections for window in windows)
        case _Open():
            return tuple(Level(load.connections, "open", rate_per_s=rate) for rate in load.rates)
        case _Ladder():
            return tuple(Level(load.connections, "ladder", capacity_share=share) for share in load.shares)
        case _Objective():
            objective = Objective(float(load.percentile.removeprefix("p")), seconds(load.limit))
            return (Level(load.connections, "objective", objective=objective),)
        case _Idle():
            return (Level(max(load.connections), "idle"),)
        case _Locust():
            return tuple(Level(number, "locust") for number in load.users)


def _requests(file: _WorkloadFile, contract: Contract) -> list[Request]:
    """What a file asks, in its order; what it says of answers at large goes for those that say nothing."""
    if file.request:
        request = _request(file.request, file.answer)
        if file.request.arguments is None:
            return [request]
        (route,) = (each for each in contract.routes if each.form == request.path)
        return [replace(request, arguments=_arguments(route, file.request.arguments))]
    return [replace(_request(each, each.answer or file.answer), share=each.share) for each in file.requests]


def _arguments(route: Route, count: int) -> tuple[int, ...]:
    """So many different arguments of a route, from all over what it takes."""
    many = route.maximum - route.minimum + 1
    return tuple(route.minimum + ARGUMENT_STEP * number % many for number in range(count))


def _request(table: _Request, answer: _Answer | None) -> Request:
    body = BodySpec("bytes", str(table.body_bytes)).make() if table.body_bytes else table.body.encode()
    return Request(
        table.method,
        table.path if answer is None else encoded_path(table.path),
        body,
        table.exchange,
        table.message_bytes,
        tuple((name.lower(), value) for name, value in table.headers.items()),
        None if answer is None else _answer(answer),
    )


def _answer(table: _Answer) -> OwnAnswer:
    body = None if table.body is None else table.body.encode()
    return OwnAnswer(table.status, table.content_type, body, table.varies)


def encoded_path(path: str) -> str:
    """A path and its query as a request has them: what may not stand there is percent-encoded (RFC 3986)."""
    return quote(path, safe=_PATH_CHARACTERS)


def path_fault(path: str) -> str:
    """Why a path with its query cannot be asked, however it is encoded; empty where it can."""
    if not path.startswith("/"):
        return f'"{path}" must start with /'
    if "#" in path:
        return f'"{path}": what follows # is never sent; leave it out, or write %23'
    if not path.isprintable():
        return f"{path!r} holds characters that cannot be seen; percent-encode them"
    return ""


def _faults(
    data: Mapping[str, Any], contract: Contract, has_locustfile: bool, file: Mapping[str, Any]
) -> Iterator[Fault]:
    """What does not go together in a file, whose values are right by themselves or left out.

    Args:
        data: the file as it stands.
        contract: what answers are checked by.
        has_locustfile: whether there is one beside the file.
        file: its data without what is wrong.
    """
    model, asked = file.get("load", {}).get("model"), file.get("request")
    exchange = (asked or {}).get("exchange", "echo")
    websocket = file.get("transport") == "websocket"
    own_requests = model == "locust"
    yield from _locust_faults(data, model, has_locustfile=has_locustfile)
    if not own_requests:
        yield from _answers_faults(data, file, contract, websocket=websocket)
    if asked is not None and not own_requests:
        for key, text in _request_faults(asked, data["request"], contract, websocket, own="answer" in data):
            yield ("request", key), text
        if model and (exchange == "idle") != (model == "idle"):
            yield ("request", "exchange"), '"idle" and load.model = "idle" belong together'
    for key, text in _load_faults(file.get("load", {}), exchange, websocket):
        yield ("load", key), text
    for form in sorted(set(file.get("routes", ())) - set(contract.forms)):
        yield ("routes",), f'"{form}" is no route of the contract{near(form, contract.forms)}'
    if "routes" in data and model and not own_requests:
        yield ("routes",), "is for a Locust file, whose requests nobody else knows; leave it out"
    if file.get("saturates") and model not in {None, "closed"}:
        yield ("saturates",), 'is for load.model = "closed": no other load is meant to fill the server'
    if file.get("profiles") == []:
        yield ("profiles",), f"must name at least one of {listed(PROFILES)}"
    slice_s = seconds(file.get("slice", "0s"))
    shortest_s = SERVICE_TIMES_PER_SLICE * seconds(file.get("service", "0s"))
    if 0 < slice_s < shortest_s:
        text = f"{slice_s:g}s is under {SERVICE_TIMES_PER_SLICE} service times ({shortest_s:g}s), so filling "
        yield ("slice",), f"{text}and draining the connections would bias the figure"


def _locust_faults(data: Mapping[str, Any], model: str | None, *, has_locustfile: bool) -> Iterator[Fault]:
    own_requests = model == "locust"
    if own_requests and not has_locustfile:
        yield ("load", "model"), f'"locust" needs a {LOCUST_FILE} beside {WORKLOAD_FILE}'
    if has_locustfile and not own_requests:
        yield ("load", "model"), f'must be "locust", because there is a {LOCUST_FILE}'
    for key in ("request", "requests", "answer"):
        if own_requests and key in data:
            yield (key,), f"is not for a workload whose requests are in its {LOCUST_FILE}"
    if model and not own_requests and not {"request", "requests"} & {*data}:
        yield ("request",), "is missing; it must be a table"


def _answers_faults(
    data: Mapping[str, Any], file: Mapping[str, Any], contract: Contract, *, websocket: bool
) -> Iterator[Fault]:
    """What does not go together in several requests, and in what is said of answers."""
    several, shared = file.get("requests", ()), file.get("answer")
    if "requests" in data and "request" in data:
        yield ("requests",), "is for several requests that take turns; give it or `request`"
    elif data.get("requests") == []:
        yield ("requests",), "must name at least one request"
    if websocket and "requests" in data:
        yield ("requests",), "take turns over HTTP alone; a WebSocket has one `request`"
    said: list[tuple[Place, Any]] = [(("answer",), shared)]
    said += ((("requests", "answer"), each.get("answer")) for each in several)
    for place, answer in said:
        if answer is not None and websocket:
            yield place, "is for HTTP; what WebSockets answer is in the contract"
        for key, text in _answer_faults({"learn": True} if answer is None else answer):
            yield (*place, key), text
    for each in several:
        own = shared is not None or "answer" in each
        for key, text in _request_faults(each, each, contract, websocket, own=own):
            yield ("requests", key), text


def _answer_faults(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    body, learn = answer.get("body"), answer.get("learn", False)
    if body is None and not learn:
        yield "body", "is missing; say what comes back, or `learn = true`, and the servers are asked"
    if body is not None and learn:
        yield "learn", "and `body` contradict each other; give one of them"
    said = (body or "").encode()
    for pattern in answer.get("varies", ()) if said else ():
        if not compiled(pattern).search(said):
            yield "varies", f'"{pattern}" is nowhere in `body`'


def _load_faults(load: Mapping[str, Any], exchange: str, websocket: bool) -> Iterator[tuple[str, str]]:
    model, steps = load.get("model"), load.get("connections")
    if max(load.get("window", [1])) > 1 and not (websocket and exchange == "echo"):
        yield "window", 'over 1 needs transport = "websocket" and exchange = "echo"'
    if model in {"open", "ladder", "objective"} and exchange != "echo":
        yield "model", f'"{model}" needs an exchange of request and answer'
    for share in load.get("shares", ()):
        if share > 1:
            yield "shares", f"{share:g} is over 1, the whole capacity"
    if model == "idle" and steps is not None and (steps != sorted(steps) or len(steps) < 3):
        yield "connections", "must be three numbers or more, rising: a line is fitted through them"


def _request_faults(
    request: Mapping[str, Any], given: Collection[str], contract: Contract, websocket: bool, *, own: bool
) -> Iterator[tuple[str, str]]:
    """`given` are the keys with a value, right or wrong; `own`: the workload itself says the answer."""
    method, path = request.get("method", "GET"), request.get("path")
    body, body_bytes = request.get("body", ""), request.get("body_bytes", 0)
    body_key = "body_bytes" if body_bytes else "body"
    if body and body_bytes:
        yield "body_bytes", "is another body than `body`; give one of them"
    if (body or body_bytes) and method == "GET":
        yield body_key, 'needs method = "POST"'
    if "headers" in given and not own:
        yield "headers", "are for a workload that says its answer (`[answer]`); the contract's depend on none"
    if websocket and method != "GET":
        yield "method", 'a WebSocket starts with "GET"'
    for key in ("message_bytes", "exchange"):
        if key in given and not websocket:
            yield key, 'needs transport = "websocket"'
    if request.get("arguments") is not None:
        if fault := _arguments_fault(path, request["arguments"], contract, own=own or websocket):
            yield "arguments", fault
            return
        (route,) = (each for each in contract.routes if each.form == path)
        request = {**request, "path": f"{route.prefix}{route.minimum}"}
    if path is not None and own and not websocket:
        if fault := path_fault(path):
            yield "path", fault
    elif path is not None:
        for key, fault in _contract_faults(request, contract, websocket=websocket):
            yield body_key if key == "body" else key, fault


def _arguments_fault(path: str | None, count: int, contract: Contract, *, own: bool) -> str:
    """Why so many arguments of a path cannot take turns; empty where they can."""
    forms = {route.form: route for route in contract.routes if route.argument}
    if own:
        return "are for a route of the contract over HTTP, which has an answer for each of them"
    if path not in forms:
        return f'need a path with its argument in braces: {listed(forms)}; "{path}" is none'
    many = forms[path].maximum - forms[path].minimum + 1
    return f"{count:,} are more than the {many:,} that {path} takes" if count > many else ""


def _contract_faults(
    request: Mapping[str, Any], contract: Contract, *, websocket: bool
) -> Iterator[tuple[str, str]]:
    """Why the contract has no answer to a request that has a path; what is wrong with it, and why."""
    method, path, body = request.get("method", "GET"), request["path"], request.get("body", "")
    if not (path.startswith("/") and path.isascii() and " " not in path):
        yield "path", f'"{path}" must start with / and hold neither spaces nor non-ASCII letters'
    elif websocket:
        if fault := contract.why_no_socket(path, request.get("exchange", "echo")):
            yield "path", fault
    else:
        # A request that the contract does not answer could not be checked by anybody.
        body_bytes = request.get("body_bytes", 0) or len(body.encode())
        key, fault = contract.why_not_asked(method, path, body_bytes)
        if fault:
            yield key, fault
