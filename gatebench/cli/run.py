"""From what a person named to a measured run and its report."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from rich.console import Console
from rich.text import Text

from gatebench.cli.options import as_typed
from gatebench.cli.precision import choose_share, found_in
from gatebench.cli.progress import TerminalObserver
from gatebench.load.backend import Backend, Circumstances
from gatebench.load.process import LOCUST_PORT
from gatebench.machine.cores import available_cores, cores_to_try, divide_evenly
from gatebench.registry.registry import Registry, select
from gatebench.results.earlier import Earlier
from gatebench.run.run import Run, choose_cores
from gatebench.runners.process.backend import ProcessBackend
from gatebench.words.errors import EXIT_FAILED, ConfigurationError, Outcome, exit_status
from gatebench.words.model import PLAIN_APPLICATION, Cell, Subject, Workload
from gatebench.words.options import DEFAULT as DEFAULT_SERVERS
from gatebench.words.options import LoadOptions, RunRequest, ServerOptions
from gatebench.words.paths import HOST, WORKLOAD_FILE
from gatebench.words.plan import PROFILES, Profile, precise
from gatebench.words.text import counted, listed, near, seconds

if TYPE_CHECKING:
    from gatebench.runners.docker.engine import Engine

_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")
_D = TypeVar("_D")
_E = TypeVar("_E")
_F = TypeVar("_F")
_G = TypeVar("_G")
_H = TypeVar("_H")

NETWORKS = ("auto", "host", "bridge")
REASONS = 3
"""Subjects whose reason is given where none can take part in a workload."""


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """How containers are connected.

    Attributes:
        network: `host`, `bridge`, or `auto` for what suits the engine.
        host: the address that servers listen at in the host's network.
    """

    network: Literal["auto", "host", "bridge"] = "auto"
    host: str = HOST


@dataclass(frozen=True, slots=True)
class RunnerChoice:
    """What starts the servers.

    Attributes:
        reason: a sentence for a person: which it is, and why.
        engine: of containers; None for processes.
    """

    reason: str
    engine: Engine | None


def words(values: Sequence[str] | None, option: str = "") -> tuple[str, ...]:
    """`["gunicorn-* uvicorn", "daphne,waitress"]` → its four words.

    Raises:
        ConfigurationError: `option` was typed and names nothing, which would otherwise mean everything.
    """
    found = tuple(word for value in values or () for word in value.replace(",", " ").split())
    if values and not found:
        raise ConfigurationError(f"{option}: names nothing; leave it out for the default")
    return found


def all_of(
    first: Callable[[], _A],
    second: Callable[[], _B],
    third: Callable[[], _C],
    fourth: Callable[[], _D],
    fifth: Callable[[], _E],
    sixth: Callable[[], _F],
    seventh: Callable[[], _G],
    eighth: Callable[[], _H],
) -> tuple[_A, _B, _C, _D, _E, _F, _G, _H]:
    """What the choices give.

    Raises:
        ConfigurationError: with the problems of all of them, not only of the first that fails.
    """
    results: list[Any] = []
    problems: list[str] = []
    for choose in (first, second, third, fourth, fifth, sixth, seventh, eighth):
        try:
            results.append(choose())
        except ConfigurationError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigurationError(problems)
    a, b, c, d, e, f, g, h = results
    return a, b, c, d, e, f, g, h


def choose_profile(name: str, budget: str | None, precision: str | None = None) -> Profile:
    """A profile, with another budget where one is given (`90s`, `10m`).

    Args:
        name: its name.
        budget: wall time after set-up.
        precision: at which the run is to end; None where it takes all of its blocks.

    Raises:
        ConfigurationError: there is no such profile, the budget is no duration, or the precision none.
    """
    problems: list[str] = []
    budget_s = None
    try:
        budget_s = None if budget is None else seconds(budget)
    except ValueError as error:
        problems.append(f"--budget: {error}")
    if budget_s is not None and budget_s <= 0:
        problems.append(f'--budget: "{budget}" leaves no time to measure')
    if name not in PROFILES:
        problems.append(f'unknown profile "{name}"{near(name, PROFILES)}; known: {listed(PROFILES)}')
    try:
        if precision is not None:
            choose_share(precision)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    profile = PROFILES[name]
    profile = profile if budget_s is None else replace(profile, budget_s=budget_s)
    return profile if precision is None else precise(profile)


def choose_workloads(registry: Registry, patterns: Sequence[str], profile: str) -> tuple[Workload, ...]:
    """The workloads that match the patterns, or those of the profile where there are none.

    Raises:
        ConfigurationError: a name is unknown, or the profile has no workload.
    """
    if patterns:
        names = select(patterns, registry.workloads, "workload")
        return tuple(registry.workloads[name] for name in names)
    chosen = tuple(each for each in registry.workloads.values() if profile in each.profiles)
    if not chosen and profile in PROFILES:
        raise ConfigurationError(f"no workload belongs to the profile {profile!r}; name some (--workloads)")
    return chosen


def hold_together(
    registry: Registry,
    subjects: Sequence[Subject],
    workloads: Sequence[Workload],
    patterns: Sequence[str],
    workers: int = 1,
) -> dict[str, Subject]:
    """Holds the subjects and the workloads of a run against each other.

    Args:
        registry: where they came from.
        subjects: the chosen ones.
        workloads: the chosen ones.
        patterns: how the workloads were named; none where they are the profile's.
        workers: worker processes of every server.

    Returns:
        Workload → the subject that the rates of its ladder refer to, where a subject takes part in it.

    Raises:
        ConfigurationError: a workload was asked for in which none of the subjects can take part, or has a
            ladder that refers to nothing; with all of them.
    """
    by_name = {workload.name: workload for workload in workloads}
    problems = []
    for pattern in patterns:
        named = [by_name[name] for name in select([pattern], by_name, "workload")]
        if not any(_takers(subjects, workload, workers) for workload in named):
            problems.append(_no_taker(registry, subjects, named[0], workers))
    if not patterns and not any(_takers(subjects, workload, workers) for workload in workloads):
        problems += [_no_taker(registry, subjects, workload, workers) for workload in workloads]
    references: dict[str, Subject] = {}
    try:
        references = find_references(registry, workloads, workers)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    # Of a ladder in which nobody takes part no reference is installed.
    taken = {each.name for each in workloads if _takers(subjects, each, workers)}
    return {name: reference for name, reference in references.items() if name in taken}


def _takers(subjects: Sequence[Subject], workload: Workload, workers: int) -> list[str]:
    level = workload.levels[0]
    return [each.id for each in subjects if not Cell(each, workload, level).unsupported(workers)]


def _no_taker(registry: Registry, subjects: Sequence[Subject], workload: Workload, workers: int) -> str:
    reasons = [Cell(each, workload, workload.levels[0]).unsupported(workers) for each in subjects]
    more = f"; and {len(reasons) - REASONS} more" if len(reasons) > REASONS else ""
    others = _takers(registry.subjects(), workload, workers)
    return (
        f'workload "{workload.name}": no chosen subject can take part: {"; ".join(reasons[:REASONS])}{more}. '
        f"Leave it out, or name one that can: {listed(others)}"
    )


def find_references(
    registry: Registry, workloads: Sequence[Workload], workers: int = 1
) -> dict[str, Subject]:
    """The subject that each ladder's rates refer to, with the plain application.

    Raises:
        ConfigurationError: a workload names a subject that there is not, or that cannot do what it asks.
    """
    subjects = {subject.id: subject for subject in registry.subjects((PLAIN_APPLICATION,))}
    problems = [
        f'{workload.folder / WORKLOAD_FILE}: load.of: there is no subject "{workload.reference}"'
        f"{near(workload.reference, subjects)}; `gatebench list` shows them"
        for workload in workloads
        if workload.reference and workload.reference not in subjects
    ]
    for workload in workloads:
        if (subject := subjects.get(workload.reference)) is None:
            continue
        if missing := workload.needs - subject.variant.supports:
            problems.append(
                f"{workload.folder / WORKLOAD_FILE}: load.of: {subject.id} does not declare "
                f"{listed(sorted(missing))}, which the workload needs"
            )
        if refused := subject.one_process_only(workers):
            problems.append(f"{workload.folder / WORKLOAD_FILE}: load.of: {refused} (--workers {workers})")
    if problems:
        raise ConfigurationError(problems)
    return {each.name: subjects[each.reference] for each in workloads if each.reference}


def choose_load(engines: int | None, workers: int, bind: str) -> LoadOptions:
    """Where the load comes from.

    Raises:
        ConfigurationError: a number that cannot be, or external workers without their number.
    """
    problems = []
    if engines is not None and engines < 1:
        problems.append(f"--engines: {engines} is under 1")
    if workers < 0:
        problems.append(f"--load-workers: {workers} is under 0")
    if bind and not workers:
        problems.append("--load-bind: needs --load-workers, the number of Locust workers to wait for")
    if problems:
        raise ConfigurationError(problems)
    return LoadOptions(engines, workers, bind)


def check_workers(load: LoadOptions, cores: int) -> None:
    """Refuses more Locust workers than a machine has cores; what runs elsewhere is not counted.

    Raises:
        ConfigurationError: there are more of them.
    """
    if not load.bind and load.workers > cores:
        raise ConfigurationError(
            f"--load-workers: {load.workers} workers for {counted(cores, 'core')} of this machine; more "
            "than one per core slow each other down"
        )


def check_bind(load: LoadOptions) -> None:
    """Tries the place at which external workers are to join; nobody waits for them there if it is taken.

    Raises:
        ConfigurationError: it cannot be listened at.
    """
    if not load.bind:
        return
    address = "" if load.bind == "*" else load.bind
    try:
        socket.create_server((address, LOCUST_PORT)).close()
    except OSError as error:
        raise ConfigurationError(
            f"--load-bind: cannot listen for workers at {load.bind}:{LOCUST_PORT}: "
            f"{os.strerror(error.errno or 0)}. End what listens there (ss -ltnp), or give another address "
            "of this machine"
        ) from error


def check_server_host(options: ContainerOptions, load: LoadOptions) -> None:
    """Holds the servers' address and the workers' against each other: the one is there for the other.

    Raises:
        ConfigurationError: servers would be opened for nobody, or workers would not reach them.
    """
    ours = ipaddress.IPv4Address(options.host)
    if options.host != HOST and not load.bind:
        raise ConfigurationError(
            "--server-host: opens the servers to a network for workers on other machines; add the address "
            "at which they join (--load-bind), or leave it out"
        )
    if ours.is_unspecified:
        raise ConfigurationError(
            f"--server-host: {options.host} is a wildcard and no address to connect to; give the one "
            "at which the workers reach this machine"
        )
    if load.bind and ours.is_loopback and not load.bind.startswith("127."):
        raise ConfigurationError(
            f"--load-bind: workers on other machines cannot reach servers at {options.host}; give an address "
            "of this machine that they can reach (--server-host)"
        )


def choose_containers(network: str, host: str) -> ContainerOptions:
    """How containers are connected.

    Raises:
        ConfigurationError: there is no such network, the host is no address, or it has none to listen at.
    """
    problems: list[str] = []
    try:
        (chosen,) = select([network], NETWORKS, "network")
    except ConfigurationError as error:
        problems += error.problems
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        problems.append(f"--server-host: {host!r} is not an IPv4 address of this machine")
    if network == "bridge" and host != HOST:
        problems.append("--server-host: on a bridge each server has an address of its own")
    if problems:
        raise ConfigurationError(problems)
    return ContainerOptions(cast("Literal['auto', 'host', 'bridge']", chosen), host)


def choose_claims(paths: Sequence[Path], registry: Registry) -> tuple[Path, ...]:
    """Claims files of a user, each of which can be used.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    if paths:
        # numpy and scipy are heavy, and most runs have no claims but the project's.
        from analysis.claims.file import Known, load_claims  # noqa: PLC0415

        load_claims(paths, Known.of_registry(registry))
    return tuple(path.resolve() for path in paths)


