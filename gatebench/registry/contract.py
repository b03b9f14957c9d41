"""Checks `apps/contract.toml`, strictly, before anything is held to it: every fault at once, with its key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gatebench.contract.file import CONTRACT_FILE, ROUTE, contract_of, parse_case
from gatebench.contract.rules import Contract, SocketDeed, parse_body, parse_literal
from gatebench.registry.toml import Many, Table, Text, check, load, only, told
from gatebench.words.errors import ConfigurationError

SCHEMA = 1

_ARGUMENT = re.compile(r"\{([a-z]+)\}")
_OF_ARGUMENTS = ("minimum", "maximum", "waits")


def read_contract(path: Path = CONTRACT_FILE) -> Contract:
    """Reads and checks a contract.

    Raises:
        ConfigurationError: with every problem found, each with file and key.
    """
    problems: list[str] = []
    data = load(path, problems)
    if data is None or check(_ContractFile, data, path, problems) is None:
        raise ConfigurationError(problems)
    contract = contract_of(data)
    problems += (f"{path}: {problem}" for problem in _misplaced(data, contract))
    if problems:
        raise ConfigurationError(problems)
    return contract


def _body(text: str) -> str:
    """A route's body; whether the argument that it mentions is the route's own is seen with the route."""
    mentioned = _ARGUMENT.search(text)
    parse_body(text, mentioned[1] if mentioned else None)
    return text


def _literal(text: str) -> str:
    parse_literal(text)
    return text


def _case(text: str) -> str:
    parse_case(text)
    return text


def _form(text: str) -> str:
    if not ROUTE.fullmatch(text):
        message = "is not a path such as /plaintext or /bytes/{n}"
        raise ValueError(message)
    return text


_Natural = Annotated[int, Field(ge=0)]
_Literal = Annotated[Text, AfterValidator(_literal)]
_Cases = Many[Annotated[Text, AfterValidator(_case)]]


class _Route(Table):
    method: Literal["GET", "POST"]
    content_type: Text
    body: Annotated[Text, AfterValidator(_body)]
    minimum: _Natural = 0
    maximum: _Natural = 0
    content_length: bool = True
    body_limit: Annotated[int, Field(ge=1)] | None = None
    waits: bool = False

    @field_validator("maximum")
    @classmethod
    def _maximum(cls, maximum: int, info: ValidationInfo) -> int:
        minimum = info.data.get("minimum", 0)
        if maximum < minimum:
            raise ValueError(f"{maximum} is under the minimum, {minimum}")
        return maximum

    def faults(self, argument: str | None) -> Iterator[tuple[str, str]]:
        """Each key that does not suit the path's argument, and why."""
        if argument is None:
            for key in sorted(self.model_fields_set.intersection(_OF_ARGUMENTS)):
                yield key, "is about the argument of a path such as /bytes/{n}, and this path has none"
        try:
            parse_body(self.body, argument)
        except ValueError as error:
            yield "body", str(error)


class _Errors(Table):
    content_type: Text
    bad_request: _Literal = Field(alias="400")
    not_found: _Literal = Field(alias="404")
    method_not_allowed: _Literal = Field(alias="405")
    content_too_large: _Literal = Field(alias="413")


class _Interface(Table):
    wsgi: Many[Text]
    asgi: Many[Text]


class _Answered(Table):
    """Cases by the status of their answer."""

    ok: _Cases = Field((), alias="200")
    bad_request: _Cases = Field((), alias="400")
    not_found: _Cases = Field((), alias="404")
    method_not_allowed: _Cases = Field((), alias="405")
    content_too_large: _Cases = Field((), alias="413")


class _CaseTables(Table):
    quick: _Answered
    thorough: _Answered


class _Connection(Table):
    requests: _Cases


class _Socket(Table):
    does: SocketDeed
    sockets: Annotated[int, Field(ge=1)] = 1
    messages: Many[_Literal] = ()


class _ContractFile(Table):
    version: Annotated[int, only(SCHEMA)] = Field(alias="schema")
    routes: dict[Annotated[str, AfterValidator(_form)], _Route]
    errors: _Errors
    interface: _Interface
    cases: _CaseTables
    connection: _Connection
    websockets: dict[str, _Socket]

    @field_validator("routes")
    @classmethod
    def _routes(cls, routes: dict[str, _Route]) -> dict[str, _Route]:
        faults = []
        for form, route in routes.items():
            match = ROUTE.fullmatch(form)
            argument = match["argument"] if match else None
            faults += [((form, key), text) for key, text in route.faults(argument)]
        if faults:
            raise told(*faults)
        return routes


def _misplaced(data: Mapping[str, Any], contract: Contract) -> Iterator[str]:
    """Every case under another status than the routes give it."""
    for extent in ("quick", "thorough"):
        for status, texts in data["cases"][extent].items():
            for case in map(parse_case, texts):
                ruled = contract.status(case.method, case.target, len(case.send.make()))
                if ruled != int(status):
                    yield f"cases.{extent}.{status}: {case.name!r} is answered with {ruled} by the routes"
