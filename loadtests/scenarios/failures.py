"""Which answers of Locust's HTTP clients are failures, of which kind, and how a person is told."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from http.client import BadStatusLine, IncompleteRead, responses
from typing import Any

import gevent
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError
from geventhttpclient.useragent import ConnectionError as ClientError
from locust.exception import CatchResponseError, ResponseError

EXAMPLE_CHARACTERS = 300

_KINDS: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("timeout", (TimeoutError, gevent.Timeout)),
    ("refused", (ConnectionRefusedError, socket.gaierror)),
    ("short", (IncompleteRead,)),
    ("reset", (ConnectionError, HTTPConnectionClosed)),
    ("status", (BadStatusLine,)),
)
"""In order of precedence: an exception may be several of them at once, or wrap another."""
_NEVER_CONNECTED = (errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH)
_EARLY_END = ("Incomplete response", "Invalid EOF state", "connection closed")


def kind_of(error: BaseException) -> str:
    """The kind (see `loadtests.engine.tally.FAILURES`) of what a client raised for a request.

    The clients wrap what happened: requests and urllib3 as the context, geventhttpclient as `original`.
    """
    chain = list(_chain(error))
    for kind, types in _KINDS:
        if any(isinstance(each, types) for each in chain):
            return kind
    if any(isinstance(each, OSError) and each.errno in _NEVER_CONNECTED for each in chain):
        return "refused"
    if isinstance(error, HTTPParseError):
        return "short" if any(text in str(error) for text in _EARLY_END) else "status"
    if isinstance(error, ClientError):
        return "status"
    return "reset" if isinstance(error, OSError) else "body"


def lacked_port(error: BaseException) -> bool:
    """Whether there was no free local port for the connection."""
    return any(isinstance(each, OSError) and each.errno == errno.EADDRNOTAVAIL for each in _chain(error))


def verdict(met: BaseException | None, exception: BaseException | None, response: Any) -> str | None:
    """None for a correct answer, otherwise the kind of failure.

    The client's own error goes before the user's: a check fails on a missing answer, too. A user may expect a
    status that the client calls an error, but not declare a missing answer correct.

    Args:
        met: what the client met, before the user's own checks.
        exception: what Locust's event tells.
        response: of the client; None without one.
    """
    kind = kind_of(met) if met is not None else None
    if exception is None:
        return None if kind == "status" else kind
    if kind is not None:
        return kind
    return "status" if getattr(response, "status_code", 0) >= 400 else kind_of(exception)


def example(what: str, kind: str, error: BaseException, response: Any) -> str:
    """`POST /auth/login: 404 Not Found`; with the file's own words where it has some."""
    status = int(getattr(response, "status_code", 0) or 0)
    answered = f"{status} {responses.get(status, '')}".strip() if status else ""
    said = str(error) or type(error).__name__
    if not answered:
        return f"{what}: {said}"
    if kind == "status" and not isinstance(error, CatchResponseError | ResponseError):
        return f"{what}: {answered}"
    return f"{what}: {said} ({answered})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        wrapped = (each.__cause__, each.__context__, getattr(each, "original", None))
        waiting += [one for one in wrapped if isinstance(one, BaseException)]
