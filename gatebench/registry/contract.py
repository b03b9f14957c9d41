"""Checks `apps/contract.toml`, strictly, before anything is held to it: every fault at once, with its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from gatebench.contract.file import CONTRACT_FILE, ROUTE, contract_of, parse_case
from gatebench.contract.rules import Contract, SocketDeed, parse_body, parse_literal
from gatebench.registry.toml import Fault, Many, Some, Table, Text, check, like, load, read_by
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Resource

SCHEMA = 1


def read_contract(path: Path = CONTRACT_FILE) -> Contract:
    """Reads and checks a contract.

    Raises:
        ConfigurationError: with every problem found, each with file and key.
    """
    problems: list[str] = []
    data = load(path, problems)
    if data is None or check(_ContractFile, data, path, problems, _faults) is None:
        raise ConfigurationError(problems)
    contract = contract_of(data)
    problems += (f"{path}: {problem}" for problem in _misplaced(data, contract))
    if problems:
        raise ConfigurationError(problems)
    return contract


_Natural = Annotated[int, Field(ge=0)]
_Literal = Annotated[Text, read_by(parse_literal)]
_Cases = Many[Annotated[Text, read_by(parse_case)]]
_Form = Annotated[str, like(ROUTE, "is not a path such as /plaintext or /bytes/{n}")]


class _Route(Table):
    method: Literal["GET", "POST"]
    content_type: Text
    body: Text
    minimum: _Natural = 0
    maximum: _Natural = 0
    content_length: bool = True
    body_limit: Annotated[int, Field(ge=1)] | None = None
    waits: bool = False
    requires: Some[Resource] = frozenset()


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
    version: int = Field(alias="schema")
    routes: dict[_Form, _Route]
    errors: _Errors
    interface: _Interface
    cases: _CaseTables
    connection: _Connection
    websockets: dict[str, _Socket]


def _faults(file: Mapping[str, Any]) -> Iterator[Fault]:
    """What does not go together in a file, whose values are right by themselves or left out."""
    if file.get("schema", SCHEMA) != SCHEMA:
        yield ("schema",), f"must be {SCHEMA}, the version that this Gatebench reads"
    for form, route in file.get("routes", {}).items():
        if match := ROUTE.fullmatch(form):
            for key, text in _route_faults(route, match["argument"]):
                yield ("routes", form, key), text


def _route_faults(route: Mapping[str, Any], argument: str | None) -> Iterator[tuple[str, str]]:
    minimum, maximum = route.get("minimum", 0), route.get("maximum", 0)
    for key in ("minimum", "maximum", "waits"):
        if argument is None and key in route:
            yield key, "is about the argument of a path such as /bytes/{n}, and this path has none"
    if maximum < minimum:
        yield "maximum", f"{maximum} is under the minimum, {minimum}"
    try:
        parse_body(route.get("body", "text:"), argument)
    except ValueError as error:
        yield "body", str(error)


def _misplaced(data: Mapping[str, Any], contract: Contract) -> Iterator[str]:
    """Every case under another status than the routes give it."""
    for extent in ("quick", "thorough"):
        for status, texts in data["cases"][extent].items():
            for case in map(parse_case, texts):
                ruled = contract.status(case.method, case.target, len(case.send.make()))
                if ruled != int(status):
                    yield f"cases.{extent}.{status}: {case.name!r} is answered with {ruled} by the routes"
