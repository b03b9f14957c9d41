"""The handle on one engine process: starts it, sends it commands, takes its replies and its reports.

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

from loadtests.engine.messages import Message, receive_message, send_message
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
