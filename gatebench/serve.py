"""`gatebench serve` and `gatebench ui`: one subject in the foreground, started as a run would start it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from gatebench.contract import load_contract
from gatebench.cores import Cores
from gatebench.errors import GatebenchError
from gatebench.holding import hold_to_contract
from gatebench.model import Capability, Subject
from gatebench.ports import is_free
from gatebench.runner import HOST
from gatebench.runner_process import ProcessInstance, await_end, process_runner
from gatebench.selection import ROOT
from gatebench.site import LocalSite

USERS: dict[Capability, str] = {
    "keep-alive": "KeepAliveUser",
    "close": "CloseUser",
    "websocket": "WebSocketUser",
}


def serve_subject(subject: Subject, *, port: int, cores: Cores, cache: Path, console: Console) -> None:
    """Runs a subject until it ends or the person does.

    Raises:
        GatebenchError: it is unavailable or did not get ready, or it ended by itself.
    """
    with running(subject, port=port, cores=cores, cache=cache, console=console) as instance:
        await_end([instance])
        raise GatebenchError(f"{instance.fault()}; its last lines:\n{instance.log_tail()}")


def locust_ui(
    subject: Subject, *, port: int, web_port: int, cores: Cores, cache: Path, console: Console
) -> None:
    """Runs a subject with Locust's web UI in front of it, until the person ends it.

    Raises:
        GatebenchError: the subject is unavailable, did not get ready, or Locust ended by itself.
    """
    if not is_free(HOST, web_port):
        raise GatebenchError(f"port {web_port} is in use; choose another one for the web UI (--web-port)")
    with running(subject, port=port, cores=cores, cache=cache, console=console) as instance:
        users = [USERS[capability] for capability in USERS if capability in subject.variant.supports]
        command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), *users]
        command += ["--class-picker", "--host", f"http://{instance.host}:{instance.port}"]
        command += [
            "--web-host",
            "127.0.0.1",
            "--web-port",
            str(web_port),
            "--users",
            "64",
            "--spawn-rate",
            "64",
        ]
        command += ["--engine-cpu", str(cores.engine[0])]
        console.print(f"Locust's web UI: http://127.0.0.1:{web_port} (Ctrl-C ends both)")
        with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as locust:
            try:
                status = locust.wait()
            finally:
                locust.terminate()
    raise GatebenchError(f"Locust ended with status {status}")


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
