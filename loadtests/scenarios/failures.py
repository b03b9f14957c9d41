"""Sorts what Locust's HTTP clients raise into the kinds of failure that a slice counts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from http.client import BadStatusLine, IncompleteRead

import gevent
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError
from geventhttpclient.useragent import ConnectionError as ClientError

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


def example(what: str, error: BaseException) -> str:
    """The failure for a person, no longer than `EXAMPLE_CHARACTERS`."""
    return f"{what}: {str(error) or type(error).__name__}"[:EXAMPLE_CHARACTERS]


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
