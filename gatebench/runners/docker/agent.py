"""Runs beside the servers, in the load generator's container: what the lab cannot do from afar.

The lab's commands come on standard input and are answered on standard output, in the format of
`loadtests.engine.protocol`. Those whose name begins with `site.` are for the agent itself; all others are for
the load process, which it starts when it is told to. It ends when its input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Self

from gatebench.contract.file import load_contract
from gatebench.contract.own import request_of, told_values
from gatebench.contract.rules import Scope
from gatebench.contract.site import Check, fetch_all, listen_all, ready, verify_all
from gatebench.machine import cgroup
from gatebench.machine.cores import available_cores, hyper_threads
from gatebench.machine.facts import machine
from gatebench.machine.kernel import (
    core_time,
    fresh_port,
    listen_drops,
    open_file_limit,
    port_use,
    raise_open_file_limit,
    steal_s,
)
from gatebench.words.errors import GatebenchError
from gatebench.words.paths import ROOT
from loadtests.engine.protocol import Message, receive_message, send_message

CGROUPS = Path("/cgroup")
"""Where the container sees the machine's /sys/fs/cgroup, read-only."""
CONTRACT = ROOT / "apps" / "contract.toml"
GRACE_S = 8.0


class StandardStreams:
    """Standard input and output as a connection."""

    def recv(self, count: int, /) -> bytes:
        """Up to so many bytes; none at the end."""
        return os.read(0, count)

    def sendall(self, data: bytes, /) -> None:
        """Sends all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


class LoadChild:
    """The load process."""

    def __init__(self, arguments: list[str]) -> None:
        ours, theirs = socket.socketpair()
        self._control = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loadtests.swarm.process", "--fd", "0", *arguments],
                stdin=theirs.fileno(),
                stdout=sys.stderr,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, message: Message) -> Message:
        """Passes a command on, and its answer back."""
        with contextlib.suppress(OSError):
            send_message(self._control, message)
            if (reply := receive_message(self._control)) is not None:
                return reply
        return {"error": "the load process in the container ended"}


class Agent:
    """Answers the lab, one command after the other."""

    def __init__(self, undo: contextlib.ExitStack) -> None:
        self._undo = undo
        self._contract = load_contract(CONTRACT)
        self._load: LoadChild | None = None
        self._cgroups: dict[str, cgroup.Cgroup | None] = {}
        self._ports: set[int] = set()
        self._operations: Mapping[str, Callable[[Message], Message]] = {
            "site.ports": self._fresh_ports,
            "site.ready": self._ready,
            "site.verify": self._verify,
            "site.fetch": self._fetch,
            "site.listen": self._listen,
            "site.usage": self._usage,
            "site.port-use": self._port_use,
            "site.load": self._start_load,
        }

    def answer(self, message: Message) -> Message:
        """What to answer to a command."""
        operation = self._operations.get(message["op"])
        if operation is not None:
            try:
                return operation(message)
            except GatebenchError as error:
                return {"error": str(error)}
        if self._load is None:
            return {"error": "the load process was not started"}
        return self._load.ask(message)

    def _fresh_ports(self, message: Message) -> Message:
        return {"ports": [fresh_port(message["host"], self._ports) for _ in range(message["count"])]}

    def _ready(self, message: Message) -> Message:
        checks = [_check(each) for each in message["checks"]]
        heard = ready(checks, self._contract, message["within_s"])
        return {"heard": [asdict(each) for each in heard]}

    def _verify(self, message: Message) -> Message:
        found = verify_all(
            [_check(each) for each in message["checks"]],
            self._contract,
            thorough=message["thorough"],
            timeout_s=message["timeout_s"],
        )
        return {"differences": [[asdict(each) for each in differences] for differences in found]}

    @staticmethod
    def _fetch(message: Message) -> Message:
        addresses = [(host, port) for host, port in message["addresses"]]
        answers = fetch_all(addresses, message["target"], timeout_s=message["timeout_s"])
        return {
            "answers": [
                {"status": each.status, "latin1": each.body.decode("latin-1"), "error": each.error}
                for each in answers
            ]
        }

    @staticmethod
    def _listen(message: Message) -> Message:
        heard = listen_all([_check(each) for each in message["checks"]], timeout_s=message["timeout_s"])
        return {"heard": [[[told_values(told) for told in several] for several in each] for each in heard]}

    def _usage(self, message: Message) -> Message:
        """A container's use of CPU and memory, and the machine's counters, as close together as can be."""
        found = self._cgroup(message["container"])
        usage = cgroup.Usage() if found is None else found.usage()
        core = core_time(message["server_cores"], CGROUPS)
        aside = core_time(message["aside"], CGROUPS) if message["aside"] else None
        neighbours = {each: self._cgroup(each) for each in message["neighbours"]}
        used_s = {each: group.cpu_s() for each, group in neighbours.items() if group is not None}
        return {
            "usage": asdict(usage),
            "listen_drops": listen_drops(),
            "steal_s": steal_s(message["cores"]),
            "core": None if core is None else asdict(core),
            "aside": None if aside is None else asdict(aside),
            "used_s": {each: seconds for each, seconds in used_s.items() if seconds is not None},
        }

    def _cgroup(self, container: str) -> cgroup.Cgroup | None:
        if container not in self._cgroups:
            self._cgroups[container] = cgroup.find(container, CGROUPS)
        return self._cgroups[container]

    @staticmethod
    def _port_use(message: Message) -> Message:
        return {"share": port_use(message["port"], message["host"])}

    def _start_load(self, message: Message) -> Message:
        self._load = self._undo.enter_context(LoadChild(message["arguments"]))
        return {}


def _check(values: Message) -> Check:
    scope, routes = values["scope"], values["routes"]
    return Check(
        values["host"],
        values["port"],
        values["interface"],
        frozenset(values["supports"]),
        values["workers"],
        None
        if scope is None
        else Scope(frozenset(scope["routes"]), scope["keeps"], frozenset(scope["sockets"])),
        None if routes is None else frozenset(routes),
        tuple(map(request_of, values["asks"])),
    )


def describe() -> Message:
    """The machine (as `facts` tells it), its cores, and the limit of open files that containers have."""
    cores = available_cores()
    return {
        "machine": machine(),
        "cores": list(cores),
        "siblings": {str(core): sorted(found) for core, found in hyper_threads(cores).items()},
        "open_files": open_file_limit(os.getpid()),
    }


def main() -> None:
    """Obeys the lab until it closes the connection; with `--describe`, prints what it sees of the machine."""
    if sys.argv[1:] == ["--describe"]:
        print(json.dumps(describe()))
        return
    raise_open_file_limit()
    streams = StandardStreams()
    with contextlib.ExitStack() as undo:
        agent = Agent(undo)
        while (message := receive_message(streams)) is not None:
            send_message(streams, agent.answer(message))


if __name__ == "__main__":
    main()
