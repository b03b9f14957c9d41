"""Reads the folder of a workload into the model; reports every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from gatebench.contract.file import load_contract
from gatebench.contract.rules import BodySpec, Contract
from gatebench.registry.servers import HYPHENATED, check_name
from gatebench.registry.toml import (
    Many,
    Positive,
    Some,
    Span,
    Table,
    Text,
    Time,
    check,
    form_of,
    load,
    one_of,
    tell,
    told,
)
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import (
    ArrivalProcess,
    Capability,
    Exchange,
    Level,
    LoadModel,
    Objective,
    Request,
    Transport,
    Workload,
)
from gatebench.words.plan import PROFILES
from gatebench.words.text import listed, seconds

_Number = TypeVar("_Number", int, float)
_Body = TypeVar("_Body", str, int)

WORKLOAD_FILE = "workload.toml"
LOCUST_FILE = "locustfile.py"
SEQUENCE_DIGITS = 16
"""Every WebSocket message holds a number of so many digits, so that a stale echo is seen."""
SERVICE_TIMES_PER_SLICE = 20
"""A slice is at least this many service times long (METHOD.md, "The plan")."""
CONNECTIONS = 64
"""How many connections an open loop has where its workload does not say."""
_NEEDS_WEBSOCKET = 'needs transport = "websocket"'


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the keys of a workload file are held against: other keys, right or not, and what is outside it.

    Attributes:
        model: `load.model`.
        exchange: `request.exchange`, "echo" where it is not given.
    """

    locustfile: bool
    contract: Contract
    transport: object
    model: object
    exchange: object

    @classmethod
    def of(cls, data: Mapping[str, object], folder: Path, contract: Contract) -> _Asked:
        """What a file asks for, whatever else is wrong with it."""
        load, request = data.get("load"), data.get("request")
        return cls(
            (folder / LOCUST_FILE).is_file(),
            contract,
            data.get("transport"),
            load.get("model") if isinstance(load, dict) else None,
            request.get("exchange", "echo") if isinstance(request, dict) else "echo",
        )

    @property
    def websocket(self) -> bool:
        """Whether the transport is a WebSocket."""
        return self.transport == "websocket"

    @property
    def own_requests(self) -> bool:
        """Whether a Locust file has the requests."""
        return self.model == "locust"


_Info = ValidationInfo[_Asked]


def _series(least: float) -> AfterValidator:
    """Takes numbers of which there is one, none too small, and none twice."""

    def check(numbers: tuple[_Number, ...]) -> tuple[_Number, ...]:
        faults = [] if numbers else ["must name at least one number"]
        faults += (f"{number:g} is under {least:g}" for number in numbers if number < least)
        faults += ["names a number twice"] if len(set(numbers)) < len(numbers) else []
        tell(faults)
        return numbers

    return AfterValidator(check)


_Rate = Annotated[float, Field(allow_inf_nan=False)]
_Counts = Annotated[Many[int], _series(1)]


class _Load(Table):
    """What all loads have."""

    model: LoadModel

    @field_validator("model")
    @classmethod
    def _model(cls, model: LoadModel, info: _Info) -> LoadModel:
        locust, paced = model == "locust", model in {"open", "ladder", "objective"}
        faults = []
        if locust and not info.context.locustfile:
            faults.append(f'"locust" needs a {LOCUST_FILE} beside {WORKLOAD_FILE}')
        if info.context.locustfile and not locust:
            faults.append(f'must be "locust", because there is a {LOCUST_FILE}')
        if paced and info.context.exchange != "echo":
            faults.append(f'"{model}" needs an exchange of request and answer')
        tell(faults)
        return model


class _Closed(_Load):
    connections: _Counts
    window: _Counts = (1,)

    @field_validator("window")
    @classmethod
    def _window(cls, window: tuple[int, ...], info: _Info) -> tuple[int, ...]:
        if max(window) > 1 and not (info.context.websocket and info.context.exchange == "echo"):
            raise ValueError('over 1 needs transport = "websocket" and exchange = "echo"')
        return window

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every number of connections with every window."""
        return tuple(Level(number, window=window) for number in self.connections for window in self.window)


class _Paced(_Load):
    """What loads at a rate have, however that is chosen."""

    connections: Annotated[int, Field(ge=1)] = CONNECTIONS
    arrivals: ArrivalProcess = "poisson"


class _Open(_Paced):
    rates: Annotated[Many[_Rate], _series(1)]

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every rate."""
        return tuple(Level(self.connections, "open", rate_per_s=rate) for rate in self.rates)


