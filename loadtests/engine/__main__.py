"""The engine process: takes commands over an inherited socket, does the I/O, hands back what it counted.

Commands carry an `id` where they want a reply. It ends when the other side closes the socket.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import select
import signal
import socket

from loadtests.engine.group import Group
from loadtests.engine.protocol import Arrivals, Message, Target, receive_message, send_message
from loadtests.engine.slot import Loop, clock_ns

REPORT_INTERVAL_NS = 500_000_000


class Engine:
    """The groups of one engine process and the commands that move them."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._groups: dict[str, Group] = {}
        self._endless = Loop()
        self._endless.watch(control.fileno(), select.EPOLLIN, self._on_control)
        self._open = True
        self._reported_ns = clock_ns()

    def serve(self) -> None:
        """Serves commands, and any endless load, until the other side closes."""
        while self._open:
            driven = {name: group for name, group in self._groups.items() if group.endless}
            if not driven:
                self._on_control(0)
                continue
            self._endless.run(self._reported_ns + REPORT_INTERVAL_NS, done=lambda: not self._open)
            self._report(driven)
        for group in self._groups.values():
            group.close()

    def _report(self, driven: dict[str, Group]) -> None:
        now = clock_ns()
        elapsed_s = (now - self._reported_ns) / 1e9
        if now < self._reported_ns + REPORT_INTERVAL_NS:
            return
        self._reported_ns = now
        for name, group in driven.items():
            group.time_out_overdue()
            self._send({"report": name, "result": group.report(elapsed_s).to_json()})
        self._endless.busy_ns = 0

    def _on_control(self, _mask: int) -> None:
        message = receive_message(self._control)
        if message is None:
            self._open = False
            return
        reply = self._obey(message)
        if "id" in message:
            self._send({"id": message["id"], **reply})

    def _send(self, message: Message) -> None:
        try:
            send_message(self._control, message)
        except BrokenPipeError:
            self._open = False

    def _obey(self, message: Message) -> Message:
        operation, name = message["op"], message.get("group", "")
        if operation == "group":
            target = Target.from_json(message["target"])
            self._groups[name] = Group(target, self._endless if message["endless"] else Loop())
            return {}
        group = self._groups[name]
        if operation == "open":
            group.open(message["connection"])
        elif operation == "discard":
            group.discard(message["connection"])
        elif operation == "prepare":
            self._tend()
            group.prepare()
        elif operation == "slice":
            arrivals = Arrivals.from_json(message["arrivals"])
            return {"result": group.run_slice(message["window_s"], arrivals, message["start_ns"]).to_json()}
        elif operation == "report":
            return {"result": group.report((clock_ns() - self._reported_ns) / 1e9).to_json()}
        elif operation == "drive":
            self._reported_ns = clock_ns()
            group.drive()
        elif operation == "close":
            group.close()
            del self._groups[name]
            if group.loop is not self._endless:
                group.loop.close()
            gc.collect()
        else:
            raise ValueError(f"unknown operation {operation!r}")
        return {"connections": len(group)}

    def _tend(self) -> None:
        """Serves connections that wait for their turn: a server closes one that is deaf to its pings."""
        for group in self._groups.values():
            if not group.endless:
                group.loop.poll_once()


def main() -> None:
    """Runs the engine on the socket and the core that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited socket for commands")
    parser.add_argument("--cpu", type=int, default=None, help="core to pin the loop to")
    arguments = parser.parse_args()
    # The terminal's Ctrl-C is for the lab, which ends the engine by closing its socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Each connection is an open file.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    # A garbage collection inside a slice would be charged to the server.
    gc.freeze()
    gc.disable()
    with socket.socket(fileno=arguments.fd) as control:
        control.setblocking(True)
        Engine(control).serve()


if __name__ == "__main__":
    main()