def choose_runner(name: str) -> RunnerChoice:
    """The runner to use and why.

    Raises:
        ConfigurationError: there is no such runner, or none of it here.
    """
    chosen = select([name], ("auto", "docker", "process"), "runner")[0]
    if chosen == "process":
        return RunnerChoice("servers run as local processes, as asked for", None)
    # The SDK is slow to import; runs in processes do without.
    from gatebench.runners.docker.engine import Engine, EngineAbsentError  # noqa: PLC0415

    try:
        engine = Engine.connect()
    except EngineAbsentError as error:
        if chosen == "docker":
            raise ConfigurationError(
                f'runner "docker": {error}. Start one (systemctl start docker), name another (DOCKER_HOST, '
                "docker context use), or run the servers as processes: --runner=process"
            ) from error
        return RunnerChoice(f"servers run as local processes: {error}", None)
    why = "as asked for" if chosen == "docker" else "because an engine answers; --runner=process needs none"
    return RunnerChoice(f"servers run in containers of the engine at {engine.address}, {why}", engine)


def measure(
    request: RunRequest,
    choice: RunnerChoice,
    options: ContainerOptions,
    console: Console,
    *,
    earlier: Earlier | None = None,
) -> Outcome:
    """Runs what was asked for, with its progress on the console.

    Args:
        request: what.
        choice: what starts the servers.
        options: of their containers.
        console: to print on.
        earlier: what the run has measured before; None at its beginning.

    Raises:
        ConfigurationError: it cannot be run here; nothing was started.
        GatebenchError: it could not begin.
    """
    make = backend_maker(choice, request.load, options, request.workloads, request.servers)
    console.print(as_typed(choice.reason), soft_wrap=True)
    share = 1.0 if earlier is None else len(earlier.turns) / request.profile.blocks
    at_most = request.precision is not None
    with TerminalObserver(console, request.profile.budget_s * share, at_most=at_most) as observer:
        outcome = Run(
            request,
            make_backend=make,
            containers=choice.engine is not None,
            observer=observer,
            earlier=earlier,
            read=found_in,
        ).execute()
    if outcome.text:
        Console(stderr=True).print(as_typed(outcome.text), style="bold", markup=False, soft_wrap=True)
    return outcome


