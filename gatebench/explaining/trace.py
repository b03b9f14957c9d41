"""The trace of an application's calls: written in the server's processes, read by the command.

One JSON object a line, appended in one write each, so that processes and threads can share the file. Runs in
a server's environment, which has the standard library and nothing else of the lab.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from apps.plain.interface import describe

TRACE_VARIABLE = "GATEBENCH_TRACE"
"""Names the file of the trace in the server's environment."""
SHOWN_BYTES = 256
"""Of each value; a trace of 64 MiB would tell no more."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one call of the application.

    Attributes:
        at_s: on the machine's monotonic clock, which all its processes share.
        call: which call it belongs to.
        name: what was done, such as `called` or `start_response`.
    """

    at_s: float
    call: str
    name: str
    details: Mapping[str, Any]


class Trace:
    """Appends to a trace.

    Args:
        path: an existing file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    @classmethod
    def from_environment(cls) -> Self:
        """The trace that the lab named for this server.

        Raises:
            KeyError: it named none.
        """
        return cls(Path(os.environ[TRACE_VARIABLE]))

    def call(self) -> Call:
        """A new call of the application; after a fork too, no other has its name."""
        return Call(self, f"{os.getpid()}-{next(_numbers)}")

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one line."""
        os.write(self._file, json.dumps(line).encode() + b"\n")


class Call:
    """One call of the application while it is being traced."""

    def __init__(self, trace: Trace, name: str) -> None:
        self._trace = trace
        self._name = name

    def note(self, step: str, **details: Any) -> None:
        """Notes a step, with details as JSON holds them."""
        self._trace.write({"at_s": time.monotonic(), "call": self._name, "step": step, **details})


def read_trace(path: Path) -> tuple[Step, ...]:
    """Every whole line of a trace, in order."""
    return tuple(_step(json.loads(line)) for line in path.read_bytes().splitlines(True) if line[-1:] == b"\n")


def _step(line: dict[str, Any]) -> Step:
    return Step(line.pop("at_s"), line.pop("call"), line.pop("step"), line)


def shown(value: object) -> Any:
    """A value as JSON: bytes as `{"bytes": length, "latin1": beginning}`, others as their type's name."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value[:SHOWN_BYTES]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": len(value), "latin1": bytes(value[:SHOWN_BYTES]).decode("latin-1")}
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [shown(item) for item in value]
    return type(value).__qualname__


def handed(interface: str, environ_or_scope: Mapping[str, object]) -> Any:
    """Every key of an environ or a scope with its type and value, as `GET /interface` tells them."""
    return json.loads(b"".join(describe(interface, environ_or_scope).pieces))["keys"]
