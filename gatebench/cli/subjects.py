"""Commands about single subjects: check and calibrate them, or run one in the foreground."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gatebench.cli.options import as_typed
from gatebench.cli.run import RunnerChoice
from gatebench.contract.file import load_contract
from gatebench.contract.rules import Contract
from gatebench.contract.site import LocalSite
from gatebench.load.backend import Backend, Circumstances
from gatebench.load.calibration import MIB, Ceiling, Probe, calibrate
from gatebench.load.targets import http_target
from gatebench.machine.cores import Cores
from gatebench.machine.kernel import is_free
from gatebench.machine.processes import OWNER_VARIABLE, Owner, sweep
from gatebench.registry.registry import Registry
from gatebench.runners.base import Instance, Launch
from gatebench.runners.process.instance import ProcessInstance
from gatebench.runners.process.runner import await_end, process_runner
from gatebench.runners.readiness import NOT_AS_ASKED, hold_all_to_contract, hold_to_contract, look
from gatebench.runners.session import watched
from gatebench.words.errors import GatebenchError, ServerFailure
from gatebench.words.model import Capability, Subject, Transport
from gatebench.words.options import LoadOptions
from gatebench.words.paths import HOST, ROOT
from gatebench.words.plan import PROFILES
from gatebench.words.text import counted
from loadtests.engine.protocol import Target


def list_registry(registry: Registry, console: Console) -> None:
    """Prints subjects, applications, workloads and profiles."""
    table = Table(title="subjects", title_justify="left")
    for column in ("subject", "interface", "class", "must run on", "supports", "homepage"):
        table.add_column(column, no_wrap=column == "subject")
    for subject in registry.subjects():
        variant = subject.variant
        kind = ("tuned" if variant.tuned else "default") + ("" if variant.selected else ", by name")
        supports = ", ".join(sorted(variant.supports))
        runs_on = variant.expects.in_words
        table.add_row(subject.id, variant.interface, kind, runs_on, supports, subject.server.homepage)
    console.print(table)
    console.print(
        "by name: not measured unless --servers (SERVERS=) selects it. What a subject must run on is held "
        "against what it is seen to run on; `gatebench verify` shows that of each.",
        soft_wrap=True,
    )
    console.print("applications:", ", ".join(registry.applications))
    table = Table(title="workloads", title_justify="left")
    for column in ("workload", "transport", "levels", "slice", "description"):
        table.add_column(column, no_wrap=column == "workload")
    for workload in registry.workloads.values():
        levels = ", ".join(level.id for level in workload.levels)
        slice_text = f"{workload.slice_s * 1000:g} ms"
        table.add_row(workload.name, workload.transport, levels, slice_text, workload.description)
    console.print(table)
    for profile in PROFILES.values():
        blocks = counted(profile.blocks, "block")
        console.print(f"profile {profile.name}: {blocks}, {profile.budget_s / 60:g} min")


@contextmanager
def command_backend(
    make: Callable[[Circumstances], Backend], console: Console, choice: RunnerChoice
) -> Iterator[tuple[Backend, Path]]:
    """A backend with its scratch folder, for a command that is no run; all it started ends with it."""
    sweep()
    owner = Owner.this()
    scratch = owner.scratch()
    console.print(as_typed(choice.reason), soft_wrap=True)
    with watched(owner, containers=choice.engine is not None):
        say = partial(console.print, markup=False, soft_wrap=True)
        yield make(Circumstances(owner, scratch, say)), scratch


CONNECTIONS = 64
WINDOW_S = 0.4
SLICES = 5
ANSWER_PATHS = ("/plaintext", "/bytes/1024", "/bytes/65536", "/bytes/1048576")
UPLOAD_BYTES = (65_536, 1_048_576)
MESSAGE_BYTES = (64, 1024, 65_536, 1_048_576)


def table_probes(contract: Contract) -> tuple[Probe, ...]:
    """What `gatebench calibrate` measures: every transport with small and large bodies."""

    def http(transport: Transport, method: str, path: str, body: bytes = b"") -> Probe:
        target = http_target(contract, HOST, 0, transport, method, path, body)
        return Probe(transport, f"{method} {path} {size_text(len(target.answer))}", CONNECTIONS, target)

    def echo(size: int) -> Probe:
        target = Target(HOST, 0, "websocket", path="/ws/echo", message_bytes=size)
        return Probe("websocket", f"/ws/echo {size_text(size)}", CONNECTIONS, target)

    answers = [http(transport, "GET", path) for transport in ("keep-alive", "close") for path in ANSWER_PATHS]
    bodies = [contract.expect("GET", f"/bytes/{size}").body for size in UPLOAD_BYTES]
    uploads = [http("keep-alive", "POST", "/echo", body) for body in bodies]
    return (*answers, *uploads, *(echo(size) for size in MESSAGE_BYTES))


def size_text(size: int) -> str:
    """`13 B`, `64 KiB`, `1 MiB`: whole units where they are whole."""
    for unit, bytes_each in (("MiB", MIB), ("KiB", 1024)):
        if size >= bytes_each and size % bytes_each == 0:
            return f"{size // bytes_each} {unit}"
    return f"{size:,} B"


def ceilings_table(ceilings: Sequence[Ceiling], cores: Cores) -> Table:
    """The ceilings as a table for the terminal; which of the two sides was the limit is its last column."""
    engines = ", ".join(map(str, cores.engine))
    title = f"the engine on core {engines} against the null responder on core {cores.server[0]}"
    table = Table(title=title, title_justify="left")
    table.add_column("transport")
    table.add_column("request")
    for column in ("connections", "answers/s", "lowest", "MiB/s", "engine busy", "responder CPU"):
        table.add_column(column, justify="right")
    table.add_column("limit")
    for ceiling in ceilings:
        table.add_row(
            ceiling.workload,
            ceiling.level,
            str(ceiling.connections),
            f"{ceiling.rate_per_s:,.0f}",
            f"{min(ceiling.rates_per_s):,.0f}",
            f"{ceiling.mib_per_s:,.0f}",
            f"{ceiling.engine_busy_share:.0%}",
            "unknown" if ceiling.responder_cpu_share is None else f"{ceiling.responder_cpu_share:.0%}",
            "unknown: disturbed" if ceiling.disturbed else ceiling.limit,
        )
    return table


def calibrate_command(backend: Backend, scratch: Path, console: Console) -> None:
    """Runs `gatebench calibrate`: measures and prints what the load engine can do on these cores.

    Raises:
        GatebenchError: an answer was late or wrong, or a process ended.
    """
    with backend.open(scratch, LoadOptions()) as ground:
        ground.load.hello()
        here = backend.cores.server if backend.name == "process" else ()
        with (
            console.status("driving the engine against the null responder"),
            backend.responders(scratch) as responder_of,
        ):
            probes = table_probes(load_contract())
            ceilings = calibrate(
                ground.load, probes, responder_of, slices=SLICES, window_s=WINDOW_S, responder_cores=here
            )
    console.print(ceilings_table(ceilings, backend.cores))
    console.print(
        "These figures hold for this machine, now. A server's rate above half of one of them may measure the "
        "engine instead of the server. A run measures the null responder in its own rounds, and its gate "
        "`ceiling` asks that.",
        soft_wrap=True,
    )


def check_subjects(
    subjects: Sequence[Subject], backend: Backend, scratch: Path, console: Console, *, named: bool
) -> bool:
    """Checks all subjects and prints a table.

    One that cannot have the backend's number of worker processes is not started.

    Args:
        subjects: which.
        backend: what starts them.
        scratch: folder for their logs.
        console: to print on.
        named: a person asked for these, so that each must be there to be checked.

    Returns:
        Whether every one that was checked holds, and all that had to be were checked: at least one.
    """
    table = Table(title="contract", title_justify="left")
    for column in ("subject", "verdict", "runs on", "differences"):
        table.add_column(column, overflow="fold")
    failures: dict[str, ServerFailure] = {}
    seen: dict[str, str] = {}
    readiness = backend.prepare(subjects)
    unsupported = {subject.id: subject.one_process_only(backend.budget.workers) for subject in subjects}
    ready = [each for each in subjects if not readiness[each.id].reason and not unsupported[each.id]]
    with backend.open(scratch, LoadOptions()) as ground:
        launches = [Launch(subject, scratch / f"{subject.id}.log", hash_seed=0) for subject in ready]
        instances: list[Instance] = []
        for subject, started in zip(ready, ground.runner.start(launches), strict=True):
            if isinstance(started, ServerFailure):
                failures[subject.id] = started
            else:
                instances.append(started)
        try:
            differing = hold_all_to_contract(instances, ground.site, thorough=True)
            failures |= {instance.subject.id: failure for instance, failure in differing}
            for each in look([each for each in instances if each.subject.id not in failures], ground.site):
                subject_id = each.instance.subject.id
                seen[subject_id] = each.observed.in_words
                if each.wrong:
                    failures[subject_id] = ServerFailure(NOT_AS_ASKED, each.wrong)
        finally:
            ground.runner.stop(instances)
    for subject in subjects:
        if reason := unsupported[subject.id]:
            table.add_row(subject.id, "unsupported", "", escape(reason))
        elif reason := readiness[subject.id].reason:
            table.add_row(subject.id, "unavailable", "", escape(reason))
        elif subject.id in failures:
            found = failures[subject.id]
            verdict = "differs" if found.code == "contract" else found.code
            table.add_row(subject.id, verdict, escape(seen.get(subject.id, "")), escape(found.text))
        else:
            table.add_row(subject.id, "holds", escape(seen[subject.id]), "")
    console.print(table)
    unchecked = named and any(readiness[each.id].reason for each in subjects)
    return bool(ready) and not failures and not unchecked


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
