"""Runs the null responder on loopback until it is ended: `-m loadtests.null_server --port N [--cpu N]`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import socket
from collections import defaultdict

from gatebench.contract.file import load_contract
from gatebench.machine.kernel import raise_open_file_limit
from loadtests.null_server.answers import Plan, Plans
from loadtests.null_server.http import HttpPeer
from loadtests.null_server.peer import Loop
from loadtests.null_server.websocket import WebSocketPeer


def serve(host: str, port: int) -> None:
    """Answers there without an end.

    Raises:
        OSError: the port is taken.
    """
    contract = load_contract()
    broadcasts = {case.path for case in contract.websockets if case.does == "broadcast"}
    rooms: defaultdict[str, set[WebSocketPeer]] = defaultdict(set)
    loop, plans = Loop(), Plans(contract)

    def begin(connection: socket.SocketType) -> None:
        HttpPeer(loop, connection, plans, upgrade).begin()

    def upgrade(peer: HttpPeer, plan: Plan, rest: bytes) -> None:
        connection, watched = peer.hand_over()
        room = rooms[plan.room] if plan.room in broadcasts else None
        changed = WebSocketPeer(loop, connection, room, watched=watched)
        changed.send(plan.answer)
        changed.take(rest)
        changed.begin()

    # A garbage collection would be a pause that the engine's figure would have to carry.
    gc.freeze()
    gc.disable()
    loop.serve(host, port, begin)


def main() -> None:
    """Serves on the port and the core that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port to listen at")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--cpu", type=int, default=None, help="core to pin the loop to")
    arguments = parser.parse_args()
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    raise_open_file_limit()
    with contextlib.suppress(KeyboardInterrupt):
        serve(arguments.host, arguments.port)


if __name__ == "__main__":
    main()
