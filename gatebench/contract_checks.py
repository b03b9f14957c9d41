"""Holds one answer against the contract: every difference, worded for the person who reads it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatebench.contract_rules import Answer, Contract
    from gatebench.model import Interface
    from gatebench.wire import Received

_SHOWN = 60
_AROUND = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a server differs from the contract.

    Attributes:
        case: the request, such as `GET /bytes/100000`.
        aspect: `status`, `body`, `header content-type`, `connection`, `keep-alive`, …
        expected: what the contract says.
        got: what came instead; long bodies are abbreviated.
    """

    case: str
    aspect: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.case}: {self.aspect}: expected {self.expected}, got {self.got}"


def differences(case: str, method: str, answer: Answer, received: Received) -> tuple[Difference, ...]:
    """Every difference between an answer and the contract, but for the shape of `/interface`."""
    found = []
    if received.status != answer.status:
        found.append(Difference(case, "status", str(answer.status), str(received.status)))
    for name, value in answer.headers.items():
        got = received.header(name)
        if got != value:
            found.append(Difference(case, f"header {name}", repr(value), _or_none(got)))
    found += _length_differences(case, method, answer, received)
    if answer.body is not None and received.body != answer.body:
        found.append(Difference(case, "body", *body_difference(answer.body, received.body)))
    return tuple(found)


def _length_differences(case: str, method: str, answer: Answer, received: Received) -> list[Difference]:
    aspect = "header content-length"
    got = received.header("content-length")
    if not answer.measured:
        return [Difference(case, aspect, "none, as for a stream", repr(got))] if got and answer.body else []
    if method == "HEAD":
        if got is not None and answer.length is not None and got != str(answer.length):
            return [Difference(case, aspect, f"{str(answer.length)!r} as for GET, or none", repr(got))]
        return []
    length = len(received.body) if answer.length is None else answer.length
    return [] if got == str(length) else [Difference(case, aspect, repr(str(length)), _or_none(got))]


def interface_differences(
    case: str, interface: Interface, contract: Contract, body: bytes
) -> tuple[Difference, ...]:
    """Every difference between the body of `/interface` and the shape that the contract prescribes."""
    try:
        document = json.loads(body)
    except ValueError as error:
        return (Difference(case, "body", "JSON", f"{abbreviate(body)} ({error})"),)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), dict):
        return (Difference(case, "body", 'an object with "interface" and "keys"', abbreviate(body)),)
    found = []
    if document.get("interface") != interface:
        found.append(Difference(case, "interface", repr(interface), repr(document.get("interface"))))
    keys = document["keys"]
    missing = [key for key in contract.interface_keys[interface] if key not in keys]
    if missing:
        found.append(Difference(case, "keys", ", ".join(missing), "none of these"))
    odd = [
        key for key, shown in keys.items() if not isinstance(shown, dict) or set(shown) != {"type", "value"}
    ]
    if odd:
        found.append(
            Difference(case, "keys", '"type" and "value" for each', f"something else for {', '.join(odd)}")
        )
    return tuple(found)


def body_difference(expected: bytes, got: bytes) -> tuple[str, str]:
    """Both bodies in words, from shortly before the first byte in which they differ."""
    if max(len(expected), len(got)) <= _SHOWN:
        return repr(expected), repr(got)
    shared = min(len(expected), len(got))
    first = next((index for index in range(shared) if expected[index] != got[index]), shared)
    start = max(0, first - _AROUND)
    return _excerpt(expected, start, first), _excerpt(got, start, first)


def abbreviate(body: bytes) -> str:
    """A body in at most a line: whole where it is short, else its beginning and its length."""
    return repr(body) if len(body) <= _SHOWN else f"{body[:_SHOWN]!r}… ({len(body):,} bytes)"


def _excerpt(body: bytes, start: int, first: int) -> str:
    shown = repr(body[start : start + _SHOWN])
    return f"{len(body):,} bytes, at {start:,}: {shown} (differs from {first:,} on)"


def _or_none(value: str | None) -> str:
    return "none" if value is None else repr(value)
