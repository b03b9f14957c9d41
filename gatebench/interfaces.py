"""Asks each server what it hands the application (`GET /interface`), for the report's interface matrix."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatebench.explaining.keys import need
from gatebench.model import Interface
from gatebench.runner import Instance
from gatebench.site import Fetched, Site

TARGET = "/interface"
TIMEOUT_S = 10.0
MOST_KEYS = 300
"""Far over what any server hands over."""


@dataclass(frozen=True, slots=True)
class Handed:
    """What one server hands the application.

    Attributes:
        keys: key of the environ or scope → its `type` and, where it may be made public, its `value`; None
            where it could not be learnt, and `reason` says why.
    """

    subject: str
    interface: Interface
    keys: Mapping[str, Mapping[str, Any]] | None
    reason: str = ""


def ask_interfaces(instances: Sequence[Instance], site: Site) -> Iterator[Handed]:
    """Asks each server once; twins are left out, since they are what their originals are."""
    asked = [instance for instance in instances if not instance.subject.again]
    addresses = [(instance.host, instance.port) for instance in asked]
    for instance, fetched in zip(asked, site.fetch(addresses, TARGET, timeout_s=TIMEOUT_S), strict=True):
        interface = instance.subject.variant.interface
        keys, reason = _read(fetched)
        yield Handed(
            instance.subject.id, interface, None if keys is None else public(interface, keys), reason
        )


def public(interface: Interface, keys: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The keys without what is private to the machine, since results are given to others.

    Some servers hand over the whole environment of their process, or paths and the host's name. Of what no
    specification knows, and of the request's own headers, only the type stays, and the value of a flag.
    """
    host = _first_label(socket.gethostname())
    kept: dict[str, dict[str, Any]] = {}
    for key, told in keys.items():
        known = need(interface, key) not in {"own", "header"} and _first_label(told["value"]) != host
        kept[key] = {"type": told["type"]}
        if known or told["type"] == "bool":
            kept[key]["value"] = told["value"]
    return kept


def _first_label(name: object) -> str:
    return str(name).partition(".")[0].lower()


def _read(fetched: Fetched) -> tuple[Mapping[str, Mapping[str, Any]] | None, str]:
    """The answer's keys, or None and why there are none."""
    if fetched.error or fetched.status != 200:
        return None, fetched.error or f"{TARGET} was answered with {fetched.status}"
    try:
        keys = json.loads(fetched.body)["keys"]
        read = {str(key): {"type": str(told["type"]), "value": told["value"]} for key, told in keys.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return None, f"{TARGET} was answered in another form ({error!r})"
    return (read, "") if len(read) <= MOST_KEYS else (None, f"{TARGET} told of {len(read):,} keys")