class _Ladder(_Paced):
    of: Text
    shares: Annotated[Many[_Rate], _series(0.01)]

    @field_validator("shares")
    @classmethod
    def _shares(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        tell(f"{share:g} is over 1, the whole capacity" for share in shares if share > 1)
        return shares

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every share of the capacity."""
        return tuple(Level(self.connections, "ladder", capacity_share=share) for share in self.shares)


class _Objective(_Paced):
    percentile: Literal["p50", "p90", "p99", "p99.9"]
    limit: Span

    @property
    def levels(self) -> tuple[Level, ...]:
        """The objective alone."""
        objective = Objective(float(self.percentile.removeprefix("p")), seconds(self.limit))
        return (Level(self.connections, "objective", objective=objective),)


class _Idle(_Load):
    connections: Annotated[Many[int], _series(0)]

    @field_validator("connections")
    @classmethod
    def _connections(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(steps) or len(steps) < 3:
            raise ValueError("must be three numbers or more, rising: a line is fitted through them")
        return steps

    @property
    def levels(self) -> tuple[Level, ...]:
        """All steps in one."""
        return (Level(max(self.connections), "idle"),)


class _Locust(_Load):
    users: _Counts

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every number of users."""
        return tuple(Level(number, "locust") for number in self.users)


_LOADS = {
    "closed": _Closed,
    "open": _Open,
    "ladder": _Ladder,
    "objective": _Objective,
    "idle": _Idle,
    "locust": _Locust,
}
_AnyLoad = Annotated[
    _Closed | _Open | _Ladder | _Objective | _Idle | _Locust,
    form_of("model", _LOADS),
]


class _Request(Table):
    method: Literal["GET", "POST"] = "GET"
    body: str = ""
    body_bytes: Annotated[int, Field(ge=0)] = 0
    exchange: Exchange | None = Field(None, validate_default=True)
    message_bytes: int = 64
    path: Text

    @field_validator("method")
    @classmethod
    def _method(cls, method: str, info: _Info) -> str:
        if method != "GET" and info.context.websocket:
            raise ValueError('a WebSocket starts with "GET"')
        return method

    @field_validator("body", "body_bytes")
    @classmethod
    def _body(cls, body: _Body, info: _Info) -> _Body:
        tell(
            fault
            for fault, wrong in (
                ('needs method = "POST"', info.data.get("method") == "GET"),
                ("is another body than `body`; give one of them", info.data.get("body")),
            )
            if body and wrong
        )
        return body

    @field_validator("exchange")
    @classmethod
    def _exchange(cls, exchange: Exchange | None, info: _Info) -> Exchange | None:
        together = (exchange == "idle") == (info.context.model == "idle")
        faults = [_NEEDS_WEBSOCKET] if exchange and not info.context.websocket else []
        faults += [] if together else ['"idle" and load.model = "idle" belong together']
        tell(faults)
        return exchange

    @field_validator("message_bytes")
    @classmethod
    def _message_bytes(cls, size: int, info: _Info) -> int:
        faults = [] if info.context.websocket else [_NEEDS_WEBSOCKET]
        faults += [f"{size} is under {SEQUENCE_DIGITS}"] if size < SEQUENCE_DIGITS else []
        tell(faults)
        return size

    @model_validator(mode="after")
    def _has_an_answer(self, info: _Info) -> Self:
        """Nobody could check a request that the contract does not answer."""
        contract, key = info.context.contract, "path"
        if not (self.path.startswith("/") and self.path.isascii() and " " not in self.path):
            fault = f'"{self.path}" must start with / and hold neither spaces nor non-ASCII letters'
        elif info.context.websocket:
            fault = contract.why_no_socket(self.path, self.exchange or "echo")
        else:
            size = self.body_bytes or len(self.body.encode())
            key, fault = contract.why_not_asked(self.method, self.path, size)
            key = "body_bytes" if key == "body" and self.body_bytes else key
        if fault:
            raise told(((key,), fault))
        return self

    @property
    def request(self) -> Request:
        """The request that the table describes."""
        return Request(
            method=self.method,
            path=self.path,
            body=BodySpec("bytes", str(self.body_bytes)).make() if self.body_bytes else self.body.encode(),
            exchange=self.exchange or "echo",
            message_bytes=self.message_bytes,
        )


class _WorkloadFile(Table):
    """What `workload.toml` holds; its context is what it asks for."""

    description: Text
    transport: Transport
    service: Time = "0s"
    slice: Span
    warmup: Span
    needs: Some[Capability] = frozenset()
    profiles: Some[Annotated[str, one_of(PROFILES)]]
    share: Positive = 1.0
    load: _AnyLoad
    saturates: bool | None = None
    request: _Request | None = Field(None, validate_default=True)

    @field_validator("slice")
    @classmethod
    def _slice(cls, text: str, info: _Info) -> str:
        shortest_s = SERVICE_TIMES_PER_SLICE * seconds(info.data.get("service", "0s"))
        if seconds(text) < shortest_s:
            raise ValueError(
                f"{seconds(text):g}s is under {SERVICE_TIMES_PER_SLICE} service times ({shortest_s:g}s), "
                "so filling and draining the connections would bias the figure"
            )
        return text

    @field_validator("profiles")
    @classmethod
    def _profiles(cls, profiles: frozenset[str]) -> frozenset[str]:
        if not profiles:
            raise ValueError(f"must name at least one of {listed(PROFILES)}")
        return profiles

    @field_validator("saturates")
    @classmethod
    def _saturates(cls, saturates: bool | None, info: _Info) -> bool | None:
        if saturates and info.context.model != "closed":
            raise ValueError('is for load.model = "closed": no other load is meant to fill the server')
        return saturates

    @field_validator("request")
    @classmethod
    def _request(cls, request: _Request | None, info: _Info) -> _Request | None:
        if request is None and not info.context.own_requests:
            raise ValueError("is missing; it must be a table")
        if request is not None and info.context.own_requests:
            raise ValueError(f'is not for load.model = "locust": the requests are those of {LOCUST_FILE}')
        return request


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
    path = folder / WORKLOAD_FILE
    data = load(path, problems)
    file = None
    if data is not None:
        asked = _Asked.of(data, folder, contract or load_contract())
        file = check(_WorkloadFile, data, path, problems, asked)
    if problems or file is None:
        raise ConfigurationError(problems)
    return Workload(
        name=folder.name,
        folder=folder,
        description=file.description,
        transport=file.transport,
        request=file.request.request if file.request else Request("GET", "/"),
        levels=file.load.levels,
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
        locustfile=None if file.request else folder / LOCUST_FILE,
    )
