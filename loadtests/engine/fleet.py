"""All connections of one load process, dealt out over its engine processes, whose counts become one."""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from loadtests.engine.protocol import Arrivals, Message, Target, receive_message, send_message
from loadtests.engine.tally import SliceResult

GRACE_S = 5.0


class EngineError(RuntimeError):
    """An engine process ended while it was still needed."""


class Reply:
    """The answer to one command, which may not have come yet."""

    def __init__(self, describe_end: Callable[[], str]) -> None:
        self._answer: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._describe_end = describe_end

    def put(self, message: Message | None) -> None:
        """Gives the answer; None when there will be none."""
        self._answer.put(message)

    def wait(self) -> Message:
        """Waits for the answer.

        Raises:
            EngineError: the engine ended instead.
        """
        message = self._answer.get()
        if message is None:
            raise EngineError(self._describe_end())
        return message


class EngineProcess:
    """One engine process.

    Args:
        cpu: the core to pin it to, or None.
        on_report: called with the group's name and what it counted, twice a second while it is driven.
        on_end: called when the engine ends although nobody closed this.
    """

    def __init__(
        self,
        *,
        cpu: int | None,
        on_report: Callable[[str, SliceResult], None] | None,
        on_end: Callable[[], None] | None,
    ) -> None:
        self._on_report = on_report
        self._on_end = on_end
        self._ids = itertools.count()
        self._waiting: dict[int, Reply] = {}
        self._sending = threading.Lock()
        self._ended = False
        ours, theirs = socket.socketpair()
        self._control = ours
        with theirs:
            command = [sys.executable, "-m", "loadtests.engine", "--fd", str(theirs.fileno())]
            if cpu is not None:
                command += ["--cpu", str(cpu)]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._reader = threading.Thread(target=self._read, name="engine", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The engine's process ID."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Sends a command that has no reply.

        Raises:
            EngineError: the engine has ended.
        """
        with self._sending:
            try:
                send_message(self._control, message)
            except OSError as error:
                raise EngineError(self._describe_end()) from error

    def begin(self, message: Message) -> Reply:
        """Sends a command and returns at once.

        Raises:
            EngineError: the engine has ended.
        """
        identity = next(self._ids)
        reply = Reply(self._describe_end)
        self._waiting[identity] = reply
        self.send({**message, "id": identity})
        return reply

    def begin_close(self) -> None:
        """Asks the engine to end."""
        self._ended = True
        with contextlib.suppress(OSError):  # the engine may have hung up already
            self._control.shutdown(socket.SHUT_RDWR)

    def finish_close(self) -> None:
        """Waits until the engine has ended, or ends it."""
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(GRACE_S)
        self._control.close()

    def _describe_end(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs up a moment before it has ended
            self._process.wait(GRACE_S)
        return f"the load engine ended (exit status {self._process.returncode})"

    def _read(self) -> None:
        while (message := self._receive()) is not None:
            if "report" in message:
                if self._on_report is not None:
                    self._on_report(message["report"], SliceResult.from_json(message["result"]))
            else:
                self._waiting.pop(message["id"]).put(message)
        for reply in list(self._waiting.values()):  # a command that is just being sent adds one
            reply.put(None)
        if self._on_end is not None and not self._ended:
            self._on_end()

    def _receive(self) -> Message | None:
        try:
            return receive_message(self._control)
        except OSError:
            return None


TOGETHER_S = 0.003
"""Several engines begin a slice together, this long after they were told. In an open loop one does so too:
whoever told it was perhaps on its core, and is asleep by then."""


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
        waits = len(engines) > 1 or arrivals is not None
        start_ns = time.perf_counter_ns() + int(TOGETHER_S * 1e9) if waits else None
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
