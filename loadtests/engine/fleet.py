"""All connections of one load process, dealt out over its engine processes, whose counts become one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from loadtests.engine.engine_process import EngineError, EngineProcess
from loadtests.engine.messages import Message
from loadtests.engine.schedule import Arrivals
from loadtests.engine.tally import SliceResult
from loadtests.engine.target import Target

__all__ = ["EngineError", "Fleet"]

TOGETHER_S = 0.003
"""Several engines begin a slice together, this long after they were told."""


class Fleet:
    """The engine processes of one load process.

    Args:
        cpus: the core that each engine is pinned to, or None for an engine that is not: as many as engines.
        on_report: called with the group's name and what an engine counted, twice a second while it is driven.
        on_end: called when an engine ends although nobody closed this.
    """

    def __init__(
        self,
        cpus: Sequence[int | None] = (None,),
        *,
        on_report: Callable[[str, SliceResult], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._engines = [EngineProcess(cpu=cpu, on_report=on_report, on_end=on_end) for cpu in cpus]
        self._turns: dict[str, Iterator[EngineProcess]] = {}
        self._owners: dict[tuple[str, str], EngineProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The engines' process IDs."""
        return tuple(engine.pid for engine in self._engines)

    def add_group(self, group: str, target: Target, *, endless: bool = False) -> None:
        """Declares a group of connections; `endless` ones are driven, the others go through slices."""
        # A broadcast is one connection's, and another engine could not tell when it was sent.
        engines = self._engines[:1] if target.exchange == "broadcast" else self._engines
        self._turns[group] = itertools.cycle(engines)
        self._call_all({"op": "group", "group": group, "target": target.to_json(), "endless": endless})

    def remove_group(self, group: str) -> None:
        """Closes all of a group's connections and forgets it."""
        self._call_all({"op": "close", "group": group})
        del self._turns[group]
        self._owners = {key: engine for key, engine in self._owners.items() if key[0] != group}

    def open(self, group: str, connection: str) -> None:
        """Adds one connection to a group, without waiting for it."""
        engine = self._owners[group, connection] = next(self._turns[group])
        engine.send({"op": "open", "group": group, "connection": connection})

    def discard(self, group: str, connection: str) -> None:
        """Removes one connection from a group, without waiting for it."""
        engine = self._owners.pop((group, connection), None)
        if engine is not None:
            engine.send({"op": "discard", "group": group, "connection": connection})

    def prepare(self, group: str) -> int:
        """Reconnects what the server closed while idle, untimed; returns the number of connections."""
        return sum(int(reply["connections"]) for reply in self._call_all({"op": "prepare", "group": group}))

    def run_slice(self, group: str, window_s: float, arrivals: Arrivals | None = None) -> SliceResult:
        """Drives a group for `window_s` seconds, in an open loop with `arrivals`, and drains it."""
        engines = self._holding(group)
        start_ns = time.perf_counter_ns() + int(TOGETHER_S * 1e9) if len(engines) > 1 else None
        replies = [
            engine.begin(
                {
                    "op": "slice",
                    "group": group,
                    "window_s": window_s,
                    "arrivals": arrivals.share(part, len(engines)).to_json() if arrivals else None,
                    "start_ns": start_ns,
                }
            )
            for part, engine in enumerate(engines)
        ]
        return SliceResult.merge([SliceResult.from_json(reply.wait()["result"]) for reply in replies])

    def drive(self, group: str) -> None:
        """Starts an endless closed loop; `on_report` gets what it counts."""
        self._call_all({"op": "drive", "group": group})

    def report(self, group: str) -> SliceResult:
        """What a driven group counted since the last times that `on_report` was called for it."""
        replies = self._call_all({"op": "report", "group": group})
        return SliceResult.merge([SliceResult.from_json(reply["result"]) for reply in replies])

    def close(self) -> None:
        """Ends the engine processes."""
        for engine in self._engines:
            engine.begin_close()
        for engine in self._engines:
            engine.finish_close()

    def _holding(self, group: str) -> list[EngineProcess]:
        """The engines that hold connections of a group; the first where none does."""
        holding = {engine.pid for (name, _), engine in self._owners.items() if name == group}
        return [engine for engine in self._engines if engine.pid in holding] or self._engines[:1]

    def _call_all(self, message: Message) -> list[Message]:
        replies = [engine.begin(message) for engine in self._engines]
        return [reply.wait() for reply in replies]
