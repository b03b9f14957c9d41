"""Reads `apps/contract.toml` wherever it is needed, also in the load generator's image, where no pydantic is.

It takes the file's form for granted: `gatebench.registry.contract` checks it before the lab begins anything.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apps
from gatebench.contract.rules import (
    NO_BODY,
    Case,
    Contract,
    Route,
    SocketCase,
    parse_body,
    parse_literal,
)
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import INTERFACES

CONTRACT_FILE = Path(apps.__file__).with_name("contract.toml")
REFUSALS = (400, 404, 405, 413)
STATUSES = (200, *REFUSALS)
ROUTE = re.compile(r"(?P<prefix>/[a-z/]*)(?:\{(?P<argument>[a-z]+)\})?")

_CASE = re.compile(
    r"(?P<method>[A-Z]+) (?P<target>/[!-~]*)(?: (?P<chunked>chunked))?(?: (?P<body>.*))?", re.DOTALL
)
_CASE_FORM = '"METHOD /target", then "chunked" and a body where it sends one'


def load_contract(path: Path = CONTRACT_FILE) -> Contract:
    """Reads a contract that was checked.

    Raises:
        ConfigurationError: the file cannot be read, or has not the form that was checked.
    """
    try:
        return contract_of(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"{path}: is no contract ({error!r}); `gatebench list` says what is wrong with which key"
        raise ConfigurationError(message) from error


def contract_of(data: Mapping[str, Any]) -> Contract:
    """The contract that the file's data, which were checked, describe."""
    errors = data["errors"]
    return Contract(
        routes=tuple(_route(form, entry) for form, entry in data["routes"].items()),
        error_content_type=errors["content_type"],
        errors={status: parse_literal(errors[str(status)]).make() for status in REFUSALS},
        interface_keys={name: tuple(data["interface"][name]) for name in INTERFACES},
        cases=tuple(
            parse_case(text, thorough=extent == "thorough")
            for extent in ("quick", "thorough")
            for status in STATUSES
            for text in data["cases"][extent].get(str(status), ())
        ),
        connection=tuple(parse_case(text) for text in data["connection"]["requests"]),
        websockets=tuple(_socket_case(target, entry) for target, entry in data["websockets"].items()),
    )


def parse_case(text: str, *, thorough: bool = False) -> Case:
    """Reads a request that verification makes.

    Raises:
        ValueError: with what is wrong and what is allowed.
    """
    match = _CASE.fullmatch(text)
    if match is None:
        message = f"{text!r} is not a case; the form is {_CASE_FORM}"
        raise ValueError(message)
    send = NO_BODY if match["body"] is None else parse_literal(match["body"])
    return Case(match["method"], match["target"], send, match["chunked"] is not None, thorough)


def _route(form: str, entry: Mapping[str, Any]) -> Route:
    prefix, brace, argument = form.removesuffix("}").partition("{")
    return Route(
        prefix=prefix,
        argument=argument if brace else None,
        method=entry["method"],
        content_type=entry["content_type"],
        body=parse_body(entry["body"], argument),
        minimum=entry.get("minimum", 0),
        maximum=entry.get("maximum", 0),
        measured=entry.get("content_length", True),
        body_limit=entry.get("body_limit"),
        waits=entry.get("waits", False),
        requires=frozenset(entry.get("requires", ())),
    )


def _socket_case(path: str, entry: Mapping[str, Any]) -> SocketCase:
    messages: list[str | bytes] = []
    for text in entry.get("messages", ()):
        body = parse_literal(text)
        messages.append(body.make().decode() if body.kind == "text" else body.make())
    return SocketCase(path, entry["does"], entry.get("sockets", 1), tuple(messages))
