"""Reads the folder of a workload into the model; reports every problem at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gatebench.contract.file import load_contract
from gatebench.contract.rules import BodySpec, Contract
from gatebench.registry.servers import HYPHENATED, check_name, raise_all
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import (
    ARRIVAL_PROCESSES,
    CAPABILITIES,
    EXCHANGES,
    LOAD_MODELS,
    TRANSPORTS,
    ArrivalProcess,
    Level,
    LoadModel,
    Objective,
    Request,
    Workload,
)
from gatebench.words.plan import PROFILES
from gatebench.words.text import listed
from gatebench.words.toml import Table

_Number = TypeVar("_Number", int, float)

WORKLOAD_FILE = "workload.toml"
LOCUST_FILE = "locustfile.py"
METHODS = ("GET", "POST")
PERCENTILES = ("p50", "p90", "p99", "p99.9")
SEQUENCE_DIGITS = 16
"""Every WebSocket message holds a number of so many digits, so that a stale echo is seen."""
SERVICE_TIMES_PER_SLICE = 20
"""A slice is at least this many service times long (METHOD.md, "The plan")."""
CONNECTIONS = 64
"""How many connections an open loop has where its workload does not say."""


@dataclass(frozen=True, slots=True)
class _Load:
    """What the table `load` says."""

    model: LoadModel
    levels: tuple[Level, ...]
    arrivals: ArrivalProcess = "poisson"
    reference: str = ""
    steps: tuple[int, ...] = ()


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
    table = Table.load(folder / WORKLOAD_FILE, problems)
    if table is None:
        raise ConfigurationError(problems)
    transport = table.choice("transport", TRANSPORTS)
    load = _load(table.table("load"))
    locustfile = folder / LOCUST_FILE
    own_requests = load.model == "locust"
    if own_requests and not locustfile.is_file():
        table.problem("load.model", f'"locust" needs a {LOCUST_FILE} beside {WORKLOAD_FILE}')
    if locustfile.exists() and not own_requests:
        table.problem("load.model", f'must be "locust", because there is a {LOCUST_FILE}')
    workload = Workload(
        name=folder.name,
        folder=folder,
        description=table.string("description"),
        transport=transport,
        request=(
            Request("GET", "/")
            if own_requests
            else _request(
                table.table("request"),
                load,
                contract or load_contract(),
                websocket=transport == "websocket",
            )
        ),
        levels=load.levels,
        slice_s=table.duration("slice"),
        warmup_s=table.duration("warmup"),
        # A transport is a capability of its own, so a workload cannot forget to ask for it.
        needs=table.choices("needs", CAPABILITIES, default=()) | {transport},
        profiles=table.choices("profiles", tuple(PROFILES)),
        saturates=table.boolean("saturates", default=load.model == "closed"),
        service_s=table.duration("service", default=0.0),
        share=table.number("share", default=1.0),
        arrivals=load.arrivals,
        reference=load.reference,
        steps=load.steps,
        locustfile=locustfile if own_requests else None,
    )
    table.finish()
    _check_load(table, workload, load)
    _check_times(table, workload)
    raise_all(problems)
    return workload


def _request(table: Table, load: _Load, contract: Contract, *, websocket: bool) -> Request:
    body = table.text("body").encode()
    body_bytes = table.integer("body_bytes", default=0, minimum=0)
    if body and body_bytes:
        table.problem("body_bytes", "is another body than `body`; give one of them")
    request = Request(
        method=table.choice("method", METHODS, default="GET"),
        path=table.string("path"),
        body=BodySpec("bytes", str(body_bytes)).make() if body_bytes else body,
        exchange=table.choice("exchange", EXCHANGES, default="echo"),
        message_bytes=table.integer("message_bytes", default=64, minimum=SEQUENCE_DIGITS),
    )
    table.finish()
    _check_target(table, request, contract, websocket=websocket)
    if request.body and request.method == "GET":
        table.problem("body", 'needs method = "POST"')
    if websocket and request.method != "GET":
        table.problem("method", 'a WebSocket starts with "GET"')
    for key in ("message_bytes", "exchange"):
        if key in table and not websocket:
            table.problem(key, 'needs transport = "websocket"')
    if (request.exchange == "idle") != (load.model == "idle"):
        table.problem("exchange", '"idle" and load.model = "idle" belong together')
    return request


def _check_target(table: Table, request: Request, contract: Contract, *, websocket: bool) -> None:
    """Notes a request that has no answer in the contract: nobody could check it."""
    if not request.path:
        return
    if not (request.path.startswith("/") and request.path.isascii() and " " not in request.path):
        table.problem(
            "path", f'"{request.path}" must start with / and hold neither spaces nor non-ASCII letters'
        )
    elif websocket:
        if problem := contract.why_no_socket(request.path, request.exchange):
            table.problem("path", problem)
    else:
        what, problem = contract.why_not_asked(request.method, request.path, len(request.body))
        if problem:
            key = "body_bytes" if what == "body" and "body_bytes" in table else what
            table.problem(key, problem)


def _load(table: Table) -> _Load:
    model = table.choice("model", LOAD_MODELS)
    read = {
        "closed": _closed,
        "open": _open,
        "ladder": _ladder,
        "objective": _objective,
        "idle": _idle,
        "locust": _locust,
    }[model]
    load = read(table)
    table.finish()
    return load


def _closed(table: Table) -> _Load:
    connections = _numbers(table, "connections", table.integers("connections"), least=1)
    windows = _numbers(table, "window", table.integers("window"), least=1) if "window" in table else (1,)
    return _Load(
        "closed", tuple(Level(number, window=window) for number in connections for window in windows)
    )


def _open(table: Table) -> _Load:
    rates = _numbers(table, "rates", table.numbers("rates"), least=1)
    connections = table.integer("connections", default=CONNECTIONS, minimum=1)
    levels = tuple(Level(connections, "open", rate_per_s=rate) for rate in rates)
    return _Load("open", levels, table.choice("arrivals", ARRIVAL_PROCESSES, default="poisson"))


def _ladder(table: Table) -> _Load:
    shares = _numbers(table, "shares", table.numbers("shares"), least=0.01)
    for share in shares:
        if share > 1:
            table.problem("shares", f"{share:g} is over 1, the whole capacity")
    connections = table.integer("connections", default=CONNECTIONS, minimum=1)
    return _Load(
        "ladder",
        tuple(Level(connections, "ladder", capacity_share=share) for share in shares),
        table.choice("arrivals", ARRIVAL_PROCESSES, default="poisson"),
        reference=table.string("of"),
    )


def _objective(table: Table) -> _Load:
    objective = Objective(
        percentile=float(table.choice("percentile", PERCENTILES).removeprefix("p")),
        limit_s=table.duration("limit"),
    )
    if "limit" in table and not objective.limit_s:
        table.problem("limit", "must be longer than 0")
    connections = table.integer("connections", default=CONNECTIONS, minimum=1)
    levels = (Level(connections, "objective", objective=objective),)
    return _Load("objective", levels, table.choice("arrivals", ARRIVAL_PROCESSES, default="poisson"))


def _idle(table: Table) -> _Load:
    steps = _numbers(table, "connections", table.integers("connections"), least=0)
    if list(steps) != sorted(steps) or len(steps) < 3:
        table.problem("connections", "must be three numbers or more, rising: a line is fitted through them")
    return _Load("idle", (Level(max(steps, default=0), "idle"),), steps=steps)


def _locust(table: Table) -> _Load:
    users = _numbers(table, "users", table.integers("users"), least=1)
    return _Load("locust", tuple(Level(number, "locust") for number in users))


def _numbers(table: Table, key: str, numbers: tuple[_Number, ...], *, least: float) -> tuple[_Number, ...]:
    """The numbers, after noting that there are none, one too small, or one twice."""
    if key in table and not numbers:
        table.problem(key, "must name at least one number")
    for number in numbers:
        if number < least:
            table.problem(key, f"{number:g} is under {least:g}")
    if len(set(numbers)) < len(numbers):
        table.problem(key, "names a number twice")
    return numbers


def _check_load(table: Table, workload: Workload, load: _Load) -> None:
    windowed = any(level.window > 1 for level in load.levels)
    if windowed and (workload.transport != "websocket" or workload.request.exchange != "echo"):
        table.problem("load.window", 'over 1 needs transport = "websocket" and exchange = "echo"')
    if load.model in {"open", "ladder", "objective"} and workload.request.exchange != "echo":
        table.problem("load.model", f'"{load.model}" needs an exchange of request and answer')
    if workload.saturates and load.model != "closed":
        table.problem("saturates", 'is for load.model = "closed": no other load is meant to fill the server')


def _check_times(table: Table, workload: Workload) -> None:
    if "profiles" in table and not workload.profiles:
        table.problem("profiles", f"must name at least one of {listed(PROFILES)}")
    for key, value in (("slice", workload.slice_s), ("warmup", workload.warmup_s)):
        if key in table and value == 0:
            table.problem(key, "must be longer than 0")
    shortest_s = SERVICE_TIMES_PER_SLICE * workload.service_s
    if 0 < workload.slice_s < shortest_s:
        table.problem(
            "slice",
            f"{workload.slice_s:g}s is under {SERVICE_TIMES_PER_SLICE} service times ({shortest_s:g}s), "
            "so filling and draining the connections would bias the figure",
        )
