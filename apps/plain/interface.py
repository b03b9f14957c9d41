"""The answer of `/interface`: what a server handed the application, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from apps.plain.routes import Answer, whole

LIBRARIES = (
    *("gevent", "rloop", "trio", "twisted", "uvloop", "zuvloop"),
    *("gunicorn_h1c", "h11", "httptools", "zttp"),
    *("autobahn", "picows", "websockets", "wsproto"),
)
"""Packages that run an event loop, parse HTTP/1.1, or speak WebSocket, for servers that have a choice."""


def describe(interface: str, handed: Mapping[str, object]) -> Answer:
    """Every key of the environ or scope with its type and its value, and what calls the application.

    Bytes are decoded as Latin-1; an object that JSON cannot hold is given as the name of its type.
    """
    keys = {str(key): {"type": _type_name(value), "value": _plain(value)} for key, value in handed.items()}
    document = {"interface": interface, "keys": keys, "process": _process()}
    return whole(json.dumps(document, sort_keys=True).encode(), "application/json")


def _process() -> dict[str, object]:
    """Class of the event loop that runs now (None: none of asyncio's kind), and which libraries are loaded.

    Nothing is imported to find out: a server that has not loaded asyncio does not load it for this.
    """
    loop = None
    if (asyncio := sys.modules.get("asyncio")) is not None:
        try:
            loop = _type_name(asyncio.get_running_loop())
        except RuntimeError:  # called in a thread, or by no loop at all
            loop = None
    return {"loop": loop, "libraries": [name for name in LIBRARIES if name in sys.modules]}


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _type_name(value)


def _key(key: object) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)
