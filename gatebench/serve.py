"""`gatebench serve` and `gatebench ui`: one subject in the foreground, started as a run would start it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from gatebench.contract import load_contract
from gatebench.cores import Cores
from gatebench.errors import GatebenchError
from gatebench.holding import hold_to_contract
from gatebench.model import Capability, Subject
from gatebench.ports import is_free
from gatebench.processes import OWNER_VARIABLE, Owner
from gatebench.runner import HOST
from gatebench.runner_process import ProcessInstance, await_end, process_runner
from gatebench.selection import ROOT
from gatebench.site import LocalSite

USERS: dict[Capability, str] = {
    "keep-alive": "KeepAliveUser",
    "close": "CloseUser",
    "websocket": "WebSocketUser",
}
LOCUST_GRACE_S = 10.0
"""How long Locust may take to stop its users and print its last tables before it is ended by force."""
POLL_S = 0.2


def serve_subject(subject: Subject, *, port: int, cores: Cores, cache: Path, console: Console) -> None:
    """Runs a subject until it ends or the person does.

    Raises:
        GatebenchError: it is unavailable or did not get ready, or it ended by itself.
    """
    with running(subject, port=port, cores=cores, cache=cache, console=console) as instance:
        await_end([instance])
        raise ended_by_itself(instance, instance.fault())


def locust_ui(
    subject: Subject, *, port: int, web_port: int, cores: Cores, cache: Path, console: Console
) -> None:
    """Runs a subject with Locust's web UI in front of it, until one of them ends or the person does.

    Raises:
        GatebenchError: the subject is unavailable or did not get ready, or it or Locust ended by itself.
    """
    if not is_free(HOST, web_port):
        raise GatebenchError(f"port {web_port} is in use; choose another one for the web UI (--web-port)")
    with running(subject, port=port, cores=cores, cache=cache, console=console) as instance:
        command = locust_command(instance, web_port=web_port, engine_cpu=cores.engine[0])
        console.print(f"Locust's web UI: http://{HOST}:{web_port} (Ctrl-C ends both)")
        # Locust ends first, whatever ends it: users whose server is gone would only count failures.
        with ending_with_block(command) as locust:
            while not (fault := instance.fault()) and locust.poll() is None:
                time.sleep(POLL_S)
        if fault:
            raise ended_by_itself(instance, fault)
        raise GatebenchError(f"Locust ended with status {locust.returncode}")


def locust_command(instance: ProcessInstance, *, web_port: int, engine_cpu: int) -> list[str]:
    """Locust with its web UI, and those users for it that the subject can answer."""
    supports = instance.subject.variant.supports
    return [
        *(sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py")),
        *(USERS[capability] for capability in USERS if capability in supports),
        *("--class-picker", "--host", f"http://{instance.host}:{instance.port}"),
        *("--web-host", HOST, "--web-port", str(web_port)),
        *("--users", "64", "--spawn-rate", "64", "--engine-cpu", str(engine_cpu)),
    ]


@contextlib.contextmanager
def ending_with_block(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has ended, with its children, when the block has.

    Popen's own block does not wait after Ctrl-C, which it takes to have reached the process as well; this one
    is in a session of its own. The lab's mark has it swept up if this command itself is killed.
    """
    variables = {**os.environ, OWNER_VARIABLE: str(Owner.this())}
    process = subprocess.Popen(command, cwd=ROOT, env=variables, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOCUST_GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended_by_itself(instance: ProcessInstance, fault: str) -> GatebenchError:
    """The error that says what ended of a server, with what it said last."""
    return GatebenchError(f"{fault}; its last lines:\n{instance.log_tail()}")


@contextlib.contextmanager
def running(
    subject: Subject, *, port: int, cores: Cores, cache: Path, console: Console
) -> Iterator[ProcessInstance]:
    """A subject that is up and holds to the contract; it is ended with the block."""
    with process_runner(cores=cores, cache=cache, console=console) as (runner, scratch):
        if reason := runner.prepare([subject])[subject.id].reason:
            raise GatebenchError(f"{subject.id} is unavailable: {reason}")
        instance = runner.launch(subject, log=scratch / "server.log", hash_seed=0, port=port)
        try:
            hold_to_contract(instance, LocalSite(load_contract()), thorough=False)
            console.print(f"{subject.id} answers at http://{instance.host}:{instance.port} (Ctrl-C ends it)")
            console.print(" ".join(instance.argv), markup=False, highlight=False, soft_wrap=True)
            yield instance
        finally:
            runner.stop([instance])
