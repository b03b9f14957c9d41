"""The handle on an engine process: starts it, sends it commands, takes its reports.

It uses plain sockets and threads, so it works under gevent's monkey-patching (inside Locust) and without.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from loadtests.engine.messages import Message, receive_message, send_message
from loadtests.engine.tally import SliceResult
from loadtests.engine.target import Target

GRACE_S = 5.0


class EngineError(RuntimeError):
    """The engine process ended while it was still needed."""


class Fleet:
    """All connections of one load process, in an engine process of its own.

    Args:
        cpu: the core to pin the engine to, or None.
        on_report: called with the group's name and what it counted, twice a second while it is driven.
        on_end: called when the engine ends although nobody closed this.
    """

    def __init__(
        self,
        *,
        cpu: int | None = None,
        on_report: Callable[[str, SliceResult], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._on_report = on_report
        self._on_end = on_end
        self._ids = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[Message | None]] = {}
        self._sending = threading.Lock()
        self._ended = False
        ours, theirs = socket.socketpair()
        self._control = ours
        with theirs:
            command = [sys.executable, "-m", "loadtests.engine", "--fd", str(theirs.fileno())]
            if cpu is not None:
                command += ["--cpu", str(cpu)]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._reader = threading.Thread(target=self._read, name="fleet", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The engine's process ID."""
        return self._process.pid

    def add_group(self, group: str, target: Target, *, endless: bool = False) -> None:
        """Declares a group of connections; `endless` ones are driven, the others go through slices."""
        self._call({"op": "group", "group": group, "target": target.to_json(), "endless": endless})

    def remove_group(self, group: str) -> None:
        """Closes all of a group's connections and forgets it."""
        self._call({"op": "close", "group": group})

    def open(self, group: str, connection: str) -> None:
        """Adds one connection to a group, without waiting for it."""
        self._send({"op": "open", "group": group, "connection": connection})

    def discard(self, group: str, connection: str) -> None:
        """Removes one connection from a group, without waiting for it."""
        self._send({"op": "discard", "group": group, "connection": connection})

    def prepare(self, group: str) -> int:
        """Reconnects what the server closed while idle, untimed; returns the number of connections."""
        return int(self._call({"op": "prepare", "group": group})["connections"])

    def run_slice(self, group: str, window_s: float) -> SliceResult:
        """Drives a group in a closed loop for `window_s` seconds and drains it."""
        reply = self._call({"op": "slice", "group": group, "window_s": window_s})
        return SliceResult.from_json(reply["result"])

    def drive(self, group: str) -> None:
        """Starts an endless closed loop; `on_report` gets what it counts."""
        self._call({"op": "drive", "group": group})

    def report(self, group: str) -> SliceResult:
        """What a driven group counted since the last time that `on_report` was called for it."""
        return SliceResult.from_json(self._call({"op": "report", "group": group})["result"])

    def close(self) -> None:
        """Ends the engine process."""
        self._ended = True
        with contextlib.suppress(OSError):  # the engine may have hung up already
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(GRACE_S)
        self._control.close()

    def _send(self, message: Message) -> None:
        with self._sending:
            try:
                send_message(self._control, message)
            except OSError as error:
                raise EngineError(f"the load engine ended (exit status {self._process.poll()})") from error

    def _call(self, message: Message) -> Message:
        identity = next(self._ids)
        answer: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._waiting[identity] = answer
        self._send({**message, "id": identity})
        reply = answer.get()
        if reply is None:
            raise EngineError(f"the load engine ended (exit status {self._process.poll()})")
        return reply

    def _read(self) -> None:
        while (message := self._receive()) is not None:
            if "report" in message:
                if self._on_report is not None:
                    self._on_report(message["report"], SliceResult.from_json(message["result"]))
            else:
                self._waiting.pop(message["id"]).put(message)
        for answer in self._waiting.values():
            answer.put(None)
        if self._on_end is not None and not self._ended:
            self._on_end()

    def _receive(self) -> Message | None:
        try:
            return receive_message(self._control)
        except OSError:
            return None