def backend_maker(
    choice: RunnerChoice,
    load: LoadOptions,
    options: ContainerOptions,
    workloads: tuple[Workload, ...] = (),
    servers: ServerOptions = DEFAULT_SERVERS,
    *,
    measures: bool = True,
) -> Callable[[Circumstances], Backend]:
    """How to make what the servers run on, once it is known for whom.

    Args:
        choice: what starts the servers.
        load: where the load comes from.
        options: of containers.
        workloads: those that will be asked for.
        servers: what every server gets.
        measures: figures are taken, so that servers need cores of their own.

    Raises:
        ConfigurationError: there are too few cores, or workers elsewhere are to reach what they cannot.
    """
    engine, engines = choice.engine, load.engines
    cores = available_cores() if engine is None or engine.is_local else tuple(range(engine.cores))
    check_workers(load, len(cores))
    if engine is None or engine.is_local:
        check_bind(load)
    if engine is None:
        if options != ContainerOptions():
            raise ConfigurationError("--network and --server-host apply to containers only (--runner docker)")
        divided = choose_cores(engines, servers.cores) if measures else cores_to_try()
        return lambda circumstances: ProcessBackend(divided, circumstances, servers=servers)
    # The SDK is slow to import; runs in processes do without.
    from gatebench.runners.docker.backend import DockerBackend, Setting, choose_network  # noqa: PLC0415

    divide_evenly(cores, engines, {}, servers.cores)
    network = choose_network(engine) if options.network == "auto" else options.network
    check_server_host(options, load)
    if network == "bridge" and load.bind:
        raise ConfigurationError(
            "--load-bind: a bridge network cannot be reached from other machines; use --network host"
        )
    setting = Setting(network, options.host, workloads, servers)
    return lambda circumstances: DockerBackend(engine, engines, setting, circumstances)


def conclude(outcome: Outcome, console: Console, *, strict: bool = False) -> int:
    """Prints the report of a run that has ended, or that there is none.

    Args:
        outcome: how it ended.
        console: to print on.
        strict: whether a withheld figure is a failure.

    Returns:
        The exit status that the run calls for.
    """
    folder = outcome.folder
    if outcome.reported:
        print_report(folder, console)
        return outcome.status or exit_status(folder, strict=strict)
    if outcome.report_failed:
        text = f"no tables: the report could not be made; `gatebench report {folder}` makes it again"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return outcome.status or EXIT_FAILED


def print_report(folder: Path, console: Console) -> None:
    """The standings of every level, and where the page is, as the report has them."""
    # pandas and scipy are heavy; only the commands that end with a report need them.
    from analysis.page.terminal import run_tables  # noqa: PLC0415

    for part in run_tables(folder):
        console.print(part, soft_wrap=isinstance(part, Text))
