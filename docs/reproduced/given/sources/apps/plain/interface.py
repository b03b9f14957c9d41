"""The answer of `/interface`: what a server handed the application, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from apps.plain.routes import Answer, whole


def describe(interface: str, handed: Mapping[str, object]) -> Answer:
    """Every key of the environ or scope with its type and its value.

    Bytes are decoded as Latin-1; an object that JSON cannot hold is given as the name of its type.
    """
    keys = {str(key): {"type": _type_name(value), "value": _plain(value)} for key, value in handed.items()}
    document = {"interface": interface, "keys": keys}
    return whole(json.dumps(document, sort_keys=True).encode(), "application/json")


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
