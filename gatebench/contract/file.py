"""Reads `apps/contract.toml`, strictly: every problem at once, each with file and key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apps
from gatebench.contract.rules import (
    NO_BODY,
    SOCKET_DEEDS,
    BodySpec,
    Case,
    Contract,
    Route,
    SocketCase,
    parse_body,
    parse_literal,
)
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import INTERFACES
from gatebench.words.toml import Table

CONTRACT_FILE = Path(apps.__file__).with_name("contract.toml")
SCHEMA = 1
REFUSALS = (400, 404, 405, 413)
STATUSES = (200, *REFUSALS)
METHODS = ("GET", "POST")

_ROUTE = re.compile(r"(?P<prefix>/[a-z/]*)(?:\{(?P<argument>[a-z]+)\})?")
_CASE = re.compile(
    r"(?P<method>[A-Z]+) (?P<target>/[!-~]*)(?: (?P<chunked>chunked))?(?: (?P<body>.*))?", re.DOTALL
)
_CASE_FORM = '"METHOD /target", then "chunked" and a body where it sends one'


def load_contract(path: Path = CONTRACT_FILE) -> Contract:
    """Reads and checks a contract.

    Raises:
        ConfigurationError: with every problem found, each with file and key.
    """
    problems: list[str] = []
    table = Table.load(path, problems)
    if table is None:
        raise ConfigurationError(problems)
    if table.integer("schema", 0, 0) != SCHEMA:
        table.problem("schema", f"must be {SCHEMA}, the version that this Gatebench reads")
    errors, interface = table.table("errors"), table.table("interface")
    contract = Contract(
        routes=_routes(table),
        error_content_type=errors.string("content_type"),
        errors={status: _body(errors, str(status), parse_literal).make() for status in REFUSALS},
        interface_keys={name: interface.strings(name) for name in INTERFACES},
        cases=(),
        connection=_connection(table.table("connection")),
        websockets=tuple(_socket_case(path, entry) for path, entry in table.tables("websockets").items()),
    )
    cases = table.table("cases")
    judge = None if problems else contract  # a route that was not read would turn its cases into more errors
    quick = _cases(cases.table("quick"), judge)
    contract = replace(contract, cases=(*quick, *_cases(cases.table("thorough"), judge, thorough=True)))
    for each in (table, errors, interface, cases):
        each.finish()
    if problems:
        raise ConfigurationError(problems)
    return contract


def _routes(table: Table) -> tuple[Route, ...]:
    found: list[Route] = []
    for path_form, entry in table.tables("routes").items():
        match = _ROUTE.fullmatch(path_form)
        if match is None:
            table.problem(f"routes.{path_form}", "is not a path such as /plaintext or /bytes/{n}")
        else:
            found.append(_route(match["prefix"], match["argument"], entry))
    return tuple(found)


def _route(prefix: str, argument: str | None, table: Table) -> Route:
    minimum, maximum = 0, 0
    if argument is not None:
        minimum, maximum = table.integer("minimum", 0, 0), table.integer("maximum", 0, 0)
        if maximum < minimum:
            table.problem("maximum", f"{maximum} is under the minimum, {minimum}")
    route = Route(
        prefix=prefix,
        argument=argument,
        method=table.choice("method", METHODS),
        content_type=table.string("content_type"),
        body=_body(table, "body", lambda text: parse_body(text, argument)),
        minimum=minimum,
        maximum=maximum,
        measured=table.boolean("content_length", default=True),
        body_limit=table.integer("body_limit", 0, 1) if "body_limit" in table else None,
        waits=argument is not None and table.boolean("waits", default=False),
    )
    table.finish()
    return route


def _body(table: Table, key: str, parse: Callable[[str], BodySpec]) -> BodySpec:
    text = table.string(key)
    try:
        return parse(text) if text else NO_BODY
    except ValueError as error:
        table.problem(key, str(error))
        return NO_BODY


def _cases(table: Table, contract: Contract | None, *, thorough: bool = False) -> tuple[Case, ...]:
    """The cases of one table, by status; each is held against the routes of `contract` where it is given."""
    found: list[Case] = []
    for status in STATUSES:
        key = str(status)
        for text in table.strings(key, ()):
            try:
                case = _case(text, thorough=thorough)
            except ValueError as error:
                table.problem(key, str(error))
                continue
            ruled = contract.status(case.method, case.target, len(case.send.make())) if contract else status
            if ruled != status:
                table.problem(key, f"{case.name!r} is answered with {ruled} by the routes")
            found.append(case)
    table.finish()
    return tuple(found)


def _connection(table: Table) -> tuple[Case, ...]:
    found: list[Case] = []
    for text in table.strings("requests"):
        try:
            found.append(_case(text))
        except ValueError as error:
            table.problem("requests", str(error))
    table.finish()
    return tuple(found)


def _case(text: str, *, thorough: bool = False) -> Case:
    match = _CASE.fullmatch(text)
    if match is None:
        message = f"{text!r} is not a case; the form is {_CASE_FORM}"
        raise ValueError(message)
    send = NO_BODY if match["body"] is None else parse_literal(match["body"])
    return Case(match["method"], match["target"], send, match["chunked"] is not None, thorough)


def _socket_case(path: str, table: Table) -> SocketCase:
    messages: list[str | bytes] = []
    for text in table.strings("messages", ()):
        try:
            body = parse_literal(text)
        except ValueError as error:
            table.problem("messages", str(error))
            continue
        messages.append(body.make().decode() if body.kind == "text" else body.make())
    case = SocketCase(
        path, table.choice("does", SOCKET_DEEDS), table.integer("sockets", 1, 1), tuple(messages)
    )
    table.finish()
    return case
