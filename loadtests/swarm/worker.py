"""A Locust worker that a lab's master asks for slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import locust
from locust.env import Environment

from gatebench.machine.facts import load_side_hash
from gatebench.machine.kernel import open_file_limit
from loadtests.engine.fleet import EngineError
from loadtests.engine.protocol import Arrivals, Message
from loadtests.swarm.cells import Cells
from loadtests.swarm.master import Operation
from loadtests.swarm.users import LoadSession


class LabWorker:
    """Obeys a lab's commands, which come through Locust's master.

    Args:
        environment: the worker's.
        cpus: the core that each engine is pinned to, or None for one that is not.
    """

    def __init__(self, environment: Environment, cpus: Sequence[int | None]) -> None:
        self._environment = environment
        self._cpus = cpus
        self._cells: Cells | None = None

    def operations(self) -> Mapping[str, Operation]:
        """What it can be asked."""
        return {
            "hello": self._hello,
            "cells": self._declare,
            "connections": self._wait,
            "prepare": self._prepare,
            "slice": self._run_slice,
            "withdraw": self._withdraw,
        }

    @property
    def _known(self) -> Cells:
        if self._cells is None:
            raise EngineError("there are no engines yet; a lab must say hello first")
        return self._cells

    def _hello(self, message: Message) -> Message:
        session = LoadSession.existing(self._environment)
        if session is None:
            session = LoadSession(self._environment, cpus=message.get("cpus") or self._cpus, lasting=True)
            self._cells = Cells(self._environment, session)
        limits = [open_file_limit(pid) for pid in session.fleet.pids]
        known = [limit for limit in limits if limit is not None]
        return {
            "open_files": min(known, default=None),
            "locust": locust.__version__,
            "sources": load_side_hash(),
        }

    def _declare(self, message: Message) -> Message:
        self._known.declare(message["cells"])
        return {}

    def _wait(self, message: Message) -> Message:
        self._known.wait_for_connections(message["count"])
        return {}

    def _prepare(self, message: Message) -> Message:
        self._known.prepare(message["cell"])
        return {}

    def _run_slice(self, message: Message) -> Message:
        arrivals = Arrivals.from_json(message["arrivals"])
        result = self._known.run_slice(message["cell"], message["window_s"], arrivals)
        return {"result": result.to_json()}

    def _withdraw(self, _: Message) -> Message:
        self._known.withdraw()
        return {}
